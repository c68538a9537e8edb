import { act, fireEvent, screen, waitFor, within } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

import type { StudentState } from '../../api/types'
import { fault, FakeApi, renderApp } from '../../testing/app'
import { counterPublication, execution, helpPublication, helpRequest, publication, snapshot, state, student } from '../../testing/fixtures'
import { FakeSocket, installFakeSockets } from '../../testing/sockets'

let api: FakeApi

const minutesAgo = (minutes: number) => new Date(Date.now() - minutes * 60_000).toISOString()
const fresh = { last_activity_at: minutesAgo(0) }
const classOf = (...names: string[]) =>
  names.map((name, index) =>
    student({ ...fresh, student_id: `s${index + 1}`, username: `u${index + 1}`, display_name: name }),
  )

beforeEach(() => {
  installFakeSockets()
  api = new FakeApi()
  api.snapshot = snapshot({
    generated_at: new Date().toISOString(),
    students: classOf('Aiko Tanaka', 'Ben Adams', 'Chen Li'),
  })
})

async function live(path = '/courses/c1', language: 'en' | 'ja' = 'en') {
  const rendered = renderApp(path, language)
  await screen.findByRole('heading', { level: 1, name: 'Programming' })
  await waitFor(() => expect(FakeSocket.opened).toHaveLength(1))
  act(() => FakeSocket.newest().goLive())
  return rendered
}

async function publish(...publications: unknown[]) {
  act(() => FakeSocket.newest().frame({ type: 'publications', channel: 'course:c1', publications }))
  // Rendered with the next frame; the cache notifies its observers in a separate task.
  await act(() => new Promise((resolve) => requestAnimationFrame(resolve)))
  await act(() => new Promise((resolve) => setTimeout(resolve)))
}

const change = (offset: number, changes: Partial<StudentState>) =>
  publication(offset, { ...fresh, version: offset, ...changes })
const row = (name: string) => screen.getByRole('row', { name: new RegExp(name, 'u') })
const rowNames = () =>
  within(screen.getByRole('grid'))
    .getAllByRole('rowheader')
    .map((cell) => cell.textContent)
const figure = (name: string) => screen.getByText(name, { selector: 'dt' }).nextElementSibling
const connection = () => screen.getByRole('group', { name: /Connection|接続状態/u })

