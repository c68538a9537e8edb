import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'

import { describe, expect, it } from 'vitest'

import type { HelpState, StudentState, Thresholds } from '../api/types'
import { before, helpRequest, NOW, state, thresholds } from '../testing/fixtures'
import { compareUrgency, hasLeft, reasonsFor, type Reason } from './view'

const reasons = (changes: Parameters<typeof state>[0], help = null as Parameters<typeof reasonsFor>[1]) =>
  reasonsFor(state(changes), help, thresholds, NOW)

describe('reasons', () => {
  it('finds nothing wrong with a student who works', () => {
    expect(reasons({})).toEqual([])
  })

  it('counts failures up to the threshold and not below it', () => {
    const streak = { error_streak: 2, streak_error: 'NameError', streak_since: before(8) }
    expect(reasons(streak)).toEqual([])
    expect(reasons({ ...streak, error_streak: 3 })).toEqual([
      { kind: 'streak', count: 3, error: 'NameError', since: NOW - 8 * 60_000 },
    ])
  })

  it('names no error when the failures were of several kinds', () => {
    expect(reasons({ error_streak: 4, streak_error: null, streak_since: before(2) })).toMatchObject([
      { kind: 'streak', error: null },
    ])
  })

  it('reports a run from the threshold on', () => {
    expect(reasons({ status: 'running', running_since: before(2.9) })).toEqual([])
    expect(reasons({ status: 'running', running_since: before(3) })).toMatchObject([{ kind: 'long_run' }])
  })

  it('does not call somebody quiet whose cell is running', () => {
    const quiet = { last_activity_at: before(20), last_seen_at: before(1) }
    expect(reasons(quiet)).toMatchObject([{ kind: 'idle', since: NOW - 20 * 60_000 }])
    expect(reasons({ ...quiet, status: 'running', running_since: before(1) })).toEqual([])
  })

  it('leaves those alone who have left, unless they asked for help', () => {
    const left = {
      sessions_open: 0,
      last_activity_at: before(30),
      error_streak: 5,
      streak_since: before(35),
      status: 'running' as const,
      running_since: before(33),
    }
    expect(reasons(left)).toEqual([])
    expect(reasons(left, helpRequest())).toMatchObject([{ kind: 'help' }])
  })

  it('forgets somebody whose browser crashed: the session stays open, but nothing was heard', () => {
    const crashed = {
      sessions_open: 1,
      last_activity_at: before(9),
      error_streak: 5,
      streak_since: before(12),
      status: 'running' as const,
      running_since: before(10),
    }
    // The minute may have been at its end, and offline_s is another.
    expect(reasons({ ...crashed, last_seen_at: before(1.9) })).toMatchObject([{ kind: 'streak' }, { kind: 'long_run' }])
    expect(reasons({ ...crashed, last_seen_at: before(2) })).toEqual([])
    expect(reasons({ ...crashed, last_seen_at: null })).toEqual([])
    expect(reasons({ ...crashed, last_seen_at: before(2) }, helpRequest())).toMatchObject([{ kind: 'help' }])
  })

  it('keeps somebody whose clock is wrong, for the server says when it saw them', () => {
    const slow = { error_streak: 3, streak_since: before(90), last_activity_at: before(60), last_seen_at: before(0.5) }
    expect(reasons(slow)).toMatchObject([{ kind: 'streak' }, { kind: 'idle' }])
    expect(reasons({ ...slow, last_activity_at: before(-60), last_seen_at: before(5) })).toEqual([])
  })

  it('waits offline_s before it says that somebody has left', () => {
    const reloading = { sessions_open: 0, last_activity_at: before(0.5), last_seen_at: before(0.5), error_streak: 3, streak_since: before(5) }
    expect(reasons(reloading)).toMatchObject([{ kind: 'streak' }])
  })

  it('survives times that are missing or nonsense', () => {
    expect(reasons({ status: 'running', running_since: null })).toEqual([])
    expect(reasons({ last_activity_at: 'yesterday' })).toEqual([])
    expect(reasons({ error_streak: 3, streak_since: 'nonsense', last_execution: null })).toMatchObject([
      { kind: 'streak', since: NOW },
    ])
  })

  it('puts requests first, longest wait first, and those being helped last', () => {
    const list = [
      { name: 'helped', reasons: reasons({}, helpRequest({ status: 'claimed', claimed_by: 'p2', claimed_at: before(9) })) },
      { name: 'quiet', reasons: reasons({ last_activity_at: before(20), last_seen_at: before(1) }) },
      { name: 'asks late', reasons: reasons({}, helpRequest({ requested_at: before(1) })) },
      { name: 'stuck', reasons: reasons({ error_streak: 9, streak_since: before(30) }) },
      { name: 'asks early', reasons: reasons({}, helpRequest({ requested_at: before(6) })) },
      { name: 'fine', reasons: reasons({}) },
    ]
    expect(list.sort((a, b) => compareUrgency(a.reasons, b.reasons)).map(({ name }) => name)).toEqual([
      'asks early',
      'asks late',
      'stuck',
      'quiet',
      'helped',
      'fine',
    ])
  })
})

interface GoldenCase {
  name: string
  state?: Partial<StudentState>
  help?: Partial<HelpState>
  thresholds?: Partial<Thresholds>
  now?: string
  left: boolean
  reasons: { kind: Reason['kind']; since: string; count?: number; error?: string; by?: string }[]
}

interface GoldenFile {
  base: { now: string; thresholds: Thresholds; state: StudentState }
  request: HelpState
  cases: GoldenCase[]
}

/** As the view has it: times in milliseconds, and an error or a person that is not known is null. */
function expected({ kind, since, count, error, by }: GoldenCase['reasons'][number]): unknown {
  const reason = { kind, since: Date.parse(since) }
  if (kind === 'streak') return { ...reason, count, error: error ?? null }
  return kind === 'claimed' ? { ...reason, by: by ?? null } : reason
}

describe('the contract, which core is held to as well', () => {
  const golden = JSON.parse(readFileSync(resolve('../tests/contract/golden/attention.json'), 'utf8')) as GoldenFile
  const { base } = golden

  it.each(golden.cases)('$name', (item) => {
    const row = { ...base.state, ...item.state }
    const help = item.help === undefined ? null : { ...golden.request, ...item.help }
    const limits = { ...base.thresholds, ...item.thresholds }
    const now = Date.parse(item.now ?? base.now)
    expect(hasLeft(row, limits, now)).toBe(item.left)
    expect(reasonsFor(row, help, limits, now)).toEqual(item.reasons.map(expected))
  })
})
