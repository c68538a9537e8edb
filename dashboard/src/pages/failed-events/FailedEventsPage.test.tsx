// Hazard: an administrator replays other events than they chose, does not see what became of them, or finds no word on a reason.
import { cleanup, screen, waitFor, within } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import { beforeEach, describe, expect, it } from 'vitest'

import type { FailedEvent, ReplayStep, WaitingGroup } from '../../api/types'
import { fault, FakeApi, renderApp, type Answer } from '../../testing/app'

let api: FakeApi
let groups: WaitingGroup[]
let asked: string[]
let sent: unknown[]

const group = (changes: Partial<WaitingGroup> = {}): WaitingGroup => ({
  reason: 'data_error',
  course_id: 'c1',
  count: 1200,
  oldest: '2026-04-01T09:00:00Z',
  newest: '2026-04-02T09:00:00Z',
  ...changes,
})

const event = (changes: Partial<FailedEvent> = {}): FailedEvent => ({
  failed_id: 7,
  group: 'postgres',
  course_id: 'c1',
  event_id: null,
  person_id: 'p7',
  username: 'ann',
  reason: 'data_error',
  detail: 'PostgreSQL refuses it: CheckViolationError',
  failed_at: '2026-04-02T09:00:00Z',
  replayed_at: null,
  ...changes,
})

const step = (changes: Partial<ReplayStep> = {}): ReplayStep => ({
  queued: 0,
  events: 0,
  unreadable: 0,
  remaining: 0,
  after: 0,
  newest: 90,
  ...changes,
})

/** Answers one request of a replay after the other; each waits until it is given. */
function replays(): { next: (answer: Answer) => Promise<void> } {
  const waiting: ((answer: Answer) => void)[] = []
  api.on('POST failed-events/replay', (body) => {
    sent.push(body)
    return new Promise<Answer>((resolve) => waiting.push(resolve))
  })
  return {
    next: async (answer) => {
      await waitFor(() => expect(waiting).not.toHaveLength(0))
      waiting.shift()!(answer)
    },
  }
}

beforeEach(() => {
  api = new FakeApi()
  asked = []
  sent = []
  groups = [group(), group({ course_id: null, reason: 'invalid_entry', count: 1 })]
  api.on('GET failed-events/waiting', () => ({
    body: { total: groups.reduce((sum, { count }) => sum + count, 0), groups },
  }))
  api.on('GET failed-events', (_body, url) => {
    asked.push(url.searchParams.toString())
    return url.searchParams.get('before') === null
      ? { body: { failed_events: [event()], next_before: 7 } }
      : { body: { failed_events: [event({ failed_id: 3, username: null, replayed_at: '2026-04-03T09:00:00Z' })], next_before: null } }
  })
})

