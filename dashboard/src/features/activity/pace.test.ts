import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

import { REFETCH_INTERVAL_MS, RefetchPace } from './pace'

let asked: number[]
let pace: RefetchPace
/** Milliseconds until the server answers; null while it does not. */
let answerMs: number | null

beforeEach(() => {
  vi.useFakeTimers({ now: 1_000_000 })
  asked = []
  answerMs = 50
  pace = new RefetchPace(() => {
    const at = performance.now()
    asked.push(at)
    setTimeout(() => (answerMs === null ? pace.failed() : pace.answered(at)), answerMs ?? 2_000)
  })
  pace.answered(performance.now() - 60_000)
})

afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

/** Make changes at this interval for this time. */
async function busy(ms: number, everyMs = 100) {
  for (let spent = 0; spent < ms; spent += everyMs) {
    pace.changed()
    await vi.advanceTimersByTimeAsync(everyMs)
  }
}

const since = (start: number) => asked.map((at) => at - start)

describe('pace of refetches', () => {
  it('fetches nothing while nothing changes', async () => {
    await vi.advanceTimersByTimeAsync(600_000)
    expect(asked).toEqual([])
  })

  it('fetches soon after a change, once more in case that was too early, and then stops', async () => {
    const start = performance.now()
    pace.changed()
    await vi.advanceTimersByTimeAsync(600_000)
    expect(asked).toHaveLength(2)
    const [first = 0, second = 0] = since(start)
    expect(first).toBeGreaterThanOrEqual(1_000)
    expect(first).toBeLessThanOrEqual(2_500)
    expect(second - first).toBeGreaterThanOrEqual(5_000)
    expect(second).toBeLessThan(10_000)
  })

  it('fetches at most every five seconds during continuous changes, and is not postponed by them', async () => {
    const start = performance.now()
    await busy(120_000)
    expect(since(start)[0]).toBeLessThanOrEqual(2_500)
    const gaps = asked.slice(1).map((at, index) => at - asked[index]!)
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(5_000)
    expect(Math.max(...gaps)).toBeLessThan(8_000)
  })

  it('always fetches once more after the last change, late enough for it to be written', async () => {
    await busy(60_000)
    const last = performance.now()
    await vi.advanceTimersByTimeAsync(20_000)
    expect(asked.at(-1)! - last).toBeGreaterThanOrEqual(5_900)
    const settled = asked.length
    await vi.advanceTimersByTimeAsync(600_000)
    expect(asked).toHaveLength(settled)
  })

  it('spreads the fetches of dashboards that receive a change at once', async () => {
    const times: number[] = []
    for (let index = 0; index < 200; index += 1) {
      const one = new RefetchPace(() => times.push(performance.now()))
      one.changed()
    }
    await vi.advanceTimersByTimeAsync(2_500)
    expect(times).toHaveLength(200)
    const perTenth = new Map<number, number>()
    for (const at of times) perTenth.set(Math.floor(at / 100), (perTenth.get(Math.floor(at / 100)) ?? 0) + 1)
    expect(Math.max(...perTenth.values())).toBeLessThan(60)
  })

  it('fetches less often from a slow server', async () => {
    answerMs = 1_500
    await busy(120_000)
    const gaps = asked.slice(1).map((at, index) => at - asked[index]!)
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(15_000)
    expect(Math.max(...gaps)).toBeLessThanOrEqual(REFETCH_INTERVAL_MS + 1_000)
  })

  it('leaves a failing server to the interval, and returns to normal afterwards', async () => {
    answerMs = null
    await busy(120_000)
    expect(asked.length).toBeLessThanOrEqual(1 + 120_000 / REFETCH_INTERVAL_MS)
    answerMs = 50
    await busy(REFETCH_INTERVAL_MS + 10_000)
    const before = asked.length
    await busy(30_000)
    expect(asked.length - before).toBeGreaterThanOrEqual(4)
  })

  it('counts the fetches of the interval: no second request right after one', async () => {
    pace.answered(performance.now())
    pace.changed()
    await vi.advanceTimersByTimeAsync(4_900)
    expect(asked).toEqual([])
    await vi.advanceTimersByTimeAsync(5_000)
    expect(asked).toHaveLength(1)
  })

  it('fetches nothing on a hidden page, and catches up when it becomes visible', async () => {
    const visibility = vi.spyOn(document, 'visibilityState', 'get').mockReturnValue('hidden')
    await busy(60_000)
    await vi.advanceTimersByTimeAsync(10_000)
    expect(asked).toEqual([])
    visibility.mockReturnValue('visible')
    pace.wake()
    await vi.advanceTimersByTimeAsync(2_500)
    expect(asked).toHaveLength(1)
  })
})
