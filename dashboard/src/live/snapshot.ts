import { queryOptions, type QueryClient } from '@tanstack/react-query'

import type { ApiClient } from '../api/client'
import { courseKey, segment } from '../api/queries'
import type { CourseSnapshot } from '../api/types'
import { mergeSnapshot, type LiveSnapshot } from './patch'

export const stateKey = (courseId: string) => [...courseKey(courseId), 'state'] as const

/**
 * The snapshot of a course, which publications then patch. An answer that is older than publications received meanwhile
 * must not revert anything to an older version, so it is merged with the cached one.
 */
export const courseStateQuery = (api: ApiClient, client: QueryClient, courseId: string) =>
  queryOptions({
    queryKey: stateKey(courseId),
    queryFn: async ({ signal }): Promise<LiveSnapshot> => {
      const fresh = await api.request<CourseSnapshot>(`courses/${segment(courseId)}/state`, { signal })
      return mergeSnapshot(client.getQueryData<LiveSnapshot>(stateKey(courseId)), fresh, performance.now())
    },
    staleTime: Infinity,
    // Removed from the cache when the page is left: it would be outdated on the next visit.
    gcTime: 0,
    structuralSharing: false,
  })
