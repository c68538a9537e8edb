/**
 * The answers of the query API and the states that publications carry, under the names that the pages use. All come from
 * `openapi.ts`, which `make generate` writes; where the API declares less than docs/dev/contracts.md promises, it is
 * narrowed here. Times are RFC 3339 UTC; names ending in `_ms` or `_s` give their unit.
 */

import type { components } from './openapi'

type Schemas = components['schemas']
type Narrowed<Declared, Known> = Omit<Declared, keyof Known> & Known

export type NotebookRef = Schemas['NotebookRef']
export type CellRef = Schemas['CellRef']
export type ErrorRef = Schemas['ErrorRef']
export type ExecutionRef = Schemas['ExecutionRef']
export type HelpRef = Schemas['HelpRef']
export type Student = Schemas['Student']
/** One student's row. Carries no name, and not how they came: both come with the snapshot only. */
export type StudentState = Omit<Student, 'username' | 'display_name' | 'joined'>
export type StudentStatus = Student['status']
export type HelpState = Schemas['HelpState']
export type HelpStatus = HelpState['status']
export type RunStatus = ExecutionRef['status']
export type CourseState = Schemas['CourseState']
/** When a student counts as stuck, a run as long, a student as quiet or as left. */
export type Thresholds = Schemas['Thresholds']
/** What the person who is signed in can do about their password. */
export type PasswordState = Schemas['PasswordState']
export type TokenAnswer = Schemas['TokenAnswer']
export type ApiKey = Schemas['ApiKeyAnswer']
/** With the key itself. */
export type NewApiKey = Schemas['NewApiKeyAnswer']
/** What the worker could not process, without what is in it. */
export type FailedEvent = Schemas['FailedEventAnswer']
export type FailedEventPage = Schemas['FailedEventPage']
export type WaitingEvents = Schemas['WaitingEvents']
export type WaitingGroup = Schemas['WaitingGroupAnswer']
/** What one request of a replay did. */
export type ReplayStep = Schemas['ReplayAnswer']
/** The settings of a course, with the bounds and defaults of its thresholds. */
export type CourseSettings = Narrowed<
  Schemas['SettingsAnswer'],
  { links: GroupLink[]; properties: GroupLink[]; rules: GroupRule[] }
>
export type ChangedSettings = Schemas['ChangedSettings']
export type CourseRefusals = Schemas['CourseRefusals']
export type CellProgress = Schemas['StudentCell']
export type StudentDetail = Schemas['StudentDetail']
export type RunOutput = Schemas['Output']
export type RunError = Schemas['RunError']
export type ActivityBucket = Schemas['ActivityPoint']
export type Activity = Schemas['Activity']
/** A course's code for joining; null while joining is closed. */
export type JoinCode = Schemas['JoinCodeAnswer']
export type DashboardConfig = Schemas['ClientConfig']
/** Body of every error answer of the API. */
export type ErrorBody = Schemas['Error']
export type ErrorDetail = ErrorBody['detail'][number]

export type Role = 'instructor' | 'assistant' | 'observer' | 'student'
/** The members of a group have a role in a course. */
export type GroupLink = Narrowed<Schemas['LinkedGroup'], { role: Role }>
/** By which of its own words a group gives roles, in every course. */
export type GroupRule = Narrowed<Schemas['GroupRule'], { roles: Record<string, Role> }>
export type StaffMember = Narrowed<Schemas['StaffMember'], { role: Role }>
export type CourseSnapshot = Narrowed<Schemas['CourseSnapshot'], { staff: StaffMember[] }>
export type CourseMembers = Narrowed<Schemas['CourseMembers'], { members: CourseMember[] }>
export type CourseMember = Narrowed<Schemas['CourseMember'], { role: Role; sources: Partial<Record<string, Role | null>> }>
/** Somebody whom an entry of the audit log names, or who has been erased since. */
export type AuditPerson =
  | { person_id: string; username: string; display_name: string | null }
  | { person_id: null; username: null; display_name: null }
export type AuditEntry = Narrowed<
  Schemas['AuditEntryAnswer'],
  { actor: AuditPerson | null; subject: AuditPerson | null; role_from: Role | null; role_to: Role | null }
>
export type AuditPage = Narrowed<Schemas['AuditList'], { entries: AuditEntry[] }>
export type CourseSummary = Narrowed<Schemas['CourseListItem'], { role: Role | null }>
export type Me = Narrowed<Schemas['Me'], { courses: Narrowed<Schemas['MyCourse'], { role: Role }>[] }>
/** The outputs of a run are those of its event. */
export type Run = Narrowed<Schemas['Run'], { status: RunStatus; outputs: RunOutput[] }>
export type RunPage = Narrowed<Schemas['RunList'], { runs: Run[] }>