describe('live course page', () => {
  it('changes a row, the figures and the list of those who need attention when a publication comes', async () => {
    await live()
    expect(screen.getByText('Nobody needs attention right now.')).toBeVisible()
    await publish(
      change(11, {
        student_id: 's2',
        status: 'error',
        error_streak: 4,
        streak_error: 'NameError',
        streak_since: minutesAgo(5),
        last_execution: execution({
          at: minutesAgo(0),
          status: 'error',
          error: { name: 'NameError', value: "name 'x' is not defined" },
        }),
      }),
    )
    expect(row('Ben Adams')).toHaveTextContent(/Stuck.*Loops.*Exercise 2.*NameError/u)
    expect(figure('Stuck')).toHaveTextContent('1')
    const attention = screen.getByRole('list', { name: 'Students who need attention' })
    expect(attention).toHaveTextContent(/Ben Adams.*Same NameError 4 times since/u)
  })

  it('marks the row, lists the request and announces it when a student asks for help', async () => {
    await live()
    const ref = { request_id: 'h1', since: minutesAgo(0), status: 'open' as const, claimed_by: null }
    await publish(
      change(11, { student_id: 's1', help: ref }),
      helpPublication(12, { student_id: 's1', requested_at: minutesAgo(0), message: 'Why is it empty?' }),
    )
    expect(row('Aiko Tanaka')).toHaveClass('grid__row--help')
    expect(row('Aiko Tanaka')).toHaveTextContent('Needs help')
    expect(within(screen.getByRole('article', { name: 'Aiko Tanaka' })).getByText('Why is it empty?')).toBeVisible()
    expect(document.title).toBe('(1) Programming – Cell Monitor')
    await waitFor(() => expect(screen.getByTestId('announcer')).toHaveTextContent('Aiko Tanaka asks for help.'))
  })

  it('counts a student who left with a request under left, and lists the request apart', async () => {
    const gone = { last_activity_at: minutesAgo(40), last_seen_at: minutesAgo(40) }
    const [aiko, ben, chen] = classOf('Aiko Tanaka', 'Ben Adams', 'Chen Li')
    api.snapshot = {
      ...api.snapshot,
      students: [{ ...aiko!, ...gone }, ben!, chen!],
      help: [
        helpRequest({ request_id: 'h1', student_id: 's1', requested_at: minutesAgo(45), message: 'Too late?' }),
        helpRequest({ request_id: 'h2', student_id: 's2', requested_at: minutesAgo(2) }),
      ],
    }
    await live()
    expect([figure('Need help'), figure('Left'), figure('Active')].map((found) => found?.textContent)).toEqual(['1', '1', '2'])
    expect(document.title).toBe('(1) Programming – Cell Monitor')
    const region = screen.getByRole('region', { name: 'Help requests' })
    expect(within(region).getByRole('list', { name: 'Help requests, longest waiting first' })).not.toHaveTextContent('Aiko')
    const apart = within(region).getByText('1 request of a student who has left').closest('details')
    expect(apart).toHaveTextContent(/Aiko Tanaka.*Asked at.*Too late\?/u)
    expect(screen.getByRole('list', { name: 'Students who need attention' })).not.toHaveTextContent('Aiko')
    expect(row('Aiko Tanaka')).toHaveTextContent('Left')
  })

  it('removes a request that closed itself', async () => {
    api.snapshot = { ...api.snapshot, help: [helpRequest({ requested_at: minutesAgo(2) })] }
    await live()
    expect(figure('Need help')).toHaveTextContent('1')
    await publish(helpPublication(11, { status: 'expired', version: 2, closed_at: minutesAgo(0) }))
    expect(figure('Need help')).toHaveTextContent('0')
    expect(screen.getByText('Nobody needs help.')).toBeVisible()
  })

  it('marks everything as outdated when the connection is lost, and removes the mark when it is live again', async () => {
    await live()
    expect(connection()).toHaveTextContent('Live')
    act(() => FakeSocket.newest().drop())
    expect(connection()).toHaveTextContent(/Reconnecting – stale since \d\d:\d\d/u)
    expect(screen.getByText(/This page is not live/u)).toBeVisible()
    for (const name of ['Needs attention', 'Help requests', 'All students', 'Activity']) {
      expect(await screen.findByRole('region', { name })).toHaveTextContent(/As of \d\d:\d\d/u)
    }
    await waitFor(() => expect(FakeSocket.opened).toHaveLength(2), { timeout: 2_000 })
    act(() => FakeSocket.newest().goLive())
    expect(connection()).toHaveTextContent('Live')
    expect(screen.queryByText(/As of/u)).toBeNull()
  })

  it('explains a refusal and reconnects only when the button is pressed', async () => {
    const user = userEvent.setup()
    await live()
    act(() => FakeSocket.newest().drop(3507))
    expect(screen.getByText(/You may no longer watch this course/u)).toBeVisible()
    await user.click(screen.getByRole('button', { name: 'Connect again' }))
    await waitFor(() => expect(FakeSocket.opened).toHaveLength(2))
  })

  it('fetches the snapshot again for a student that it does not have', async () => {
    await live()
    api.snapshot = { ...api.snapshot, students: classOf('Aiko Tanaka', 'Ben Adams', 'Chen Li', 'Dora New') }
    await publish(change(11, { student_id: 's4' }))
    expect(await screen.findByRole('row', { name: /Dora New/u }, { timeout: 4_000 })).toBeInTheDocument()
  })

  it('shows a student no more, nor their request, when the counters say that somebody left the roster', async () => {
    // The pause before the fetch is random.
    vi.spyOn(Math, 'random').mockReturnValue(0)
    const request = helpRequest({ student_id: 's2', requested_at: minutesAgo(2) })
    const { students } = api.snapshot
    api.snapshot = { ...api.snapshot, help: [request], counters: { ...api.snapshot.counters, students: 3 } }
    await live()
    const list = screen.getByRole('region', { name: 'Help requests' })
    expect(within(list).getByRole('article', { name: 'Ben Adams' })).toBeVisible()
    api.snapshot = { ...api.snapshot, offset: 11, help: [], students: students.filter((held) => held.student_id !== 's2') }
    await publish(counterPublication(11, { students: 2 }))
    await waitFor(() => expect(rowNames()).toEqual(['Aiko Tanaka', 'Chen Li']))
    expect(screen.queryAllByText(/Ben Adams/u, { selector: '.person' })).toEqual([])
    expect(within(list).getByText('Nobody needs help.')).toBeVisible()
  })

  it('is translated into Japanese', async () => {
    api.snapshot = { ...api.snapshot, help: [helpRequest({ ...fresh, requested_at: minutesAgo(4.5) })] }
    await live('/courses/c1', 'ja')
    expect(connection()).toHaveTextContent('ライブ')
    expect(screen.getByRole('heading', { name: '要対応' })).toBeVisible()
    expect(screen.getByRole('list', { name: '対応が必要な学生' })).toHaveTextContent('4 分前にヘルプ依頼')
    expect(screen.getByRole('button', { name: '対応します：Aiko Tanaka' })).toBeVisible()
    expect(row('Aiko Tanaka')).toHaveTextContent('ヘルプ待ち')
    act(() => FakeSocket.newest().drop())
    expect(connection()).toHaveTextContent(/再接続中 – \d\d:\d\d 以降は未反映/u)
    expect(document.documentElement.lang).toBe('ja')
  })

  it('warns when nothing is received of a whole class at once', async () => {
    const gone = { last_activity_at: minutesAgo(6), last_seen_at: minutesAgo(6) }
    const ids = ['s1', 's2', 's3']
    api.snapshot = { ...api.snapshot, students: ids.map((id) => student({ ...gone, student_id: id })) }
    await live()
    expect(screen.getByText(/Nothing has been received from this class since \d/u)).toBeVisible()
    await publish(change(11, { student_id: 's2', last_seen_at: minutesAgo(0) }))
    expect(screen.getByRole('grid')).toBeVisible()
    expect(screen.queryByText(/Nothing has been received from this class/u)).toBeNull()
  })

  it('uses the server’s clock when this one is wrong', async () => {
    const skewed = (minutes: number) => new Date(Date.now() + 3_600_000 - minutes * 60_000).toISOString()
    api.snapshot = {
      ...api.snapshot,
      generated_at: skewed(0),
      students: [student({ last_activity_at: skewed(2), display_name: 'Aiko Tanaka' })],
    }
    await live()
    expect(row('Aiko Tanaka')).toHaveTextContent('2 min ago')
  })

  it.each([
    ['forward', 10 * 3_600_000],
    ['back', -10 * 3_600_000],
  ])('uses the server’s clock after this one was set %s while the page was open', async (_, step) => {
    const real = Date.now.bind(Date)
    const served = (minutes: number) => new Date(real() - minutes * 60_000).toISOString()
    api.snapshot = {
      ...api.snapshot,
      generated_at: served(0),
      students: [student({ last_activity_at: served(2), display_name: 'Aiko Tanaka' })],
    }
    await live()
    const clock = vi.spyOn(Date, 'now').mockImplementation(() => real() + step)
    act(() => void document.dispatchEvent(new Event('visibilitychange')))
    await waitFor(() => expect(row('Aiko Tanaka')).toHaveTextContent('2 min ago'))
    clock.mockRestore()
  })

  it.each([
    ['forward', 75 * 60_000],
    ['back', -75 * 60_000],
  ])('shows no false frame when this computer’s clock is set %s, even if the server does not answer', async (_, step) => {
    const real = Date.now.bind(Date)
    await live()
    const before = row('Aiko Tanaka').textContent
    api.on('GET courses/c1/state', () => new Promise(() => undefined))
    const clock = vi.spyOn(Date, 'now').mockImplementation(() => real() + step)
    act(() => void document.dispatchEvent(new Event('visibilitychange')))
    expect(row('Aiko Tanaka')).toHaveTextContent(before)
    expect(figure('Active')).toHaveTextContent('3')
    clock.mockRestore()
  })

  it('shows its own times by the server’s clock', async () => {
    const ahead = 3 * 3_600_000 + 17 * 60_000
    const clock = (ms: number) => new Intl.DateTimeFormat('en', { timeStyle: 'short', hourCycle: 'h23' }).format(ms)
    const earliest = Date.now() + ahead
    api.snapshot = { ...api.snapshot, generated_at: new Date(earliest).toISOString() }
    await live()
    act(() => FakeSocket.newest().drop())
    const times = [clock(earliest - 1_000), clock(Date.now() + ahead)].join('|')
    expect(connection()).toHaveTextContent(new RegExp(`stale since (.* )?(${times})`, 'u'))
    expect(screen.getByRole('region', { name: 'Help requests' })).toHaveTextContent(new RegExp(`As of (.* )?(${times})`, 'u'))
    expect(screen.getByText(/This page is not live/u, { selector: 'strong' })).toHaveTextContent(new RegExp(`(${times})`, 'u'))
  })
})

