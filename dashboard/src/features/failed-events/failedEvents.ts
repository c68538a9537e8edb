import { infiniteQueryOptions, queryOptions } from '@tanstack/react-query'

import type { ApiClient } from '../../api/client'
import type { FailedEventPage, ReplayStep, WaitingEvents } from '../../api/types'

/** Events may fail, or fail again, while the page is open. */
const REFETCH_MS = 15_000

/** Which failed events: nothing set, all; `course` null, those whose course could not be read. */
export interface FailedSelection {
  reason?: string | undefined
  course?: string | null | undefined
}

export const failedEventsKey = ['failed-events'] as const

export const waitingQuery = (api: ApiClient) =>
  queryOptions({
    queryKey: [...failedEventsKey, 'waiting'],
    queryFn: ({ signal }) => api.request<WaitingEvents>('failed-events/waiting', { signal }),
    refetchInterval: REFETCH_MS,
  })

export const failedEventsQuery = (api: ApiClient, { reason, course }: FailedSelection, withReplayed: boolean) =>
  infiniteQueryOptions({
    queryKey: [...failedEventsKey, 'list', reason, course, withReplayed],
    queryFn: ({ signal, pageParam }) => {
      const search = new URLSearchParams({ state: withReplayed ? 'all' : 'waiting' })
      if (reason !== undefined) search.set('reason', reason)
      if (course === null) search.set('without_course', 'true')
      else if (course !== undefined) search.set('course', course)
      if (pageParam !== null) search.set('before', String(pageParam))
      return api.request<FailedEventPage>(`failed-events?${search.toString()}`, { signal })
    },
    initialPageParam: null as number | null,
    getNextPageParam: (page) => page.next_before ?? null,
    refetchInterval: REFETCH_MS,
  })

/** One bounded step of a replay; `before` is the answer of the step before, null begins. */
export function replayStep(
  api: ApiClient,
  { reason, course }: FailedSelection,
  before: ReplayStep | null,
): Promise<ReplayStep> {
  return api.request<ReplayStep>('failed-events/replay', {
    method: 'POST',
    body: {
      ...(reason !== undefined && { reason }),
      ...(course === null ? { without_course: true } : course !== undefined && { course_id: course }),
      ...(before !== null && { after: before.after, newest: before.newest }),
    },
  })
}