describe('failed events', () => {
  it('says how many wait, and of each reason what happened, what to do first, and in which courses', async () => {
    renderApp('/failed-events')
    expect(await screen.findByRole('heading', { name: '1,201 failed events wait' })).toBeVisible()
    const refused = screen.getByRole('region', { name: 'The store refuses the values' })
    expect(refused).toHaveTextContent('data_error')
    expect(refused).toHaveTextContent('PostgreSQL or InfluxDB refuses what the event contains.')
    expect(refused).toHaveTextContent('lengthen its retention')
    expect(within(refused).getByRole('row', { name: /Programming 1,200/u })).toBeVisible()
    const unreadable = screen.getByRole('region', { name: 'A queue entry cannot be read' })
    expect(within(unreadable).getByRole('row', { name: /Course unknown 1/u })).toBeVisible()
  })

  it('replays one group after a question, step by step, with its progress and its result', async () => {
    const user = userEvent.setup()
    const { next } = replays()
    renderApp('/failed-events')
    await user.click(await screen.findByRole('button', { name: 'Queue again: Programming, The store refuses the values' }))
    expect(sent).toEqual([])
    expect(screen.getByText('Has the cause been corrected? What fails again waits again.')).toBeVisible()
    await user.click(screen.getByRole('button', { name: 'Queue 1,200 events again' }))
    await next({ body: step({ queued: 499, unreadable: 1, remaining: 700, after: 50 }) })
    expect(await screen.findByText('500 of 1,200 events are done.')).toBeVisible()
    expect(screen.getByRole('progressbar', { name: 'Queueing again' })).toHaveAttribute('value', '500')
    expect(screen.queryByRole('button', { name: 'Queue all again' })).toBeNull()
    groups = [group({ count: 1 })]
    await next({ body: step({ queued: 700, after: 90 }) })
    expect(await screen.findByText(/^1,199 failed events are queued again\. 1 cannot be read and goes on waiting\./u)).toBeVisible()
    expect(await screen.findByRole('heading', { name: '1 failed event waits' })).toBeVisible()
    expect(sent).toEqual([
      { reason: 'data_error', course_id: 'c1' },
      { reason: 'data_error', course_id: 'c1', after: 50, newest: 90 },
    ])
  })

  it('stops after the step that goes on, and says what was not tried', async () => {
    const user = userEvent.setup()
    const { next } = replays()
    renderApp('/failed-events')
    await user.click(await screen.findByRole('button', { name: 'Queue all again' }))
    await user.click(screen.getByRole('button', { name: 'Queue 1,201 events again' }))
    await user.click(await screen.findByRole('button', { name: 'Stop' }))
    await next({ body: step({ queued: 500, remaining: 701 }) })
    expect(await screen.findByText(/^500 failed events are queued again\. 701 were not tried\./u)).toBeVisible()
    expect(sent).toEqual([{}])
    expect(screen.getByRole('group', { name: 'Queueing again' })).toHaveFocus()
  })

  it('says what is done and why it does not go on when a step fails', async () => {
    const user = userEvent.setup()
    const { next } = replays()
    renderApp('/failed-events', 'ja')
    await user.click(await screen.findByRole('button', { name: '再処理：授業不明、キューの項目を読み取れない' }))
    await user.click(screen.getByRole('button', { name: '1 件を再処理する' }))
    await next({ body: step({ queued: 1, remaining: 3 }) })
    await next({ status: 503, body: fault('log_unavailable') })
    const alert = await screen.findByRole('alert')
    expect(alert).toHaveTextContent('途中で止まりました')
    expect(alert).toHaveTextContent('1 件をキューに戻しました。')
    expect(alert).toHaveTextContent('3 件はまだ試していません。')
    expect(sent[0]).toEqual({ reason: 'invalid_entry', without_course: true })
  })

  it('lists each with when, course, sender, reason and detail, by filters and page by page', async () => {
    const user = userEvent.setup()
    renderApp('/failed-events')
    const table = await screen.findByRole('table', { name: 'The events, newest first' })
    expect(within(table).getByRole('row', { name: /Programming ann The store refuses the values.*CheckViolationError/u })).toBeVisible()
    await user.click(screen.getByRole('button', { name: 'Load older events' }))
    expect(await screen.findByRole('row', { name: /Queued again Apr 3, 2026.*unknown/u })).toBeVisible()
    await user.selectOptions(screen.getByRole('combobox', { name: 'Reason' }), 'Processing never finished')
    await user.selectOptions(screen.getByRole('combobox', { name: 'Course' }), 'Course unknown')
    await user.click(screen.getByRole('checkbox', { name: 'Also show those that were queued again' }))
    await waitFor(() => expect(asked.at(-1)).toBe('state=all&reason=too_many_deliveries&without_course=true'))
    expect(asked.slice(0, 2)).toEqual(['state=waiting', 'state=waiting&before=7'])
  })

  it('shows a reason of a newer server by its code', async () => {
    groups = [group({ reason: 'brand_new' })]
    renderApp('/failed-events')
    expect(await screen.findByRole('region', { name: 'Another reason' })).toHaveTextContent('brand_new')
  })

  it('says what it is for while nothing waits', async () => {
    groups = []
    api.on('GET failed-events', () => ({ body: { failed_events: [], next_before: null } }))
    renderApp('/failed-events')
    expect(await screen.findByText(/^No failed event waits\. When an event cannot be stored/u)).toBeVisible()
    expect(screen.queryByRole('button', { name: 'Queue all again' })).toBeNull()
  })

  it('is for administrators of the site, who find it in their account', async () => {
    api.on('GET failed-events/waiting', () => ({ status: 403, body: fault('permission_denied') }))
    renderApp('/failed-events')
    expect(await screen.findByRole('heading', { level: 1, name: 'Not for your role' })).toBeVisible()
    cleanup()
    api.on('GET me', () => ({ body: { person_id: 'p1', username: 'mari', display_name: null, is_admin: true, courses: [] } }))
    renderApp('/account')
    expect(await screen.findByRole('link', { name: 'Failed events' })).toHaveAttribute('href', '/failed-events')
  })
})
