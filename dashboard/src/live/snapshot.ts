import { queryOptions, type QueryClient } from '@tanstack/react-query'

import type { ApiClient } from '../api/client'
import { courseKey, segment } from '../api/queries'
import type { CourseSnapshot } from '../api/types'
import { mergeSnapshot, type LiveSnapshot } from './patch'

export const stateKey = (courseId: string) => [...courseKey(courseId), 'state'] as const

/**
 * The snapshot of a course, which publications then patch. An answer that was overtaken by publications on its way
 * must not put anything back to an older version, hence the merge with what the cache holds when it arrives.
 */
export const courseStateQuery = (api: ApiClient, client: QueryClient, courseId: string) =>
  queryOptions({
    queryKey: stateKey(courseId),
    queryFn: async ({ signal }): Promise<LiveSnapshot> => {
      const fresh = await api.request<CourseSnapshot>(`courses/${segment(courseId)}/state`, { signal })
      return mergeSnapshot(client.getQueryData<LiveSnapshot>(stateKey(courseId)), fresh, Date.now())
    },
    staleTime: Infinity,
    // Kept out of the cache once nobody looks: it would be old when somebody looks again.
    gcTime: 0,
    structuralSharing: false,
  })
