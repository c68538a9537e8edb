import { act, screen, waitFor, within } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import { describe, expect, it, vi } from 'vitest'

import { fault, renderApp } from '../../testing/app'
import { change, classOf, connection, figure, fresh, live, minutesAgo, prepareCourse, publish, row, rowNames } from '../../testing/course'
import { counterPublication, execution, helpPublication, helpRequest, student } from '../../testing/fixtures'
import { FakeSocket } from '../../testing/sockets'

const course = prepareCourse()

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
    course.api.snapshot = {
      ...course.api.snapshot,
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
    course.api.snapshot = { ...course.api.snapshot, help: [helpRequest({ requested_at: minutesAgo(2) })] }
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

  it('explains a refusal and, without the right, reconnects only when the button is pressed', async () => {
    const user = userEvent.setup()
    await live()
    course.api.on('GET me', () => ({ body: { person_id: 'p1', username: 'mari', display_name: null, is_admin: false, courses: [] } }))
    act(() => FakeSocket.newest().drop(3507))
    expect(screen.getByText(/You may no longer watch this course/u)).toBeVisible()
    // Nothing more is shown of what the page held.
    expect(screen.queryByText(/Aiko Tanaka/u)).toBeNull()
    expect(screen.queryByRole('region')).toBeNull()
    await user.click(screen.getByRole('button', { name: 'Connect again' }))
    await waitFor(() => expect(FakeSocket.opened).toHaveLength(2))
  })

  it('fetches the snapshot again for a student that it does not have', async () => {
    await live()
    course.api.snapshot = { ...course.api.snapshot, students: classOf('Aiko Tanaka', 'Ben Adams', 'Chen Li', 'Dora New') }
    await publish(change(11, { student_id: 's4' }))
    expect(await screen.findByRole('row', { name: /Dora New/u }, { timeout: 4_000 })).toBeInTheDocument()
  })

  it('shows a student no more, nor their request, when the counters say that somebody left the roster', async () => {
    // The pause before the fetch is random.
    vi.spyOn(Math, 'random').mockReturnValue(0)
    const request = helpRequest({ student_id: 's2', requested_at: minutesAgo(2) })
    const { students } = course.api.snapshot
    course.api.snapshot = { ...course.api.snapshot, help: [request], counters: { ...course.api.snapshot.counters, students: 3 } }
    await live()
    const list = screen.getByRole('region', { name: 'Help requests' })
    expect(within(list).getByRole('article', { name: 'Ben Adams' })).toBeVisible()
    course.api.snapshot = { ...course.api.snapshot, offset: 11, help: [], students: students.filter((held) => held.student_id !== 's2') }
    await publish(counterPublication(11, { students: 2 }))
    await waitFor(() => expect(rowNames()).toEqual(['Aiko Tanaka', 'Chen Li']))
    expect(screen.queryAllByText(/Ben Adams/u, { selector: '.person' })).toEqual([])
    expect(within(list).getByText('Nobody needs help.')).toBeVisible()
  })

  it('is translated into Japanese', async () => {
    course.api.snapshot = { ...course.api.snapshot, help: [helpRequest({ ...fresh, requested_at: minutesAgo(4.5) })] }
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
    course.api.snapshot = { ...course.api.snapshot, students: ids.map((id) => student({ ...gone, student_id: id })) }
    await live()
    // With the day, shortly after midnight.
    expect(screen.getByText(/Nothing has been received from this class since (?:\w{3} \d+, )?\d/u)).toBeVisible()
    await publish(change(11, { student_id: 's2', last_seen_at: minutesAgo(0) }))
    expect(screen.getByRole('grid')).toBeVisible()
    expect(screen.queryByText(/Nothing has been received from this class/u)).toBeNull()
  })

  it('uses the server’s clock when this one is wrong', async () => {
    const skewed = (minutes: number) => new Date(Date.now() + 3_600_000 - minutes * 60_000).toISOString()
    course.api.snapshot = {
      ...course.api.snapshot,
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
    course.api.snapshot = {
      ...course.api.snapshot,
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
    course.api.on('GET courses/c1/state', () => new Promise(() => undefined))
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
    course.api.snapshot = { ...course.api.snapshot, generated_at: new Date(earliest).toISOString() }
    await live()
    act(() => FakeSocket.newest().drop())
    const times = [clock(earliest - 1_000), clock(Date.now() + ahead)].join('|')
    expect(connection()).toHaveTextContent(new RegExp(`stale since (.* )?(${times})`, 'u'))
    expect(screen.getByRole('region', { name: 'Help requests' })).toHaveTextContent(new RegExp(`As of (.* )?(${times})`, 'u'))
    expect(screen.getByText(/This page is not live/u, { selector: 'strong' })).toHaveTextContent(new RegExp(`(${times})`, 'u'))
  })
})

describe('errors', () => {
  it('a course of other people is not found', async () => {
    renderApp('/courses/other')
    expect(await screen.findByRole('heading', { name: 'Course not found' })).toBeVisible()
  })

  it('a role without access gets an explanation', async () => {
    course.api.on('GET courses/c1/state', () => ({ status: 403, body: fault('forbidden') }))
    renderApp('/courses/c1')
    expect(await screen.findByRole('heading', { name: 'Not for your role' })).toBeVisible()
  })

  const meWith = (role: string | null) => () => ({
    body: {
      person_id: 'p1', username: 'mari', display_name: 'Mari Aoki', is_admin: false,
      courses: role === null ? [] : [{ course_id: 'c1', title: 'Programming', role }],
    },
  })

  it('comes back by itself after the role is given back, also where the server answers by the old role for some seconds', async () => {
    course.api.on('GET me', meWith('student'))
    course.api.on('GET courses/c1/state', () => ({ status: 403, body: fault('permission_denied') }))
    renderApp('/courses/c1')
    expect(await screen.findByRole('heading', { name: 'Not for your role' })).toBeVisible()
    course.api.on('GET me', meWith('assistant'))
    let late = 2
    course.api.on('GET courses/c1/state', () => {
      late -= 1
      return late >= 0 ? { status: 403, body: fault('permission_denied') } : { body: course.api.snapshot }
    })
    expect(await screen.findByRole('heading', { name: 'Programming' }, { timeout: 20_000 })).toBeVisible()
  }, 25_000)

  it('comes back by itself where the right ended and came back between two readings', async () => {
    course.api.on('GET courses/c1/members', () => ({ body: { members: [], issuers: ['local'], hub: null } }))
    const { services } = renderApp('/courses/c1/members')
    expect(await screen.findByRole('heading', { name: '0 members' })).toBeVisible()
    course.api.on('GET courses/c1/members', () => ({ status: 403, body: fault('permission_denied') }))
    await act(() => services.client.invalidateQueries({ queryKey: ['members', 'c1'] }))
    expect(await screen.findByRole('heading', { name: 'Not for your role' })).toBeVisible()
    course.api.on('GET courses/c1/members', () => ({ body: { members: [], issuers: ['local'], hub: null } }))
    expect(await screen.findByRole('heading', { name: '0 members' }, { timeout: 8_000 })).toBeVisible()
  }, 15_000)

  it('is live again by itself after the gateway had refused the connection and the role is given back', async () => {
    await live()
    course.api.on('GET me', meWith(null))
    act(() => FakeSocket.newest().drop(3507))
    expect(await screen.findByRole('alert')).toBeVisible()
    expect(screen.queryByText('Aiko Tanaka')).toBeNull()
    const before = course.api.calls.length
    // Without the right it does not ask the gateway again.
    await waitFor(() => expect(course.api.calls.slice(before).filter((call) => call === 'GET me').length).toBeGreaterThan(1), { timeout: 12_000 })
    expect(FakeSocket.opened).toHaveLength(1)
    course.api.on('GET me', meWith('observer'))
    await waitFor(() => expect(FakeSocket.opened.length).toBeGreaterThan(1), { timeout: 12_000 })
    act(() => FakeSocket.newest().goLive())
    expect(await screen.findByText('Aiko Tanaka')).toBeVisible()
  }, 30_000)

  it('a server without an answer can be retried', async () => {
    const user = userEvent.setup()
    course.api.on('GET courses/c1/state', () => Promise.reject(new TypeError('network')))
    renderApp('/courses/c1')
    const alert = await screen.findByRole('alert')
    expect(alert).toHaveTextContent('The server does not answer')
    course.api.on('GET courses/c1/state', () => ({ body: course.api.snapshot }))
    await user.click(within(alert).getByRole('button', { name: 'Try again' }))
    expect(await screen.findByRole('heading', { name: 'Programming' })).toBeVisible()
  })
})
