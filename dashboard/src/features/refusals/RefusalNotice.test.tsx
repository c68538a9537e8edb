import { act, screen, waitFor } from '@testing-library/react'
import { beforeEach, describe, expect, it, vi } from 'vitest'

import { REFUSALS_SHOWN_EVERY_MS } from '../../api/queries'
import { fault, FakeApi, renderApp } from '../../testing/app'
import { installFakeSockets } from '../../testing/sockets'

let api: FakeApi

beforeEach(() => {
  installFakeSockets()
  api = new FakeApi()
})

const refused = (...refusals: [reason: string, people: number][]) =>
  api.on('GET courses/c1/refusals', () => ({
    body: {
      window_s: 150,
      refusals: refusals.map(([reason, people]) => ({ reason, people, last_at: '2026-04-01T10:00:00Z' })),
    },
  }))

const list = () => screen.findByRole('list', { name: /Work that is not recorded|記録されていない作業/u })

describe('the notice of work that is not recorded', () => {
  it('says how many people each reason concerns and what to do', async () => {
    refused(['course_forbidden', 3], ['course_required', 1], ['a_reason_of_a_newer_release', 2])
    renderApp('/courses/c1')
    const items = (await list()).children
    expect(items).toHaveLength(3)
    expect(items[0]).toHaveTextContent('The work of 3 people is not recorded: they are not on the roster')
    expect(items[1]).toHaveTextContent('The work of 1 student is not recorded: they are in several courses')
    expect(items[2]).toHaveTextContent('Some of the work of 2 people is not recorded')
  })

  it('is in Japanese as well', async () => {
    refused(['course_forbidden', 3])
    renderApp('/courses/c1', 'ja')
    expect(await list()).toHaveTextContent('3 人の作業が記録されていません')
  })

  it('disappears within seconds when the cause is gone, without a reload', async () => {
    vi.useFakeTimers({ shouldAdvanceTime: true })
    try {
      refused(['course_forbidden', 1])
      renderApp('/courses/c1')
      await list()
      refused()
      await act(() => vi.advanceTimersByTimeAsync(REFUSALS_SHOWN_EVERY_MS))
      await waitFor(() => expect(screen.queryByText(/is not recorded/u)).toBeNull())
    } finally {
      vi.useRealTimers()
    }
  })

  it.each([404, 503])('is absent, and the page works, where the server answers %d', async (status) => {
    api.on('GET courses/c1/refusals', () => ({ status, body: fault('not_found') }))
    renderApp('/courses/c1')
    await screen.findByRole('heading', { level: 1, name: 'Programming' })
    await waitFor(() => expect(api.calls).toContain('GET courses/c1/refusals'))
    expect(screen.queryByText(/is not recorded/u)).toBeNull()
  })
})