describe('list of students', () => {
  it('is navigated by keyboard with one row in the tab order, and opens with Enter', async () => {
    api.on('GET courses/c1/students/s3', () => ({ body: { student: api.snapshot.students[2], cells: [], help: [] } }))
    api.on('GET courses/c1/students/s3/runs', () => ({ body: { runs: [], next_before: null } }))
    const user = userEvent.setup()
    await live()
    const first = within(row('Aiko Tanaka')).getByRole('button')
    act(() => first.focus())
    await user.keyboard('{ArrowDown}')
    expect(within(row('Ben Adams')).getByRole('button')).toHaveFocus()
    await user.keyboard('{End}')
    const last = within(row('Chen Li')).getByRole('button')
    expect(last).toHaveFocus()
    expect(within(screen.getByRole('grid')).getAllByRole('button').map((button) => button.tabIndex)).toEqual([-1, -1, 0])
    await user.keyboard('{Enter}')
    expect(await screen.findByRole('dialog', { name: /Chen Li/u })).toBeVisible()
    fireEvent(screen.getByRole('dialog'), new Event('cancel', { cancelable: true }))
    await waitFor(() => expect(screen.queryByRole('dialog')).toBeNull())
    expect(within(row('Chen Li')).getByRole('button')).toHaveFocus()
  })

  it('keeps the focus on the same student when the order changes', async () => {
    const user = userEvent.setup()
    await live('/courses/c1?sort=errors')
    const button = within(row('Chen Li')).getByRole('button')
    act(() => button.focus())
    await publish(change(11, { student_id: 's3', errors: 9 }))
    expect(rowNames()).toEqual(['Chen Li', 'Aiko Tanaka', 'Ben Adams'])
    expect(within(row('Chen Li')).getByRole('button')).toHaveFocus()
    await user.keyboard('{ArrowDown}')
    expect(within(row('Aiko Tanaka')).getByRole('button')).toHaveFocus()
  })

  it('searches, filters and sorts, and shows how many match', async () => {
    const user = userEvent.setup()
    await live()
    await user.type(screen.getByRole('searchbox', { name: 'Search' }), 'ben')
    await waitFor(() => expect(rowNames()).toEqual(['Ben Adams']))
    expect(screen.getByText('1 of 3 students', { selector: '.card__note' })).toBeVisible()
    await user.click(screen.getByRole('button', { name: /^Need help/u }))
    expect(await screen.findByText('No student matches.')).toBeVisible()
    await user.click(screen.getByRole('button', { name: 'Show all' }))
    await waitFor(() => expect(rowNames()).toHaveLength(3))
    await publish(change(11, { student_id: 's2', errors: 7 }))
    await user.selectOptions(screen.getByRole('combobox', { name: 'Sort by' }), 'errors')
    await waitFor(() => expect(rowNames()[0]).toBe('Ben Adams'))
  })

  it('renders only the visible rows of a large class', async () => {
    api.snapshot = {
      ...api.snapshot,
      students: classOf(...Array.from({ length: 500 }, (_, index) => `Student ${String(index + 1).padStart(3, '0')}`)),
    }
    await live()
    const grid = screen.getByRole('grid')
    expect(grid).toHaveAttribute('aria-rowcount', '501')
    expect(within(grid).getAllByRole('rowheader').length).toBeLessThan(100)
  })
})

