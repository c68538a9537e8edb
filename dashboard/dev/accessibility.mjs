/**
 * Runs axe on every page, in both themes and languages, on a desktop, on a phone and at 200 % zoom, with the fake server
 * and the built page with its Content-Security-Policy: `npm run build && npm run test:a11y`. Exits with 1 for any finding,
 * for an error on the console, for a violation of the policy, or if a page is wider than its window.
 */

import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

import { requireBrowser, signIn, withBrowser } from './browser.mjs'
import { startServer } from './server.mjs'

requireBrowser('accessibility')
if (!existsSync(new URL('../dist/index.html', import.meta.url))) {
  process.stderr.write('accessibility: there is no dist/, run `npm run build` first\n')
  process.exit(1)
}

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']
const languages = [
  { locale: 'en-GB', name: 'en' },
  { locale: 'ja-JP', name: 'ja' },
]
const themes = ['light', 'dark']
/** Narrow windows change the layout and not the colours: one theme each is enough. */
const windows = [
  { name: 'desktop', viewport: { width: 1280, height: 900 }, themes },
  { name: 'phone', viewport: { width: 360, height: 740 }, themes: ['light'] },
  // 1280 CSS pixels at 200 % are 640.
  { name: 'zoom 200 %', viewport: { width: 640, height: 450 }, themes: ['dark'] },
]

const problems = []
let checked = 0
const server = await startServer({ port: 0, students: 60 })
server.faults.frozen = true

/** Every page and every state with a layout of its own. Each step leaves the browser signed in, on any page. */
const pages = [
  ['courses', async (page) => page.goto(`${server.address}/courses`).then(() => page.locator('.course-list').waitFor())],
  ['course', openCourse],
  [
    'student: summary',
    async (page) => {
      await openCourse(page, '?show=help')
      await page.locator('.grid__open').first().click()
      await page.locator('.facts').waitFor()
    },
  ],
  [
    'student: cells',
    async (page) => {
      await openCourse(page, '?show=error')
      await page.locator('.grid__open').first().click()
      await page.getByRole('tab').nth(1).click()
      await page.locator('.drawer .table').waitFor()
    },
  ],
  [
    'student: runs',
    async (page) => {
      await page.getByRole('tab').nth(2).click()
      await page.locator('.run').first().waitFor()
    },
  ],
  [
    'activity as a table',
    async (page) => {
      await openCourse(page)
      await page.locator('.activity__table summary').click()
    },
  ],
  [
    'conflict',
    async (page) => {
      await openCourse(page)
      await page.route('**/claim', (route) =>
        route.fulfill({ status: 409, json: { detail: [{ type: 'help_already_claimed', msg: '' }] } }),
      )
      await page.locator('.help--open .button--primary').first().click()
      await page.locator('.help__error').waitFor()
      await page.unroute('**/claim')
    },
  ],
  [
    'nothing found',
    async (page) => {
      await openCourse(page, '?q=zzzz', false)
      await page.locator('.students .empty').waitFor()
    },
  ],
  [
    'stale',
    async (page) => {
      await openCourse(page)
      await fetch(`${server.address}/dev/drop`, { method: 'POST' })
      await page.locator('.connection--stale').waitFor()
      server.faults.drop = false
    },
  ],
  [
    'refused',
    async (page) => {
      await openCourse(page)
      await fetch(`${server.address}/dev/refuse`, { method: 'POST' })
      await page.locator('.notice--warning .button').waitFor()
    },
  ],
  [
    'time series away',
    async (page) => {
      server.faults.noTimeSeries = true
      await openCourse(page, '', true, false)
      await page.locator('.activity .notice--error').waitFor()
      server.faults.noTimeSeries = false
    },
  ],
  ['course not found', async (page) => page.goto(`${server.address}/courses/none`).then(() => page.locator('.error-page').waitFor())],
  ['page not found', async (page) => page.goto(`${server.address}/nowhere`).then(() => page.locator('.error-page').waitFor())],
]

async function openCourse(page, search = '', rows = true, chart = true) {
  await page.goto(`${server.address}/courses/demo${search}`)
  await page.locator('.connection--live').waitFor()
  if (rows) await page.locator('.grid__row').first().waitFor()
  if (chart) await page.locator('canvas').waitFor()
}

async function check(page, where) {
  await page.evaluate(() => Promise.all(document.getAnimations().map((animation) => animation.finished)))
  const found = await page.evaluate(
    (values) => window.axe.run(document, { runOnly: { type: 'tag', values }, resultTypes: ['violations'] }),
    tags,
  )
  checked += 1
  for (const { id, help, nodes } of found.violations) {
    for (const node of nodes) problems.push(`${where}: ${id}: ${help}\n    ${node.target.join(' ')}\n    ${node.failureSummary}`)
  }
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
  if (overflow > 0) problems.push(`${where}: ${overflow} px wider than the window`)
  const title = await page.title()
  if (!title.includes('Cell Monitor')) problems.push(`${where}: no title`)
}

await withBrowser(async (browser) => {
  for (const { locale, name: language } of languages) {
    for (const colorScheme of themes) {
      for (const { name: size, viewport } of windows.filter((size) => size.themes.includes(colorScheme))) {
        const context = await browser.newContext({ locale, colorScheme, viewport, timezoneId: 'Asia/Tokyo' })
        await context.addInitScript(axe)
        const page = await context.newPage()
        const where = (what) => `${language} ${colorScheme} ${size}, ${what}`
        let current = 'sign-in'
        page.on('pageerror', (error) => problems.push(`${where(current)}: ${error}`))
        page.on('console', (message) => {
          // Error answers and the closed socket are part of the check.
          if (message.type() === 'error' && !/Failed to load resource|WebSocket connection/u.test(message.text())) {
            problems.push(`${where(current)}: ${message.text()}`)
          }
        })
        await page.goto(server.address)
        await page.locator('form').waitFor()
        await page.locator('button[type=submit]').click()
        await page.locator('.notice--error').waitFor()
        await check(page, where('sign-in'))
        await signIn(page, server.address)
        for (const [what, open] of pages) {
          current = what
          await open(page)
          await check(page, where(what))
        }
        await context.close()
      }
      process.stdout.write(`${language} ${colorScheme}: ${checked} pages checked, ${problems.length} problems so far\n`)
    }
  }
})
await server.stop()
for (const problem of problems) process.stderr.write(`${problem}\n`)
process.exitCode = problems.length > 0 ? 1 : 0
