/**
 * What the page shows of each student: the request, the reasons for attention and one word. A pure function of the
 * snapshot, the course's thresholds and the server's time.
 *
 * The reasons are defined in core (`derivation/attention.py`; docs/dev/contracts.md, "Reasons for attention");
 * `tests/contract/golden/attention.json` holds this file and that one to the same cases.
 */

import type { CourseSnapshot, HelpState, Student, StudentState, Thresholds } from '../api/types'
import { compareRequests, isActiveRequest } from './requests'

/** Times are milliseconds of the server's clock. */
export type Reason =
  | { kind: 'help'; since: number }
  | { kind: 'streak'; since: number; count: number; error: string | null }
  | { kind: 'long_run'; since: number }
  | { kind: 'idle'; since: number }
  | { kind: 'claimed'; since: number; by: string | null }

/** Most urgent first. Claimed requests come last: a member of the staff is there already. */
const urgency: Readonly<Record<Reason['kind'], number>> = { help: 0, streak: 1, long_run: 2, idle: 3, claimed: 4 }

function at(time: string | null | undefined): number | null {
  if (time == null) return null
  const ms = Date.parse(time)
  return Number.isNaN(ms) ? null : ms
}

/** `last_seen_at` names a minute: the student may have been seen at its end. */
const seenStepMs = 60_000

/**
 * All sessions ended and nothing was done for `offline_s`, or the server received nothing for `offline_s`, whatever
 * sessions are open: a browser that crashed ends none.
 */
export function hasLeft(state: StudentState, thresholds: Thresholds, now: number): boolean {
  const offlineMs = thresholds.offline_s * 1000
  const active = at(state.last_activity_at)
  // A row of a version that did not store it has the last activity instead.
  const seen = at(state.last_seen_at) ?? active
  if (seen !== null && now - seen >= offlineMs + seenStepMs) return true
  return state.sessions_open <= 0 && active !== null && now - active >= offlineMs
}

export function isIdle(state: StudentState, thresholds: Thresholds, now: number): boolean {
  const last = at(state.last_activity_at)
  return (
    last !== null &&
    state.status !== 'running' &&
    now - last >= thresholds.idle_s * 1000 &&
    !hasLeft(state, thresholds, now)
  )
}

export function reasonsFor(
  state: StudentState,
  help: HelpState | null,
  thresholds: Thresholds,
  now: number,
): Reason[] {
  const reasons: Reason[] = []
  if (help?.status === 'open') reasons.push({ kind: 'help', since: at(help.requested_at) ?? now })
  if (!hasLeft(state, thresholds, now)) {
    if (state.error_streak >= thresholds.stuck_errors) {
      reasons.push({
        kind: 'streak',
        count: state.error_streak,
        error: state.streak_error ?? null,
        since: at(state.streak_since) ?? at(state.last_execution?.at) ?? now,
      })
    }
    const running = state.status === 'running' ? at(state.running_since) : null
    if (running !== null && now - running >= thresholds.long_run_s * 1000) {
      reasons.push({ kind: 'long_run', since: running })
    }
    const last = at(state.last_activity_at)
    if (last !== null && isIdle(state, thresholds, now)) reasons.push({ kind: 'idle', since: last })
  }
  if (help?.status === 'claimed') {
    reasons.push({ kind: 'claimed', since: at(help.claimed_at) ?? now, by: help.claimed_by ?? null })
  }
  return reasons
}

/** A claim ranks its student behind the others, whatever the other reasons. */
function rank(reasons: readonly Reason[]): number {
  if (reasons.some((reason) => reason.kind === 'claimed')) return urgency.claimed
  return Math.min(Number.MAX_SAFE_INTEGER, ...reasons.map((reason) => urgency[reason.kind]))
}

/** Urgency first, then who has waited longest. Students without a reason come last and are equal. */
export function compareUrgency(a: readonly Reason[], b: readonly Reason[]): number {
  const ranks = rank(a) - rank(b)
  if (ranks !== 0) return ranks
  const first = a[0]
  const second = b[0]
  return first === undefined || second === undefined ? 0 : first.since - second.since
}

/** One word for a student, most urgent first. */
export type Condition =
  | 'help'
  | 'helped'
  | 'stuck'
  | 'longRun'
  | 'error'
  | 'running'
  | 'idle'
  | 'offline'
  | 'ok'
  | 'working'
  | 'waiting'

export interface StudentView {
  id: string
  name: string
  student: Student
  help: HelpState | null
  reasons: Reason[]
  condition: Condition
  /** Active within `idle_s` and not left. */
  active: boolean
}

export function nameOf(student: Pick<Student, 'display_name' | 'username'>): string {
  return student.display_name != null && student.display_name.trim() !== '' ? student.display_name : student.username
}

/**
 * The student's active request. The list of requests takes precedence; a row may name one that the list does not have
 * yet, because the two are separate publications.
 */
function requestOf(student: Student, byId: ReadonlyMap<string, HelpState>, byStudent: ReadonlyMap<string, HelpState>) {
  const listed = byStudent.get(student.student_id)
  if (listed !== undefined) return listed
  const ref = student.help
  if (ref == null || byId.has(ref.request_id) || (ref.status !== 'open' && ref.status !== 'claimed')) return null
  const request: HelpState = {
    request_id: ref.request_id,
    version: 0,
    student_id: student.student_id,
    status: ref.status,
    requested_at: ref.since,
    notebook: null,
    cell: null,
    message: null,
    error: null,
    claimed_by: ref.claimed_by,
    claimed_at: null,
    closed_at: null,
    resolved_by: null,
  }
  return request
}

function conditionOf(student: Student, reasons: readonly Reason[], thresholds: Thresholds, now: number): Condition {
  const kinds = new Set(reasons.map((reason) => reason.kind))
  if (kinds.has('help')) return 'help'
  if (kinds.has('claimed')) return 'helped'
  if (student.status === 'waiting') return 'waiting'
  if (hasLeft(student, thresholds, now)) return 'offline'
  if (kinds.has('streak')) return 'stuck'
  if (kinds.has('long_run')) return 'longRun'
  if (student.status === 'running') return 'running'
  if (kinds.has('idle')) return 'idle'
  return student.status
}

export function viewStudents(
  snapshot: Pick<CourseSnapshot, 'students' | 'help'>,
  thresholds: Thresholds,
  now: number,
): StudentView[] {
  const byId = new Map<string, HelpState>()
  const byStudent = new Map<string, HelpState>()
  for (const request of snapshot.help) {
    byId.set(request.request_id, request)
    if (!isActiveRequest(request)) continue
    const held = byStudent.get(request.student_id)
    if (held === undefined || compareRequests(request, held) < 0) byStudent.set(request.student_id, request)
  }
  return snapshot.students.map((student) => {
    const help = requestOf(student, byId, byStudent)
    const reasons = reasonsFor(student, help, thresholds, now)
    return {
      id: student.student_id,
      name: nameOf(student),
      student,
      help,
      reasons,
      condition: conditionOf(student, reasons, thresholds, now),
      active:
        student.status !== 'waiting' &&
        student.last_activity_at != null &&
        !hasLeft(student, thresholds, now) &&
        !isIdle(student, thresholds, now),
    }
  })
}
