import type { AuditEntry, CourseMember, CourseSnapshot, CourseState, ExecutionRef, HelpState, Student, StudentState, Thresholds } from '../api/types'
import { labelsOf } from '../course/names'
import { viewStudents, type StudentView } from '../course/view'
import { createI18n } from '../i18n'
import type { LiveSnapshot } from '../live/patch'
import type { Publication } from '../live/protocol'

/** The server's time in every test. */
export const NOW = Date.parse('2026-04-01T10:40:00Z')

/** The defaults, as the API sends them for a course that sets none. */
export const thresholds: Thresholds = { stuck_errors: 3, kernel_deaths: 3, long_run_s: 180, idle_s: 480, offline_s: 60 }

export function before(minutes: number): string {
  return new Date(NOW - minutes * 60_000).toISOString()
}

export function state(changes: Partial<StudentState> = {}): StudentState {
  return {
    student_id: 's1',
    version: 1,
    status: 'ok',
    notebook: { id: 'n1', path: 'week03/loops.ipynb', title: 'Loops' },
    cell: { source_id: 'c1', index: 3, type: 'code', heading: 'Exercise 2', ordinal: 1 },
    last_execution: null,
    running_since: null,
    running_notebook: null,
    running_cell: null,
    error_streak: 0,
    streak_error: null,
    streak_since: null,
    runs: 0,
    errors: 0,
    aborted: 0,
    cells_ok: 0,
    missing: 0,
    sessions_open: 1,
    last_activity_at: before(1),
    last_seen_at: null,
    help: null,
    kernel_deaths: null,
    ...changes,
  }
}

export function student(changes: Partial<Student> = {}): Student {
  return { ...state(changes), username: 'u1', joined: false, display_name: 'Aiko Tanaka', ...changes }
}

/** A student on the course's roster, with changes. */
export function member(username: string, changes: Partial<CourseMember> = {}): CourseMember {
  return {
    person_id: username,
    username,
    display_name: null,
    role: 'student',
    sources: { roster: 'student' },
    site_admin: false,
    issuers: ['local'],
    ...changes,
  }
}

/** A successful run, with changes. */
export function execution(changes: Partial<ExecutionRef> = {}): ExecutionRef {
  return {
    event_id: 'e1',
    at: before(1),
    status: 'ok',
    notebook_id: 'n1',
    cell: null,
    duration_ms: null,
    execution_count: null,
    error: null,
    notebook: null,
    cell_removed: false,
    ...changes,
  }
}

export function helpRequest(changes: Partial<HelpState> = {}): HelpState {
  return {
    request_id: 'h1',
    version: 1,
    student_id: 's1',
    status: 'open',
    requested_at: before(3),
    notebook: { id: 'n1', path: 'week03/loops.ipynb', title: 'Loops' },
    cell: { source_id: 'c1', index: 3, type: 'code', heading: 'Exercise 2', ordinal: 1 },
    message: 'My loop never ends.',
    error: null,
    claimed_by: null,
    claimed_at: null,
    closed_at: null,
    resolved_by: null,
    error_notebook: null,
    error_cell: null,
    received_at: null,
    ...changes,
  }
}

export function snapshot(changes: Partial<CourseSnapshot> = {}): CourseSnapshot {
  return {
    course: { course_id: 'c1', title: 'Programming', thresholds },
    epoch: 'e1',
    offset: 10,
    generated_at: new Date(NOW).toISOString(),
    students: [student()],
    staff: [
      { person_id: 'p1', display_name: 'Mari Aoki', role: 'instructor', username: 'mari' },
      { person_id: 'p2', display_name: 'Tom Becker', role: 'assistant', username: 'tom' },
    ],
    help: [],
    counters: { course_id: 'c1', version: 1, students: 1, started: 1, runs: 0, errors: 0, help_open: 0 },
    ...changes,
  }
}

export function liveSnapshot(changes: Partial<LiveSnapshot> = {}): LiveSnapshot {
  return { ...snapshot(), clock_offset_ms: 0, help_offsets: {}, ...changes }
}

export function publication(offset: number, changes: Partial<StudentState> = {}, epoch = 'e1'): Publication {
  return { channel: 'course:c1', epoch, offset, kind: 'student', state: state(changes) }
}

export function helpPublication(offset: number, changes: Partial<HelpState> = {}): Publication {
  return { channel: 'course:c1', epoch: 'e1', offset, kind: 'help', state: helpRequest(changes) }
}

export function counterPublication(offset: number, changes: Partial<CourseState> = {}): Publication {
  const state = { ...snapshot().counters, version: offset, ...changes }
  return { channel: 'course:c1', epoch: 'e1', offset, kind: 'course', state }
}

/** An entry of the audit log: Mari Aoki opened the work of Ann Adams, with changes. */
export function auditEntry(changes: Partial<AuditEntry> = {}): AuditEntry {
  return {
    entry_id: 'e1',
    at: before(5),
    action: 'work_opened',
    actor_kind: 'person',
    actor: { person_id: 'p1', username: 'mari', display_name: 'Mari Aoki' },
    actor_key_id: null,
    subject: { person_id: 'ann', username: 'ann', display_name: 'Ann Adams' },
    course_id: 'c1',
    key_id: null,
    key_name: null,
    role_from: null,
    role_to: null,
    setting_from: null,
    setting_to: null,
    group: null,
    source: null,
    way: null,
    cause: null,
    scopes: null,
    address: null,
    count: 1,
    queued: null,
    unreadable: null,
    reason: null,
    ...changes,
  }
}

/** The rows of a course as the English page has them at `NOW`. */
export function viewsOf(course: Pick<CourseSnapshot, 'students' | 'help' | 'staff'>): StudentView[] {
  return viewStudents(course, thresholds, NOW, labelsOf(course, createI18n('en').t))
}
