import { act, screen, waitFor, within } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import { afterEach, describe, expect, it, vi } from 'vitest'

import { fault } from '../../testing/app'
import { change, figure, live, minutesAgo, prepareCourse, publish, row } from '../../testing/course'
import { execution } from '../../testing/fixtures'
import { FakeSocket } from '../../testing/sockets'

const course = prepareCourse()

describe('activity', () => {
  it('has a summary and a table in addition to the chart', async () => {
    await live()
    expect(await screen.findByText(/In the last 1 hr: 8 runs, 2 failed \(25%\)/u)).toBeVisible()
    expect(screen.getByRole('row', { name: /10:02:00|19:02:00|\d\d:02:00 2 0 1/u })).toBeInTheDocument()
  })

  it('reports that only the time series are unavailable', async () => {
    course.api.on('GET courses/c1/activity', () => ({ status: 503, body: fault('timeseries_unavailable') }))
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
  const asks = () => course.api.calls.filter((call) => call === 'GET courses/c1/activity').length
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
    course.api.on('GET courses/c1/activity', () => drawn(runs))
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
    course.api.on('GET courses/c1/activity', () => drawn(runs))
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
    // In the middle of a minute: the page's clock is behind by what the snapshot took.
    const at = Math.floor((Date.now() - ago) / 60_000) * 60_000 + 30_000
    const key = ['course', 'c1', 'activity', 60]
    const clock = (ms: number) => new Intl.DateTimeFormat('en', { timeStyle: 'short', hourCycle: 'h23' }).format(ms)
    // With the day, shortly after midnight.
    const asOf = (ms: number) => new RegExp(`As of (?:\\w{3} \\d+, )?${clock(ms)}`, 'u')
    // Fetched twenty minutes ago, as after a laptop was suspended: no fetch has failed yet.
    act(() => {
      services.client.setQueryData<object>(key, (held) => ({ ...held, asked_tick: performance.now() - (Date.now() - at) }))
    })
    await waitFor(() => expect(activityRegion()).toHaveTextContent(asOf(at)))
    course.api.on('GET courses/c1/activity', () => ({ status: 503, body: fault('timeseries_unavailable') }))
    await act(() => services.client.refetchQueries({ queryKey: key }))
    expect(activityRegion()).toHaveTextContent(asOf(at))
    // A live connection that is lost later must not make the chart look newer than it is.
    act(() => FakeSocket.newest().drop())
    expect(activityRegion()).toHaveTextContent(asOf(at))
    await user.click(screen.getByRole('button', { name: '日本語' }))
    expect(activityRegion()).toHaveTextContent(`${clock(at)} 時点`)
  })

  it('moves the focus to its heading when the retry button is removed', async () => {
    const user = userEvent.setup()
    course.api.on('GET courses/c1/activity', () => ({ status: 503, body: fault('timeseries_unavailable') }))
    await live()
    const button = await within(await screen.findByRole('region', { name: 'Activity' })).findByRole('button', {
      name: 'Try again',
    })
    course.api.on('GET courses/c1/activity', () => drawn(3))
    await user.click(button)
    await screen.findByText(/In the last 1 hr: 3 runs/u)
    expect(screen.getByRole('heading', { name: 'Activity' })).toHaveFocus()
  })

  it('does not show the figures of one span as those of another while that is being fetched', async () => {
    const user = userEvent.setup()
    await live()
    await screen.findByText(/In the last 1 hr: 8 runs/u)
    let answer: (value: ReturnType<typeof drawn>) => void = () => undefined
    course.api.on('GET courses/c1/activity', () => new Promise((resolve) => (answer = resolve)))
    await user.click(screen.getByRole('button', { name: '3 hr' }))
    expect(screen.getByText(/In the last 1 hr: 8 runs/u)).toBeVisible()
    answer(drawn(40))
    expect(await screen.findByText(/In the last 3 hr: 40 runs/u)).toBeVisible()
  })

  it('requests the newest runs by the server’s clock when this one is slow', async () => {
    const ahead = 3_600_000
    const stops: number[] = []
    course.api.snapshot = { ...course.api.snapshot, generated_at: new Date(Date.now() + ahead).toISOString() }
    course.api.on('GET courses/c1/activity', (_, url) => {
      stops.push(Date.parse(url.searchParams.get('stop') ?? ''))
      return drawn(1)
    })
    await live()
    await screen.findByText(/In the last 1 hr: 1 run,/u)
    expect(stops[0]).toBeGreaterThanOrEqual(Date.now() + ahead - 5_000)
  })
})