describe('help requests', () => {
  beforeEach(() => {
    api.snapshot = {
      ...api.snapshot,
      help: [
        helpRequest({ request_id: 'h2', student_id: 's2', requested_at: minutesAgo(1) }),
        helpRequest({ request_id: 'h1', student_id: 's1', requested_at: minutesAgo(9) }),
      ],
    }
  })

  it('are in the order of their times', async () => {
    await live()
    const items = within(screen.getByRole('list', { name: /longest waiting first/u })).getAllByRole('article')
    expect(items.map((item) => item.getAttribute('aria-label'))).toEqual(['Aiko Tanaka', 'Ben Adams'])
    expect(items[0]).toHaveTextContent('Waiting for 9 min')
  })

  it('are shown as claimed once the server confirms it and not before', async () => {
    let answer: () => void = () => undefined
    api.on('POST courses/c1/help/h1/claim', async () => {
      await new Promise<void>((resolve) => (answer = resolve))
      const help = helpRequest({ version: 2, status: 'claimed', claimed_by: 'p1', claimed_at: minutesAgo(0) })
      return { body: { help, published: true } }
    })
    const user = userEvent.setup()
    await live()
    const article = screen.getByRole('article', { name: 'Aiko Tanaka' })
    await user.click(within(article).getByRole('button', { name: "I'm on it: Aiko Tanaka" }))
    const pending = within(article).getByRole('button', { name: 'Taking it …' })
    expect(pending).toHaveAttribute('aria-disabled', 'true')
    expect(row('Aiko Tanaka')).toHaveTextContent('Needs help')
    await user.click(pending)
    answer()
    expect(await within(article).findByText(/You are on it since/u)).toBeVisible()
    expect(api.calls.filter((call) => call.endsWith('/claim'))).toHaveLength(1)
    expect(within(article).getByRole('button', { name: 'Hand back: Aiko Tanaka' })).toBeVisible()
    expect(row('Aiko Tanaka')).toHaveTextContent('Being helped')
  })

  it('report that another person was faster, and show who', async () => {
    api.on('POST courses/c1/help/h1/claim', () => {
      const claimed = helpRequest({ version: 2, status: 'claimed', claimed_by: 'p2', claimed_at: minutesAgo(1) })
      api.snapshot = { ...api.snapshot, help: [claimed] }
      return { status: 409, body: fault('help_already_claimed') }
    })
    const user = userEvent.setup()
    await live()
    const article = screen.getByRole('article', { name: 'Aiko Tanaka' })
    await user.click(within(article).getByRole('button', { name: /I'm on it/u }))
    expect(await within(article).findByRole('alert')).toHaveTextContent('Somebody else took this request before you.')
    expect(await within(article).findByText(/Tom Becker is on it since/u)).toBeVisible()
    expect(within(article).queryByRole('button', { name: /Hand back/u })).toBeNull()
  })

  it('report that nothing has changed when an action fails', async () => {
    api.on('POST courses/c1/help/h1/resolve', () => Promise.reject(new TypeError('network')))
    const user = userEvent.setup()
    await live()
    const article = screen.getByRole('article', { name: 'Aiko Tanaka' })
    await user.click(within(article).getByRole('button', { name: /Resolved/u }))
    expect(await within(article).findByRole('alert')).toHaveTextContent(/did not go through.*Nothing has changed/u)
    expect(within(article).getByRole('button', { name: /I'm on it/u })).toBeVisible()
  })

  it('move the focus to the list when the focused one is removed', async () => {
    await live()
    const article = screen.getByRole('article', { name: 'Aiko Tanaka' })
    act(() => within(article).getByRole('button', { name: /I'm on it/u }).focus())
    await publish(helpPublication(11, { version: 2, status: 'cancelled' }))
    expect(screen.queryByRole('article', { name: 'Aiko Tanaka' })).toBeNull()
    expect(screen.getByRole('heading', { name: 'Help requests' })).toHaveFocus()
  })

  it('offer no actions to an observer', async () => {
    api.on('GET me', () => ({
      body: {
        person_id: 'p3',
        username: 'olga',
        display_name: null,
        is_admin: false,
        courses: [{ course_id: 'c1', title: 'Programming', role: 'observer' }],
      },
    }))
    await live()
    expect(screen.queryByRole('button', { name: /I'm on it/u })).toBeNull()
    expect(screen.getByText(/Observers see requests/u)).toBeVisible()
  })
})

describe('student drawer', () => {
  const runs = (from: number, next: string | null) => ({
    body: {
      runs: [
        {
          event_id: `e${from}`,
          at: minutesAgo(from),
          notebook: state().notebook,
          cell: state().cell,
          status: 'error',
          duration_ms: 1240,
          execution_count: from,
          code: 'print(totl)  # <b>',
          outputs: [{ type: 'stream', name: 'stdout', text: '\u001b[31mred\u001b[0m <script>', size: 12 }],
          error: { name: 'NameError', value: "name 'totl'", traceback: '\u001b[0;31mNameError\u001b[0m: totl' },
        },
      ],
      next_before: next,
    },
  })

  beforeEach(() => {
    api.on('GET courses/c1/students/s1', () => ({
      body: {
        student: api.snapshot.students[0],
        cells: [
          {
            notebook: state().notebook,
            cell: state().cell,
            runs: 7,
            errors: 3,
            aborted: 0,
            last_status: 'error',
            last_at: minutesAgo(2),
            error_streak: 2,
          },
        ],
        help: [],
      },
    }))
    api.on('GET courses/c1/students/s1/runs', (_, url) =>
      url.searchParams.get('before') === 'c2' ? runs(2, null) : runs(1, 'c2'),
    )
  })

  it('shows runs with code, output and error as text, and older ones on demand', async () => {
    const user = userEvent.setup()
    await live('/courses/c1?student=s1')
    const dialog = await screen.findByRole('dialog', { name: /Aiko Tanaka/u })
    await user.click(within(dialog).getByRole('tab', { name: 'Runs' }))
    expect(await within(dialog).findByText('print(totl)', { exact: false })).toBeInTheDocument()
    expect(within(dialog).getByText('red <script>')).toBeInTheDocument()
    expect(within(dialog).getByText('NameError: totl')).toBeInTheDocument()
    expect(dialog.querySelector('script, b')).toBeNull()
    await user.click(within(dialog).getByRole('button', { name: 'Older runs' }))
    expect(await within(dialog).findByText('These are all the runs.')).toBeInTheDocument()
    expect(within(dialog).getAllByText('print(totl)', { exact: false })).toHaveLength(2)
  })

  it('moves between its tabs with the arrow keys', async () => {
    const user = userEvent.setup()
    await live('/courses/c1?student=s1')
    const dialog = await screen.findByRole('dialog')
    act(() => within(dialog).getByRole('tab', { name: 'Summary' }).focus())
    await user.keyboard('{ArrowRight}')
    expect(within(dialog).getByRole('tab', { name: 'Cells' })).toHaveFocus()
    expect(await within(dialog).findByRole('row', { name: /Exercise 2.*Error 7 3 2/u })).toBeInTheDocument()
  })

  it('has the student’s active request with its actions, and none once it is closed', async () => {
    api.snapshot = { ...api.snapshot, help: [helpRequest({ message: 'Why does it loop?' })] }
    await live('/courses/c1?student=s1')
    const dialog = await screen.findByRole('dialog', { name: /Aiko Tanaka/u })
    expect(within(dialog).getByText('Why does it loop?')).toBeInTheDocument()
    expect(within(dialog).getByRole('button', { name: "I'm on it: Aiko Tanaka" })).toBeVisible()
    await publish(helpPublication(11, { version: 2, status: 'cancelled', closed_at: minutesAgo(0) }))
    expect(within(dialog).queryByText('Why does it loop?')).toBeNull()
    expect(within(dialog).queryByRole('button', { name: "I'm on it: Aiko Tanaka" })).toBeNull()
  })

  it('reports a student who is not in the course', async () => {
    await live('/courses/c1?student=s99')
    expect(await screen.findByText('This student is not in the course.')).toBeInTheDocument()
  })
})

describe('activity', () => {
  it('has a summary and a table in addition to the chart', async () => {
    await live()
    expect(await screen.findByText(/In the last 1 hr: 8 runs, 2 failed \(25%\)/u)).toBeVisible()
    expect(screen.getByRole('row', { name: /10:02:00|19:02:00|\d\d:02:00 2 0 1/u })).toBeInTheDocument()
  })

  it('reports that only the time series are unavailable', async () => {
    api.on('GET courses/c1/activity', () => ({ status: 503, body: fault('timeseries_unavailable') }))
    await live()
    expect(await screen.findByText(/time series store does not answer/u)).toBeVisible()
    expect(row('Aiko Tanaka')).toBeInTheDocument()
  })

  const counters = (offset: number, runs: number) => ({
    channel: 'course:c1',
    epoch: 'e1',
    offset,
    kind: 'course',
    state: { course_id: 'c1', version: offset, students: 3, started: 1, runs, errors: 0, help_open: 0 },
  })
  const firstRun = (offset: number) =>
    change(offset, {
      student_id: 's1',
      runs: 1,
      last_execution: execution({ at: new Date().toISOString() }),
    })
  const drawn = (executions: number) => {
    const at = minutesAgo(30)
    return { body: { source: 'influxdb', buckets: [{ at, events: executions, executions, errors: 0, students: 1 }] } }
  }
  const activityRegion = () => screen.getByRole('region', { name: /Activity|活動の推移/u })
  const asks = () => api.calls.filter((call) => call === 'GET courses/c1/activity').length
  const realTimeout = globalThis.setTimeout
  /**
   * Advance the time in small steps until a condition holds; the interval alone would make it hold after 30 s.
   * Answers are read in the real event loop: without a turn of it they would seem to take as long as the steps.
   */
  async function passUntil(isSo: () => boolean) {
    for (let ms = 0; ms < 25_000 && !isSo(); ms += 100) {
      await act(async () => {
        await vi.advanceTimersByTimeAsync(100)
        for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => realTimeout(resolve))
      })
    }
    expect(isSo()).toBe(true)
  }

  afterEach(() => {
    vi.useRealTimers()
  })

  it('never contradicts the live figures, and soon shows the newest runs', async () => {
    vi.useFakeTimers({ shouldAdvanceTime: true })
    let runs = 0
    api.on('GET courses/c1/activity', () => drawn(runs))
    await live()
    expect(await screen.findByText('No runs in the last 1 hr.')).toBeVisible()
    await publish(firstRun(11), counters(12, 1))
    expect(figure('Runs')).toHaveTextContent('1')
    expect(screen.queryByText(/No runs in the last/u)).toBeNull()
    expect(screen.getByText('The latest runs are not in this chart yet.')).toBeVisible()
    runs = 1
    await passUntil(() => screen.queryByText(/In the last 1 hr: 1 run,/u) !== null)
  })

  it('fetches again when the series were written only after the first fetch', async () => {
    vi.useFakeTimers({ shouldAdvanceTime: true })
    let runs = 0
    api.on('GET courses/c1/activity', () => drawn(runs))
    await live('/courses/c1', 'ja')
    expect(await screen.findByText('直近 1 時間は実行がありません。')).toBeVisible()
    // After the pause of the first answer: a fetch long after a change needs no repetition.
    await act(() => vi.advanceTimersByTimeAsync(7_000))
    const before = asks()
    await publish(firstRun(11), counters(12, 1))
    await passUntil(() => asks() === before + 1)
    expect(screen.getByText('最新の実行はまだこのグラフに反映されていません。')).toBeVisible()
    runs = 1
    await passUntil(() => screen.queryByText(/直近 1 時間：実行 1 回/u) !== null)
  })

  it('shows since when it is outdated when it cannot be fetched, in both languages', async () => {
    const user = userEvent.setup()
    const { services } = await live()
    await screen.findByText(/In the last 1 hr: 8 runs/u)
    expect(activityRegion()).not.toHaveTextContent(/As of/u)
    const ago = 20 * 60_000
    const at = Date.now() - ago
    const key = ['course', 'c1', 'activity', 60]
    const clock = (ms: number) => new Intl.DateTimeFormat('en', { timeStyle: 'short', hourCycle: 'h23' }).format(ms)
    // Fetched twenty minutes ago, as after a laptop was suspended: no fetch has failed yet.
    act(() => {
      services.client.setQueryData<object>(key, (held) => ({ ...held, asked_tick: performance.now() - ago }))
    })
    await waitFor(() => expect(activityRegion()).toHaveTextContent(`As of ${clock(at)}`))
    api.on('GET courses/c1/activity', () => ({ status: 503, body: fault('timeseries_unavailable') }))
    await act(() => services.client.refetchQueries({ queryKey: key }))
    expect(activityRegion()).toHaveTextContent(`As of ${clock(at)}`)
    // A live connection that is lost later must not make the chart look newer than it is.
    act(() => FakeSocket.newest().drop())
    expect(activityRegion()).toHaveTextContent(`As of ${clock(at)}`)
    await user.click(screen.getByRole('button', { name: '日本語' }))
    expect(activityRegion()).toHaveTextContent(`${clock(at)} 時点`)
  })

  it('moves the focus to its heading when the retry button is removed', async () => {
    const user = userEvent.setup()
    api.on('GET courses/c1/activity', () => ({ status: 503, body: fault('timeseries_unavailable') }))
    await live()
    const button = await within(await screen.findByRole('region', { name: 'Activity' })).findByRole('button', {
      name: 'Try again',
    })
    api.on('GET courses/c1/activity', () => drawn(3))
    await user.click(button)
    await screen.findByText(/In the last 1 hr: 3 runs/u)
    expect(screen.getByRole('heading', { name: 'Activity' })).toHaveFocus()
  })

  it('does not show the figures of one span as those of another while that is being fetched', async () => {
    const user = userEvent.setup()
    await live()
    await screen.findByText(/In the last 1 hr: 8 runs/u)
    let answer: (value: ReturnType<typeof drawn>) => void = () => undefined
    api.on('GET courses/c1/activity', () => new Promise((resolve) => (answer = resolve)))
    await user.click(screen.getByRole('button', { name: '3 hr' }))
    expect(screen.getByText(/In the last 1 hr: 8 runs/u)).toBeVisible()
    answer(drawn(40))
    expect(await screen.findByText(/In the last 3 hr: 40 runs/u)).toBeVisible()
  })

  it('requests the newest runs by the server’s clock when this one is slow', async () => {
    const ahead = 3_600_000
    const stops: number[] = []
    api.snapshot = { ...api.snapshot, generated_at: new Date(Date.now() + ahead).toISOString() }
    api.on('GET courses/c1/activity', (_, url) => {
      stops.push(Date.parse(url.searchParams.get('stop') ?? ''))
      return drawn(1)
    })
    await live()
    await screen.findByText(/In the last 1 hr: 1 run,/u)
    expect(stops[0]).toBeGreaterThanOrEqual(Date.now() + ahead - 5_000)
  })
})

describe('errors', () => {
  it('a course of other people is not found', async () => {
    renderApp('/courses/other')
    expect(await screen.findByRole('heading', { name: 'Course not found' })).toBeVisible()
  })

  it('a role without access gets an explanation', async () => {
    api.on('GET courses/c1/state', () => ({ status: 403, body: fault('forbidden') }))
    renderApp('/courses/c1')
    expect(await screen.findByRole('heading', { name: 'Not for your role' })).toBeVisible()
  })

  it('a server without an answer can be retried', async () => {
    const user = userEvent.setup()
    api.on('GET courses/c1/state', () => Promise.reject(new TypeError('network')))
    renderApp('/courses/c1')
    const alert = await screen.findByRole('alert')
    expect(alert).toHaveTextContent('The server does not answer')
    api.on('GET courses/c1/state', () => ({ body: api.snapshot }))
    await user.click(within(alert).getByRole('button', { name: 'Try again' }))
    expect(await screen.findByRole('heading', { name: 'Programming' })).toBeVisible()
  })
})
