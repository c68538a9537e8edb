/**
 * What the page shows of each student: the request, the reasons for attention and one word. A pure function of the
 * snapshot, the course's thresholds and the server's time.
 *
 * The reasons are defined in core (`derivation/attention.py`; docs/dev/contracts.md, "Reasons for attention");
 * `tests/contract/golden/attention.json` holds this file and that one to the same cases.
 */

import type { CellRef, CourseSnapshot, HelpState, NotebookRef, Student, StudentState, Thresholds } from '../api/types'
import type { Place } from '../i18n/format'
import type { PersonLabel } from './names'
import { compareRequests, isActiveRequest, receiptOf } from './requests'
import { at, hasLeft, hasStarted, isActive, isQuiet, isRunning, leftWaiting, needsHelp } from './words'

/** Where a reason is: the cell of the failed runs, of the run that goes on, or where the request was made. */
interface Where {
  notebook: NotebookRef | null
  cell: CellRef | null
}

/** Times are milliseconds of the server's clock. */
export type Reason =
  | ({ kind: 'help'; since: number; received: number } & Where)
  | ({ kind: 'streak'; since: number; count: number; error: string | null } & Where)
  | ({ kind: 'kernel_deaths'; since: number; count: number } & Where)
  | ({ kind: 'long_run'; since: number } & Where)
  | ({ kind: 'idle'; since: number } & Where)
  | ({ kind: 'claimed'; since: number; by: string | null } & Where)

/** Most urgent first. Claimed requests come last: a member of the staff is there already. */
const urgency: Readonly<Record<Reason['kind'], number>> = {
  help: 0,
  streak: 1,
  kernel_deaths: 2,
  long_run: 3,
  idle: 4,
  claimed: 5,
}

/** A student who has left needs no attention, whatever they asked. */
export function reasonsFor(
  state: StudentState,
  help: HelpState | null,
  thresholds: Thresholds,
  now: number,
): Reason[] {
  if (hasLeft(state, thresholds, now)) return []
  const reasons: Reason[] = []
  const asked = { notebook: help?.notebook ?? null, cell: help?.cell ?? null }
  if (help?.status === 'open') {
    reasons.push({ kind: 'help', since: at(help.requested_at) ?? now, received: receiptOf(help), ...asked })
  }
  if (state.error_streak >= thresholds.stuck_errors) {
    const run = state.last_execution
    reasons.push({
      kind: 'streak',
      count: state.error_streak,
      error: state.streak_error ?? null,
      since: at(state.streak_since) ?? at(run?.at) ?? now,
      notebook: run?.notebook ?? null,
      cell: run?.cell ?? null,
    })
  }
  const deaths = state.kernel_deaths
  if (deaths != null && deaths.count >= thresholds.kernel_deaths) {
    const { count, notebook, cell } = deaths
    reasons.push({ kind: 'kernel_deaths', count, since: at(deaths.since) ?? now, notebook, cell })
  }
  const running = state.status === 'running' ? at(state.running_since) : null
  if (running !== null && now - running >= thresholds.long_run_s * 1000) {
    const where = { notebook: state.running_notebook ?? null, cell: state.running_cell ?? null }
    reasons.push({ kind: 'long_run', since: running, ...where })
  }
  const last = at(state.last_activity_at)
  if (last !== null && isQuiet(state, thresholds, now)) {
    reasons.push({ kind: 'idle', since: last, notebook: null, cell: null })
  }
  if (help?.status === 'claimed') {
    reasons.push({ kind: 'claimed', since: at(help.claimed_at) ?? now, by: help.claimed_by ?? null, ...asked })
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
  return first === undefined || second === undefined ? 0 : orderOf(first) - orderOf(second)
}

/** Requests are ordered by their receipt, as in the list of requests: a claimed wait changes what is shown alone. */
function orderOf(reason: Reason): number {
  return reason.kind === 'help' ? reason.received : reason.since
}

/** One word for a student, most urgent first. */
export type Condition =
  | 'help'
  | 'helped'
  | 'stuck'
  | 'kernelDied'
  | 'longRun'
  | 'error'
  | 'running'
  | 'idle'
  | 'left'
  | 'ok'
  | 'working'
  | 'waiting'

export interface StudentView {
  id: string
  label: PersonLabel
  student: Student
  /** The request that is open or claimed. */
  help: HelpState | null
  reasons: Reason[]
  condition: Condition
  /** The words that hold of the student; the filters and the figures are made of them. */
  words: Readonly<Record<Word, boolean>>
}

export const words = ['notStarted', 'left', 'active', 'quiet', 'running', 'stuck', 'kernelDied', 'longRun', 'needsHelp', 'leftWaiting'] as const
export type Word = (typeof words)[number]

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
    error_notebook: null,
    error_cell: null,
    received_at: null,
  }
  return request
}

function conditionOf(student: Student, reasons: readonly Reason[], thresholds: Thresholds, now: number): Condition {
  const kinds = new Set(reasons.map((reason) => reason.kind))
  if (kinds.has('help')) return 'help'
  if (kinds.has('claimed')) return 'helped'
  if (!hasStarted(student)) return 'waiting'
  if (hasLeft(student, thresholds, now)) return 'left'
  if (kinds.has('streak')) return 'stuck'
  if (kinds.has('kernel_deaths')) return 'kernelDied'
  if (kinds.has('long_run')) return 'longRun'
  if (student.status === 'running') return 'running'
  if (kinds.has('idle')) return 'idle'
  return student.status
}

/** Where the fact is that the one word of a student comes from; null for a word of no cell. */
export function placeOfCondition({ student, condition, reasons }: Pick<StudentView, 'student' | 'condition' | 'reasons'>): Place | null {
  const reasonOf = (kind: Reason['kind']): Place | null => reasons.find((reason) => reason.kind === kind) ?? null
  switch (condition) {
    case 'running':
    case 'longRun':
      return { notebook: student.running_notebook, cell: student.running_cell }
    case 'kernelDied':
      return reasonOf('kernel_deaths')
    case 'stuck':
      return reasonOf('streak')
    case 'ok':
      return student.last_execution ?? null
    default:
      // An error is shown with its own cell beside it.
      return null
  }
}

function wordsOf(
  student: Student,
  help: HelpState | null,
  reasons: readonly Reason[],
  thresholds: Thresholds,
  now: number,
): Record<Word, boolean> {
  const has = (kind: Reason['kind']): boolean => reasons.some((reason) => reason.kind === kind)
  return {
    notStarted: !hasStarted(student),
    left: hasLeft(student, thresholds, now),
    active: isActive(student, thresholds, now),
    quiet: isQuiet(student, thresholds, now),
    running: isRunning(student, thresholds, now),
    stuck: has('streak'),
    kernelDied: has('kernel_deaths'),
    longRun: has('long_run'),
    needsHelp: needsHelp(student, help, thresholds, now),
    leftWaiting: leftWaiting(student, help, thresholds, now),
  }
}

export function viewStudents(
  snapshot: Pick<CourseSnapshot, 'students' | 'help' | 'staff'>,
  thresholds: Thresholds,
  now: number,
  named: ReadonlyMap<string, PersonLabel>,
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
    const id = student.student_id
    return {
      id,
      label: named.get(id) ?? { name: id, account: null, text: id },
      student,
      help,
      reasons,
      condition: conditionOf(student, reasons, thresholds, now),
      words: wordsOf(student, help, reasons, thresholds, now),
    }
  })
}
