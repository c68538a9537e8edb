import { useQuery, useQueryClient, type UseQueryResult } from '@tanstack/react-query'
import { useCallback, useEffect, useState, useSyncExternalStore } from 'react'

import { configQuery } from '../api/queries'
import { courseStateQuery, stateKey } from './snapshot'
import { useServices } from '../api/services'
import { LiveClient } from './client'
import type { Connection } from './connection'
import type { LiveSnapshot } from './patch'
import { socketUrl } from './protocol'
import { watchClock } from '../ui/clock'

export interface LiveCourse {
  query: UseQueryResult<LiveSnapshot>
  connection: Connection
  /** Connect again after the gateway refused the connection. */
  retry: () => void
}

const connecting: Connection = { kind: 'connecting' }

/** The snapshot of a course, patched by the gateway's publications while the component is mounted. */
export function useLiveCourse(courseId: string): LiveCourse {
  const { session, api } = useServices()
  const cache = useQueryClient()
  const query = useQuery(courseStateQuery(api, cache, courseId))
  const ready = query.data !== undefined
  const [live, setLive] = useState<LiveClient | null>(null)

  useEffect(() => {
    const first = cache.getQueryData<LiveSnapshot>(stateKey(courseId))
    if (!ready || first === undefined) return
    const client = new LiveClient(`course:${courseId}`, {
      session,
      url: async () => socketUrl((await cache.query(configQuery())).gateway_url, location.href),
      fetchSnapshot: () => cache.query({ ...courseStateQuery(api, cache, courseId), staleTime: 0 }),
      readSnapshot: () => cache.getQueryData<LiveSnapshot>(stateKey(courseId)),
      writeSnapshot: (snapshot) => cache.setQueryData(stateKey(courseId), snapshot),
    })
    const stopTokens = session.onToken(client.token)
    client.start({ epoch: first.epoch, offset: first.offset })
    setLive(client)
    return () => {
      stopTokens()
      client.stop()
      setLive(null)
    }
  }, [api, cache, courseId, ready, session])

  // A fresh snapshot has the server's time: without it, every "since" would be wrong by as much as the clock was set.
  useEffect(
    () => watchClock(() => void cache.invalidateQueries({ queryKey: stateKey(courseId) })),
    [cache, courseId],
  )

  const connection = useSyncExternalStore(
    useCallback((listener) => live?.subscribe(listener) ?? (() => undefined), [live]),
    () => live?.connection() ?? connecting,
  )
  return { query, connection, retry: () => live?.retry() }
}
