import { act, screen, waitFor, within } from '@testing-library/react'
import { beforeEach, expect } from 'vitest'

import type { Student, StudentState } from '../api/types'
import type { Language } from '../i18n'
import { FakeApi, renderApp, type Rendered } from './app'
import { publication, snapshot, student } from './fixtures'
import { FakeSocket, installFakeSockets } from './sockets'

/** What a test changes before it opens the page. */
interface PreparedCourse {
  api: FakeApi
}

export const minutesAgo = (minutes: number): string => new Date(Date.now() - minutes * 60_000).toISOString()

export const fresh = { last_activity_at: minutesAgo(0) }

/** Students named so, with the ids s1, s2 and so on. */
export function classOf(...names: string[]): Student[] {
  return names.map((name, index) =>
    student({ ...fresh, student_id: `s${index + 1}`, username: `u${index + 1}`, display_name: name }),
  )
}

/** Before each test: an API of its own whose course c1 has three students, and sockets that the test speaks for. */
export function prepareCourse(): PreparedCourse {
  const prepared = {} as PreparedCourse
  beforeEach(() => {
    installFakeSockets()
    prepared.api = new FakeApi()
    prepared.api.snapshot = snapshot({
      generated_at: new Date().toISOString(),
      students: classOf('Aiko Tanaka', 'Ben Adams', 'Chen Li'),
    })
  })
  return prepared
}

/** Open the page of the course c1 and wait until it is live. */
export async function live(path = '/courses/c1', language: Language = 'en'): Promise<Rendered> {
  const rendered = renderApp(path, language)
  await screen.findByRole('heading', { level: 1, name: 'Programming' })
  await waitFor(() => expect(FakeSocket.opened).toHaveLength(1))
  act(() => FakeSocket.newest().goLive())
  return rendered
}

/** Send publications to the open page and wait until they are on it. */
export async function publish(...publications: unknown[]): Promise<void> {
  act(() => FakeSocket.newest().frame({ type: 'publications', channel: 'course:c1', publications }))
  // Rendered with the next frame; the cache notifies its observers in a separate task.
  await act(() => new Promise((resolve) => requestAnimationFrame(resolve)))
  await act(() => new Promise((resolve) => setTimeout(resolve)))
}

/** A publication that changes a student. */
export const change = (offset: number, changes: Partial<StudentState>): unknown =>
  publication(offset, { ...fresh, version: offset, ...changes })

export const row = (name: string): HTMLElement => screen.getByRole('row', { name: new RegExp(name, 'u') })

/** The names in the list of students, from the top. */
export const rowNames = (): (string | null)[] =>
  within(screen.getByRole('grid'))
    .getAllByRole('rowheader')
    .map((cell) => cell.textContent)

/** The value of a figure above the lists. */
export const figure = (name: string): Element | null => screen.getByText(name, { selector: 'dt' }).nextElementSibling

export const connection = (): HTMLElement => screen.getByRole('group', { name: /Connection|接続状態/u })
