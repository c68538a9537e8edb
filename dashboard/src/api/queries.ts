import { infiniteQueryOptions, queryOptions } from '@tanstack/react-query'

import { ApiError, send, type ApiClient } from './client'
import type {
  Activity,
  ApiKey,
  AuditPage,
  CourseMembers,
  CourseRefusals,
  CourseSummary,
  DashboardConfig,
  HelpState,
  Me,
  NewApiKey,
  PasswordState,
  RunPage,
  StudentDetail,
} from './types'

/** Encode one segment of a path. */
export const segment = encodeURIComponent

/** Whether to repeat a failed request: only when the server failed or did not answer, and at most twice. */
export function worthRetrying(failures: number, error: Error): boolean {
  if (failures >= 2) return false
  return error instanceof ApiError ? error.status >= 500 : true
}

export const configQuery = () =>
  queryOptions({
    queryKey: ['config'],
    queryFn: async ({ signal }) => (await send('config', { signal })) as DashboardConfig,
    staleTime: Infinity,
  })

/** A role or sign-in that ends takes effect on open pages within five seconds. */
const RIGHTS_EVERY_MS = 3_000

export const meQuery = (api: ApiClient) =>
  queryOptions({
    queryKey: ['me'],
    queryFn: ({ signal }) => api.request<Me>('me', { signal }),
    staleTime: 300_000,
    refetchInterval: RIGHTS_EVERY_MS,
  })

export const passwordKey = ['password'] as const

/** Of the sign-in of this browser, which its cookie names. */
export const passwordQuery = () =>
  queryOptions({
    queryKey: passwordKey,
    queryFn: async ({ signal }) => (await send('auth/password', { signal })) as PasswordState,
    staleTime: 0,
  })

export const coursesQuery = (api: ApiClient) =>
  queryOptions({
    queryKey: ['courses'],
    queryFn: async ({ signal }) => (await api.request<{ courses: CourseSummary[] }>('courses', { signal })).courses,
    refetchInterval: 15_000,
  })

export const courseKey = (courseId: string) => ['course', courseId] as const

export const REFUSALS_EVERY_MS = 15_000

/** While a notice is shown: it disappears within seconds once its cause is removed. */
export const REFUSALS_SHOWN_EVERY_MS = 3_000

/** Refusals change no state of the course, so that no publication reports them. */
export const refusalsQuery = (api: ApiClient, courseId: string) =>
  queryOptions({
    queryKey: [...courseKey(courseId), 'refusals'],
    queryFn: ({ signal }) => api.request<CourseRefusals>(`courses/${segment(courseId)}/refusals`, { signal }),
    refetchInterval: ({ state }) =>
      (state.data?.refusals.length ?? 0) > 0 ? REFUSALS_SHOWN_EVERY_MS : REFUSALS_EVERY_MS,
  })

export const membersKey = (courseId: string) => ['members', courseId] as const

export const membersQuery = (api: ApiClient, courseId: string) =>
  queryOptions({
    queryKey: membersKey(courseId),
    queryFn: ({ signal }) => api.request<CourseMembers>(`courses/${segment(courseId)}/members`, { signal }),
  })

export async function addStudents(
  api: ApiClient,
  courseId: string,
  students: readonly { username: string; displayName: string | null }[],
  issuer: string,
): Promise<void> {
  const members = students.map(({ username, displayName }) => ({
    username,
    role: 'student',
    ...(displayName !== null && { display_name: displayName }),
  }))
  await api.request(`courses/${segment(courseId)}/members`, { method: 'PUT', body: { members, issuer } })
}

export async function removeMember(api: ApiClient, courseId: string, personId: string): Promise<undefined> {
  await api.request(`courses/${segment(courseId)}/members/${segment(personId)}`, { method: 'DELETE' })
}

export const apiKeysKey = ['api-keys'] as const

export const apiKeysQuery = (api: ApiClient) =>
  queryOptions({
    queryKey: apiKeysKey,
    queryFn: async ({ signal }) => (await api.request<{ api_keys: ApiKey[] }>('api-keys', { signal })).api_keys,
  })

