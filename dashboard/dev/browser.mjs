/** Finds a Chromium for the checks in this folder, or reports that there is none. */

import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { chromium } from 'playwright-core'

const executable = process.env.CHROMIUM ?? '/usr/bin/chromium'

/** Exits with status 0 and one line if there is no browser, as the checks are optional. */
export function requireBrowser(what) {
  if (existsSync(executable)) return
  process.stdout.write(`${what}: skipped, no Chromium at ${executable} (set CHROMIUM to its path)\n`)
  process.exit(0)
}

export async function withBrowser(work) {
  const profile = await mkdtemp(join(tmpdir(), 'cell-monitor-browser-'))
  const browser = await chromium.launch({
    executablePath: executable,
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      `--disk-cache-dir=${profile}`,
    ],
  })
  try {
    return await work(browser)
  } finally {
    await browser.close()
    await rm(profile, { recursive: true, force: true })
  }
}

export async function signIn(page, address, username = 'teacher') {
  await page.goto(`${address}/`)
  await page.locator('input[name=username]').fill(username)
  await page.locator('input[name=password]').fill('password')
  await page.locator('button[type=submit]').click()
  await page.locator('.course-list, .empty').first().waitFor()
}
