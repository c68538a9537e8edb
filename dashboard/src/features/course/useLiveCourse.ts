import { useQuery, useQueryClient, type UseQueryResult } from '@tanstack/react-query'
import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from 'react'

import { configQuery, courseStateQuery, stateKey } from '../../api/queries'
import { useServices } from '../../app/services'
import { LiveClient } from '../../live/client'
import type { Connection } from '../../live/machine'
import { patchSnapshot, type LiveSnapshot } from '../../live/patch'
import { socketUrl } from '../../live/protocol'

export interface LiveCourse {
  query: UseQueryResult<LiveSnapshot>
  connection: Connection
  /** Connect again after the gateway has refused. */
  retry: () => void
}

const connecting: Connection = { kind: 'connecting' }

/** No more than one snapshot in this time because of students that the page does not know. */
const REFETCH_PAUSE_MS = 3_000

/** The snapshot of a course, kept up to date by the gateway's publications as long as the component is shown. */
export function useLiveCourse(courseId: string): LiveCourse {
  const { session, api } = useServices()
  const cache = useQueryClient()
  const query = useQuery(courseStateQuery(api, cache, courseId))
  const ready = query.data !== undefined
  const [live, setLive] = useState<LiveClient | null>(null)
  const refetchTimer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined)

  useEffect(() => {
    const first = cache.getQueryData<LiveSnapshot>(stateKey(courseId))
    if (!ready || first === undefined) return
    const fetchSnapshot = () => cache.query({ ...courseStateQuery(api, cache, courseId), staleTime: 0 })
    const client = new LiveClient(`course:${courseId}`, {
      session,
      url: async () => socketUrl((await cache.query(configQuery())).gateway_url, location.href),
      fetchSnapshot,
      apply: (publications) => {
        const held = cache.getQueryData<LiveSnapshot>(stateKey(courseId))
        if (held === undefined) return
        const { snapshot, unknownStudent } = patchSnapshot(held, publications)
        cache.setQueryData(stateKey(courseId), snapshot)
        if (!unknownStudent) return
        refetchTimer.current ??= setTimeout(() => {
          refetchTimer.current = undefined
          // A failure shows by itself: the next publication for that student asks again.
          fetchSnapshot().catch(() => undefined)
        }, Math.random() * REFETCH_PAUSE_MS)
      },
    })
    const stopTokens = session.onToken(client.token)
    client.start({ epoch: first.epoch, offset: first.offset })
    setLive(client)
    return () => {
      stopTokens()
      client.stop()
      clearTimeout(refetchTimer.current)
      refetchTimer.current = undefined
      setLive(null)
    }
  }, [api, cache, courseId, ready, session])

  const connection = useSyncExternalStore(
    useCallback((listener) => live?.subscribe(listener) ?? (() => undefined), [live]),
    () => live?.connection() ?? connecting,
  )
  return { query, connection, retry: () => live?.retry() }
}
