import type { ReactElement } from 'react'

/** Paths on a 16 × 16 grid, drawn with a stroke in the text's colour. */
const paths = {
  hand: 'M5 9V4.5a1 1 0 0 1 2 0V8m0-.5v-4a1 1 0 0 1 2 0v4m0-.5V4a1 1 0 0 1 2 0v5.5c0 2.5-1.5 4-3.7 4-1.9 0-2.7-.8-3.6-2.3L2.3 9a1 1 0 0 1 1.6-1.1L5 9.2',
  helper: 'M8 7.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5Zm-5 6c.4-2.6 2.4-4 5-4 1 0 2 .2 2.7.6M10.5 13l1.5 1.5 2.8-3',
  stuck: 'M8 2 1.5 13.5h13L8 2Zm0 4.5v3.2m0 1.9v.1',
  clock: 'M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12Zm0-9v3.2l2.2 1.4',
  error: 'M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12ZM6 6l4 4m0-4-4 4',
  running: 'M5 3.2v9.6L12.8 8 5 3.2Z',
  idle: 'M6 4v8m4-8v8',
  left: 'M9.5 3H3.8v10h5.7M7 8h7m0 0-2.3-2.3M14 8l-2.3 2.3',
  ok: 'M3 8.5 6.5 12 13 4.5',
  working: 'M3 13h10M4 10.5l.4-2L10.6 2.3a1.2 1.2 0 0 1 1.7 1.7L6 10.1l-2 .4Z',
  waiting: 'M4 8h.01M8 8h.01M12 8h.01',
  aborted: 'M4.5 4.5h7v7h-7z',
  close: 'm4 4 8 8m0-8-8 8',
  search: 'M7 11.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9Zm3.3-1.2 3.2 3.2',
  sun: 'M8 10.8a2.8 2.8 0 1 0 0-5.6 2.8 2.8 0 0 0 0 5.6ZM8 1.5v1.3m0 10.4v1.3M1.5 8h1.3m10.4 0h1.3M3.4 3.4l.9.9m7.4 7.4.9.9m0-9.2-.9.9m-7.4 7.4-.9.9',
  moon: 'M13.5 9.6A5.8 5.8 0 0 1 6.4 2.5a5.8 5.8 0 1 0 7.1 7.1Z',
  live: 'M8 9a1 1 0 1 0 0-2 1 1 0 0 0 0 2Zm-2.8 1.8a4 4 0 0 1 0-5.6m5.6 0a4 4 0 0 1 0 5.6M3.4 12.6a6.5 6.5 0 0 1 0-9.2m9.2 0a6.5 6.5 0 0 1 0 9.2',
  reconnecting: 'M13 6.5A5.3 5.3 0 0 0 3.4 5M3 2.3V5h2.7M3 9.5A5.3 5.3 0 0 0 12.6 11m.4 2.7V11h-2.7',
  offline: 'M2 2l12 12M5.2 10.8a4 4 0 0 1-.6-4.8m6.2-.8a4 4 0 0 1 .6 4.8M3.4 12.6a6.5 6.5 0 0 1-.7-8.3m9.9-.9a6.5 6.5 0 0 1 .7 8.3',
  chevron: 'm6 3.5 4.5 4.5L6 12.5',
  back: 'M10 3.5 5.5 8l4.5 4.5',
  info: 'M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12Zm0-6.7v3.5m0-5.9v.1',
} as const

export type IconName = keyof typeof paths

/** A decoration of a text with the same meaning; hidden from screen readers. */
export function Icon({ name }: { name: IconName }): ReactElement {
  return (
    <svg className="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path d={paths[name]} />
    </svg>
  )
}
