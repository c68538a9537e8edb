import { queryOptions } from '@tanstack/react-query'

import type { ApiClient } from '../../api/client'
import { courseKey, segment } from '../../api/queries'
import type { JoinCode } from '../../api/types'

/** People who join are counted on the page while the class looks at it. */
const REFETCH_MS = 3_000

const pathOf = (courseId: string): string => `courses/${segment(courseId)}`

export const joinCodeKey = (courseId: string) => [...courseKey(courseId), 'join-code'] as const

export const joinCodeQuery = (api: ApiClient, courseId: string) =>
  queryOptions({
    queryKey: joinCodeKey(courseId),
    queryFn: ({ signal }) => api.request<JoinCode>(`${pathOf(courseId)}/join-code`, { signal }),
    refetchInterval: REFETCH_MS,
  })

/** Opens joining, or renews the code. */
export const openJoining = (api: ApiClient, courseId: string, minutes: number): Promise<JoinCode> =>
  api.request<JoinCode>(`${pathOf(courseId)}/join-code`, { method: 'POST', body: { minutes } })

export async function closeJoining(api: ApiClient, courseId: string): Promise<void> {
  await api.request(`${pathOf(courseId)}/join-code`, { method: 'DELETE' })
}

/** Removes everybody who joined by code. */
export async function removeJoined(api: ApiClient, courseId: string): Promise<void> {
  await api.request(`${pathOf(courseId)}/joined`, { method: 'DELETE' })
}

export async function mergeMember(api: ApiClient, courseId: string, personId: string, into: string): Promise<void> {
  await api.request(`${pathOf(courseId)}/members/${segment(personId)}/merge`, { method: 'POST', body: { into } })
}
