import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'

import { describe, expect, it } from 'vitest'

import type { HelpState, StudentState, Thresholds } from '../api/types'
import { before, helpRequest, NOW, state, thresholds } from '../testing/fixtures'
import { compareRequests } from './requests'
import { compareUrgency, reasonsFor, type Reason } from './view'
import { hasLeft, hasStarted, isActive, isHere, isQuiet, isRunning, leftWaiting, needsHelp } from './words'

const reasons = (changes: Parameters<typeof state>[0], help = null as Parameters<typeof reasonsFor>[1]) =>
  reasonsFor(state(changes), help, thresholds, NOW)

describe('reasons', () => {
  it('are none for a student at work', () => {
    expect(reasons({})).toEqual([])
  })

  it('include failed runs from the threshold on', () => {
    const streak = { error_streak: 2, streak_error: 'NameError', streak_since: before(8) }
    expect(reasons(streak)).toEqual([])
    expect(reasons({ ...streak, error_streak: 3 })).toEqual([
      { kind: 'streak', count: 3, error: 'NameError', since: NOW - 8 * 60_000, notebook: null, cell: null },
    ])
  })

  it('name no error when the failed runs had several', () => {
    expect(reasons({ error_streak: 4, streak_error: null, streak_since: before(2) })).toMatchObject([
      { kind: 'streak', error: null },
    ])
  })

  it('include a long run from the threshold on', () => {
    expect(reasons({ status: 'running', running_since: before(2.9) })).toEqual([])
    expect(reasons({ status: 'running', running_since: before(3) })).toMatchObject([{ kind: 'long_run' }])
  })

  it('do not include quiet while a cell is running', () => {
    const quiet = { last_activity_at: before(20), last_seen_at: before(1) }
    expect(reasons(quiet)).toMatchObject([{ kind: 'idle', since: NOW - 20 * 60_000 }])
    expect(reasons({ ...quiet, status: 'running', running_since: before(1) })).toEqual([])
  })

  it('of a student who has left are none, whatever was asked', () => {
    const left = {
      sessions_open: 0,
      last_activity_at: before(30),
      error_streak: 5,
      streak_since: before(35),
      status: 'running' as const,
      running_since: before(33),
    }
    expect(reasons(left)).toEqual([])
    expect(reasons(left, helpRequest())).toEqual([])
  })

  it('are none after a browser crashed: the session is open, but nothing is received', () => {
    const crashed = {
      sessions_open: 1,
      last_activity_at: before(9),
      error_streak: 5,
      streak_since: before(12),
      status: 'running' as const,
      running_since: before(10),
    }
    // The student may have been seen at the end of the minute, and offline_s is another minute.
    expect(reasons({ ...crashed, last_seen_at: before(1.9) })).toMatchObject([{ kind: 'streak' }, { kind: 'long_run' }])
    expect(reasons({ ...crashed, last_seen_at: before(2) })).toEqual([])
    expect(reasons({ ...crashed, last_seen_at: null })).toEqual([])
    expect(reasons({ ...crashed, last_seen_at: before(2) }, helpRequest())).toEqual([])
  })

  it('do not depend on the clock of the student: the server has the time of the last event', () => {
    const slow = { error_streak: 3, streak_since: before(90), last_activity_at: before(60), last_seen_at: before(0.5) }
    expect(reasons(slow)).toMatchObject([{ kind: 'streak' }, { kind: 'idle' }])
    expect(reasons({ ...slow, last_activity_at: before(-60), last_seen_at: before(5) })).toEqual([])
  })

  it('are kept until offline_s has passed', () => {
    const reloading = { sessions_open: 0, last_activity_at: before(0.5), last_seen_at: before(0.5), error_streak: 3, streak_since: before(5) }
    expect(reasons(reloading)).toMatchObject([{ kind: 'streak' }])
  })

  it('are computed without times that are missing or invalid', () => {
    expect(reasons({ status: 'running', running_since: null })).toEqual([])
    expect(reasons({ last_activity_at: 'yesterday' })).toEqual([])
    expect(reasons({ error_streak: 3, streak_since: 'nonsense', last_execution: null })).toMatchObject([
      { kind: 'streak', since: NOW },
    ])
  })

  it('order students by request, then by waiting time, those being helped last', () => {
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

describe('a request that waited', () => {
  it('is shown with its wait and stays where its receipt puts it', () => {
    // The second one says that it waited for an hour; the server received it after the first.
    const first = helpRequest({ request_id: 'h1', requested_at: before(5), received_at: before(5) })
    const second = helpRequest({ request_id: 'h2', requested_at: before(60), received_at: before(2) })
    expect([second, first].sort(compareRequests)).toEqual([first, second])
    const list = [reasons({}, second), reasons({}, first)]
    expect(list.sort(compareUrgency).map(([reason]) => reason?.since)).toEqual([NOW - 5 * 60_000, NOW - 60 * 60_000])
  })
})

interface GoldenCase {
  name: string
  state?: Partial<StudentState>
  help?: Partial<HelpState>
  thresholds?: Partial<Thresholds>
  now?: string
  left: boolean
  reasons: (Pick<Reason, 'kind'> & { since: string; count?: number; error?: string; by?: string } & Partial<
      Pick<Reason, 'notebook' | 'cell'>
    >)[]
}

interface WordCase extends Omit<GoldenCase, 'left' | 'reasons'> {
  words: string[]
}

interface GoldenFile {
  base: { now: string; thresholds: Thresholds; state: StudentState }
  request: HelpState
  cases: GoldenCase[]
  words: WordCase[]
}

/** As the view has it: times in milliseconds, and an error or a person that is not known is null. */
function expected({ kind, since, count, error, by, notebook, cell }: GoldenCase['reasons'][number]): unknown {
  const reason = { kind, since: Date.parse(since), notebook: notebook ?? null, cell: cell ?? null }
  if (kind === 'streak') return { ...reason, count, error: error ?? null }
  if (kind === 'help') return { ...reason, received: Date.parse(since) }
  if (kind === 'kernel_deaths') return { ...reason, count }
  return kind === 'claimed' ? { ...reason, by: by ?? null } : reason
}

describe('the golden cases, which core is tested with as well', () => {
  const golden = JSON.parse(readFileSync(resolve('../tests/contract/golden/attention.json'), 'utf8')) as GoldenFile
  const { base } = golden

  const read = (item: Omit<GoldenCase, 'left' | 'reasons'>) =>
    [
      { ...base.state, ...item.state },
      item.help === undefined ? null : { ...golden.request, ...item.help },
      { ...base.thresholds, ...item.thresholds },
      Date.parse(item.now ?? base.now),
    ] as const

  it.each(golden.cases)('$name', (item) => {
    const [row, help, limits, now] = read(item)
    expect(hasLeft(row, limits, now)).toBe(item.left)
    expect(reasonsFor(row, help, limits, now)).toEqual(item.reasons.map(expected))
  })

  it.each(golden.words)('words: $name', (item) => {
    const [row, help, limits, now] = read(item)
    const holds = {
      started: hasStarted(row),
      here: isHere(row, limits, now),
      left: hasLeft(row, limits, now),
      active: isActive(row, limits, now),
      quiet: isQuiet(row, limits, now),
      running: isRunning(row, limits, now),
      needs_help: needsHelp(row, help, limits, now),
      left_waiting: leftWaiting(row, help, limits, now),
    }
    const held = Object.entries(holds).flatMap(([word, held_]) => (held_ ? [word] : []))
    expect(held.sort()).toEqual([...item.words].sort())
  })
})
