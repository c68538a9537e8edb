import '@testing-library/jest-dom/vitest'

import { cleanup, configure } from '@testing-library/react'
import fc from 'fast-check'
import { createElement } from 'react'
import { afterEach, vi } from 'vitest'

const seed = process.env['PROPERTY_TEST_SEED']
if (seed !== undefined) fc.configureGlobal({ seed: Number(seed) })

/** Not implemented by jsdom. */
class NoResizeObserver implements ResizeObserver {
  observe(): void {
    // jsdom has no layout, so nothing is resized.
  }
  unobserve(): void {
    // See observe.
  }
  disconnect(): void {
    // See observe.
  }
}

// A machine under load takes longer than the default of one second; a test ends as soon as its condition holds.
configure({ asyncUtilTimeout: 10_000 })

vi.stubGlobal('ResizeObserver', NoResizeObserver)
/** jsdom has no layout; the virtual list needs rows with a height. */
Object.defineProperty(HTMLElement.prototype, 'offsetHeight', { configurable: true, get: () => 40 })
window.scrollTo = () => undefined
window.matchMedia = (query) =>
  ({
    matches: false,
    media: query,
    onchange: null,
    addEventListener: () => undefined,
    removeEventListener: () => undefined,
    dispatchEvent: () => false,
  }) as unknown as MediaQueryList

// jsdom has no canvas; the tests read the summary and the table instead.
vi.mock('react-chartjs-2', () => ({
  Line: ({ 'aria-label': label }: { 'aria-label': string }) => createElement('canvas', { role: 'img', 'aria-label': label }),
}))

if (typeof HTMLDialogElement.prototype.showModal !== 'function') {
  HTMLDialogElement.prototype.showModal = function showModal() {
    this.open = true
  }
  HTMLDialogElement.prototype.close = function close() {
    this.open = false
  }
}

afterEach(() => {
  cleanup()
  localStorage.clear()
  delete document.documentElement.dataset['theme']
})
