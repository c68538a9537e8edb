/**
 * What the words of the page mean, one predicate each. They are defined in core (`derivation/words.py`;
 * docs/dev/contracts.md, "Words"); `tests/contract/golden/attention.json` holds this file and that one to the same cases.
 * Times are milliseconds of the server's clock.
 */

import type { HelpState, StudentState, Thresholds } from '../api/types'
import { isActiveRequest } from './requests'

/** A time in milliseconds; null for none. */
export function at(time: string | null | undefined): number | null {
  if (time == null) return null
  const ms = Date.parse(time)
  return Number.isNaN(ms) ? null : ms
}

/** `last_seen_at` names a minute: the student may have been seen at its end. */
const seenStepMs = 60_000

export function hasStarted(state: StudentState): boolean {
  return state.status !== 'waiting'
}

/**
 * All sessions ended and nothing was done for `offline_s`, or the server received nothing for `offline_s`, whatever
 * sessions are open: a browser that crashed ends none.
 */
export function hasLeft(state: StudentState, thresholds: Thresholds, now: number): boolean {
  if (!hasStarted(state)) return false
  const offlineMs = thresholds.offline_s * 1000
  const active = at(state.last_activity_at)
  // A row of a version that did not store it has the last activity instead.
  const seen = at(state.last_seen_at) ?? active
  if (seen !== null && now - seen >= offlineMs + seenStepMs) return true
  return state.sessions_open <= 0 && active !== null && now - active >= offlineMs
}

export function isHere(state: StudentState, thresholds: Thresholds, now: number): boolean {
  return hasStarted(state) && !hasLeft(state, thresholds, now)
}

export function isRunning(state: StudentState, thresholds: Thresholds, now: number): boolean {
  return state.status === 'running' && isHere(state, thresholds, now)
}

export function isQuiet(state: StudentState, thresholds: Thresholds, now: number): boolean {
  const last = at(state.last_activity_at)
  const quiet = last !== null && now - last >= thresholds.idle_s * 1000
  return quiet && state.status !== 'running' && isHere(state, thresholds, now)
}

/** A student who runs a cell is active. */
export function isActive(state: StudentState, thresholds: Thresholds, now: number): boolean {
  return isHere(state, thresholds, now) && !isQuiet(state, thresholds, now)
}

export function needsHelp(state: StudentState, help: HelpState | null, thresholds: Thresholds, now: number): boolean {
  return help !== null && isActiveRequest(help) && !hasLeft(state, thresholds, now)
}

/** A request whose student has left counts under "left" alone. */
export function leftWaiting(state: StudentState, help: HelpState | null, thresholds: Thresholds, now: number): boolean {
  return help !== null && isActiveRequest(help) && hasLeft(state, thresholds, now)
}
