/**
 * The answers of the query API and the states that publications carry, as docs/dev/contracts.md has them; `contract.ts`
 * holds them against what the API itself declares.
 * Times are RFC 3339 UTC; names ending in `_ms` or `_s` give their unit.
 */

export type Role = 'instructor' | 'assistant' | 'observer' | 'student'
export type StudentStatus = 'waiting' | 'working' | 'running' | 'ok' | 'error'
export type HelpStatus = 'open' | 'claimed' | 'resolved' | 'cancelled'
export type RunStatus = 'ok' | 'error' | 'aborted'

export interface NotebookRef {
  id: string
  path: string
  title?: string | null
}

export interface CellRef {
  source_id: string
  index: number
  type?: string
  heading?: string | null
}

export interface ErrorRef {
  name: string
  value?: string
}

export interface ExecutionRef {
  event_id: string
  at: string
  status: RunStatus
  notebook_id: string
  cell?: CellRef | null
  duration_ms?: number | null
  execution_count?: number | null
  error?: ErrorRef | null
}

export interface HelpRef {
  request_id: string
  since: string
  status: HelpStatus
  claimed_by?: string | null
}

/** One student's row. Carries no name: names come with the snapshot only. */
export interface StudentState {
  student_id: string
  version: number
  status: StudentStatus
  notebook?: NotebookRef | null
  cell?: CellRef | null
  last_execution?: ExecutionRef | null
  running_since?: string | null
  error_streak: number
  streak_error?: string | null
  streak_since?: string | null
  runs: number
  errors: number
  aborted: number
  cells_ok: number
  missing: number
  sessions_open: number
  last_activity_at?: string | null
  /** The minute in which the server last heard of the student, by the server's clock. */
  last_seen_at?: string | null
  help?: HelpRef | null
}

export interface Student extends StudentState {
  username: string
  display_name?: string | null
}

export interface HelpState {
  request_id: string
  version: number
  student_id: string
  status: HelpStatus
  requested_at: string
  notebook?: NotebookRef | null
  cell?: CellRef | null
  message?: string | null
  error?: ErrorRef | null
  claimed_by?: string | null
  claimed_at?: string | null
  closed_at?: string | null
  resolved_by?: string | null
}

export interface CourseState {
  course_id: string
  version: number
  students: number
  started: number
  runs: number
  errors: number
  help_open: number
}

/** When the page calls somebody stuck, busy for long, quiet or gone. Missing ones have defaults. */
export interface Thresholds {
  stuck_errors: number
  long_run_s: number
  idle_s: number
  offline_s: number
}

export interface StaffMember {
  person_id: string
  display_name?: string | null
  role: Role
}

export interface CourseSnapshot {
  course: { course_id: string; title: string; thresholds?: Partial<Thresholds> | null }
  epoch: string
  offset: number
  generated_at: string
  students: Student[]
  staff: StaffMember[]
  help: HelpState[]
  counters: CourseState
}

export interface TokenAnswer {
  access_token: string
  token_type: string
  expires_in: number
}

export interface Me {
  person_id: string
  username: string
  display_name?: string | null
  is_admin: boolean
  courses: { course_id: string; title: string; role: Role }[]
}

export interface CourseSummary {
  course_id: string
  title: string
  role: Role | null
  students: number
  help_open: number
  active: number
}

export interface CellProgress {
  notebook?: NotebookRef | null
  cell?: CellRef | null
  runs: number
  errors: number
  aborted: number
  last_status?: RunStatus | null
  last_at?: string | null
  error_streak: number
}

export interface StudentDetail {
  student: Student
  cells: CellProgress[]
  help: HelpState[]
}

export interface RunOutput {
  type: 'stream' | 'result' | 'display'
  name?: string | null
  mime?: string | null
  text: string
  size: number
  truncated?: boolean | null
}

export interface RunError {
  name: string
  value?: string
  traceback?: string | null
  truncated?: boolean | null
}

export interface Run {
  event_id: string
  at: string
  notebook?: NotebookRef | null
  cell?: CellRef | null
  status: RunStatus
  duration_ms?: number | null
  execution_count?: number | null
  code?: string | null
  code_truncated?: boolean | null
  outputs?: RunOutput[] | null
  outputs_truncated?: boolean | null
  error?: RunError | null
}

export interface RunPage {
  runs: Run[]
  next_before?: string | null
}

export interface ActivityBucket {
  at: string
  events: number
  executions: number
  errors: number
  students: number
}

export interface Activity {
  source: string
  buckets: ActivityBucket[]
}

export interface DashboardConfig {
  gateway_url: string
  version: string
}

/** Body of every error answer of the API. */
export interface ErrorBody {
  detail: { type: string; msg: string; loc?: (string | number)[] }[]
}