export async function makeApiKey(
  api: ApiClient,
  key: { name: string; scopes: readonly string[]; expires_in_days: number; username?: string },
): Promise<NewApiKey> {
  return api.request<NewApiKey>('api-keys', { method: 'POST', body: key })
}

export async function revokeApiKey(api: ApiClient, keyId: string): Promise<undefined> {
  await api.request(`api-keys/${segment(keyId)}`, { method: 'DELETE' })
}

/** Which entries of the audit log are wanted; times are RFC 3339. */
export interface AuditWish {
  action?: string | undefined
  person?: string | undefined
  course?: string | undefined
  since?: string | undefined
  until?: string | undefined
}

/** The audit log of a course, or of the whole site. */
export const auditQuery = (api: ApiClient, courseId: string | null, wish: AuditWish) =>
  infiniteQueryOptions({
    queryKey: ['audit', courseId, wish],
    queryFn: ({ signal, pageParam }) => {
      const search = new URLSearchParams()
      for (const [name, value] of Object.entries({ ...wish, before: pageParam ?? undefined }))
        if (typeof value === 'string' && value !== '') search.set(name, value)
      const path = courseId === null ? 'audit' : `courses/${segment(courseId)}/audit`
      return api.request<AuditPage>(`${path}?${search.toString()}`, { signal })
    },
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next_before ?? null,
  })

export const studentQuery = (api: ApiClient, courseId: string, studentId: string) =>
  queryOptions({
    queryKey: [...courseKey(courseId), 'student', studentId, 'detail'],
    queryFn: ({ signal }) =>
      api.request<StudentDetail>(`courses/${segment(courseId)}/students/${segment(studentId)}`, { signal }),
  })

export const RUNS_A_PAGE = 20

export const runsQuery = (api: ApiClient, courseId: string, studentId: string) =>
  infiniteQueryOptions({
    queryKey: [...courseKey(courseId), 'student', studentId, 'runs'],
    queryFn: ({ signal, pageParam }) => {
      const search = new URLSearchParams({ limit: String(RUNS_A_PAGE) })
      if (pageParam !== null) search.set('before', pageParam)
      const path = `courses/${segment(courseId)}/students/${segment(studentId)}/runs?${search.toString()}`
      return api.request<RunPage>(path, { signal })
    },
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next_before ?? null,
  })

/** Activity as cached: with the span that it covers, and when it was requested by `performance.now()`, which is never set. */
export interface AskedActivity extends Activity {
  minutes: number
  asked_tick: number
}

export interface ActivitySpan {
  minutes: number
  bucketS: number
  /** Milliseconds between two fetches without another cause. */
  refetchMs: number
  /** Add to `performance.now()` to get the server's time; milliseconds. */
  clockOffsetMs: number
}

export const activityQuery = (
  api: ApiClient,
  courseId: string,
  { minutes, bucketS, refetchMs, clockOffsetMs }: ActivitySpan,
) =>
  queryOptions({
    queryKey: [...courseKey(courseId), 'activity', minutes],
    queryFn: async ({ signal }): Promise<AskedActivity> => {
      const askedTick = performance.now()
      // Events have the server's time; by a slow clock of the browser the newest would be missing.
      const now = askedTick + clockOffsetMs
      const every = bucketS * 1000
      const stop = Math.ceil(now / every) * every
      const search = new URLSearchParams({
        start: new Date(stop - minutes * 60_000).toISOString(),
        stop: new Date(stop).toISOString(),
        every: String(bucketS),
      })
      const path = `courses/${segment(courseId)}/activity?${search.toString()}`
      return { ...(await api.request<Activity>(path, { signal })), minutes, asked_tick: askedTick }
    },
    // A span is always fetched when it is chosen: the cached one may lack the newest runs.
    staleTime: 0,
    refetchInterval: refetchMs,
  })

export type HelpAction = 'claim' | 'release' | 'resolve'

export async function actOnHelp(
  api: ApiClient,
  courseId: string,
  requestId: string,
  action: HelpAction,
): Promise<HelpState> {
  const path = `courses/${segment(courseId)}/help/${segment(requestId)}/${action}`
  return (await api.request<{ help: HelpState }>(path, { method: 'POST' })).help
}
