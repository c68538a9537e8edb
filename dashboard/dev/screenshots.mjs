/** Screenshots of every page with the fake server, in both languages and themes: `npm run screenshots [folder]`. */

import { mkdir } from 'node:fs/promises'

import { requireBrowser, signIn, withBrowser } from './browser.mjs'
import { startServer } from './server.mjs'

requireBrowser('screenshots')
const folder = process.argv[2] ?? 'build/screenshots'
await mkdir(folder, { recursive: true })

const server = await startServer({ port: 0, students: Number(process.env.STUDENTS ?? 300) })
server.faults.frozen = true

const variants = [
  { name: 'en-light', locale: 'en-GB', colorScheme: 'light', viewport: { width: 1440, height: 960 } },
  { name: 'ja-dark', locale: 'ja-JP', colorScheme: 'dark', viewport: { width: 1440, height: 960 } },
  { name: 'ja-light-phone', locale: 'ja-JP', colorScheme: 'light', viewport: { width: 360, height: 780 } },
  { name: 'en-dark-phone', locale: 'en-GB', colorScheme: 'dark', viewport: { width: 360, height: 780 } },
]

await withBrowser(async (browser) => {
  for (const { name, ...options } of variants) {
    const context = await browser.newContext({ ...options, timezoneId: 'Asia/Tokyo' })
    const page = await context.newPage()
    page.on('console', (message) => {
      if (message.type() === 'error') process.stderr.write(`${name}: ${message.text()}\n`)
    })
    page.on('pageerror', (error) => process.stderr.write(`${name}: ${error}\n`))
    const shoot = (what, full = false) => page.screenshot({ path: `${folder}/${name}-${what}.png`, fullPage: full })
    await page.goto(server.address)
    await page.locator('form').waitFor()
    await shoot('sign-in')
    await signIn(page, server.address)
    await shoot('courses')
    await page.goto(`${server.address}/courses/demo`)
    await page.locator('.connection--live').waitFor()
    await page.locator('canvas').waitFor()
    await page.waitForTimeout(300)
    await shoot('course')
    await page.evaluate(() => window.scrollTo(0, document.querySelector('.students').offsetTop - 70))
    await page.waitForTimeout(300)
    await shoot('students')
    await page.goto(`${server.address}/courses/demo?show=stuck`)
    await page.locator('.grid__open').first().click()
    await page.locator('.facts').waitFor()
    await page.waitForTimeout(250)
    await shoot('student')
    await page.getByRole('tab').nth(2).click()
    await page.locator('.run').first().waitFor()
    await shoot('runs')
    await page.getByRole('tab').nth(1).click()
    await page.locator('.drawer .table').waitFor()
    await shoot('cells')
    await page.keyboard.press('Escape')
    await fetch(`${server.address}/dev/drop`, { method: 'POST' })
    await page.locator('.connection--stale').waitFor()
    await page.evaluate(() => window.scrollTo(0, 0))
    await page.waitForTimeout(200)
    await shoot('stale')
    server.faults.drop = false
    await page.goto(`${server.address}/courses/none`)
    await page.locator('.error-page').waitFor()
    await shoot('not-found')
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)
    if (overflow > 0) process.stderr.write(`${name}: page is ${overflow} px too wide\n`)
    await context.close()
  }
})
await server.stop()
process.stdout.write(`pictures are in ${folder}\n`)
