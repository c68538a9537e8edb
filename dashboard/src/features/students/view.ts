/** What the page shows of each student, and how the list is searched, filtered and sorted. Pure. */

import type { CourseSnapshot, HelpState, Student, Thresholds } from '../../api/types'
import { compareUrgency, hasLeft, isIdle, reasonsFor, type Reason } from '../attention/reasons'

/** One word for a student, most pressing first. */
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
  /** Seen within `idle_s` and not gone. */
  active: boolean
}

export function isActiveRequest(request: HelpState): boolean {
  return request.status === 'open' || request.status === 'claimed'
}

/** First come, first served; the id settles requests of the same millisecond. */
export function compareRequests(a: HelpState, b: HelpState): number {
  return Date.parse(a.requested_at) - Date.parse(b.requested_at) || (a.request_id < b.request_id ? -1 : 1)
}

export function nameOf(student: Pick<Student, 'display_name' | 'username'>): string {
  return student.display_name != null && student.display_name.trim() !== '' ? student.display_name : student.username
}

/**
 * The request a student waits with. The list of requests is the truth; a row may name one that the list has not
 * brought yet, because the two travel as separate publications.
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
    claimed_by: ref.claimed_by ?? null,
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
  if (kinds.has('longRun')) return 'longRun'
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

export const filters = ['all', 'help', 'stuck', 'running', 'error', 'active', 'idle', 'away'] as const
export type Filter = (typeof filters)[number]

export const sorts = ['name', 'attention', 'activity', 'errors'] as const
export type Sort = (typeof sorts)[number]

/** The figures at the top count by the same tests, so that a figure and its list cannot disagree. */
export function matchesFilter(view: StudentView, filter: Filter): boolean {
  switch (filter) {
    case 'all':
      return true
    case 'help':
      return view.help !== null
    case 'stuck':
      return view.reasons.some((reason) => reason.kind === 'streak' || reason.kind === 'longRun')
    case 'running':
      return view.student.status === 'running' && view.condition !== 'offline'
    case 'error':
      return view.student.status === 'error'
    case 'active':
      return view.active
    case 'idle':
      return view.reasons.some((reason) => reason.kind === 'idle')
    case 'away':
      return view.condition === 'offline' || view.condition === 'waiting'
  }
}

export function countByFilter(views: readonly StudentView[]): Record<Filter, number> {
  const counts: Record<Filter, number> = {
    all: 0,
    help: 0,
    stuck: 0,
    running: 0,
    error: 0,
    active: 0,
    idle: 0,
    away: 0,
  }
  for (const view of views) for (const filter of filters) if (matchesFilter(view, filter)) counts[filter] += 1
  return counts
}

function fold(text: string): string {
  // NFKC joins the full-width and half-width forms that Japanese input mixes.
  return text.normalize('NFKC').toLowerCase()
}

export function matchesSearch(view: StudentView, search: string): boolean {
  const words = fold(search).split(/\s+/u).filter(Boolean)
  if (words.length === 0) return true
  const { student } = view
  const text = fold(
    [
      view.name,
      student.username,
      student.notebook?.title,
      student.notebook?.path,
      student.cell?.heading,
      student.last_execution?.error?.name,
      student.last_execution?.error?.value,
    ]
      .filter((part) => part != null)
      .join('\n'),
  )
  return words.every((word) => text.includes(word))
}

function activityOf(view: StudentView): number {
  return view.student.last_activity_at == null ? 0 : Date.parse(view.student.last_activity_at)
}

export function arrange(
  views: readonly StudentView[],
  { search, filter, sort }: { search: string; filter: Filter; sort: Sort },
  collator: Intl.Collator,
): StudentView[] {
  const byName = (a: StudentView, b: StudentView): number =>
    collator.compare(a.name, b.name) || collator.compare(a.student.username, b.student.username)
  const comparators: Record<Sort, (a: StudentView, b: StudentView) => number> = {
    name: byName,
    attention: (a, b) => compareUrgency(a.reasons, b.reasons) || byName(a, b),
    activity: (a, b) => activityOf(b) - activityOf(a) || byName(a, b),
    errors: (a, b) => b.student.errors - a.student.errors || byName(a, b),
  }
  return views
    .filter((view) => matchesFilter(view, filter) && matchesSearch(view, search))
    .sort(comparators[sort])
}
