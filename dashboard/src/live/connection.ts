import type { LiveState } from './machine'

/** What the page shows about its own data. */
export type Connection =
  | { kind: 'connecting' }
  | { kind: 'live' }
  /**
   * Connected, but what has happened since `since` may not be shown yet. `provenAt` is the same moment, always by the
   * page's monotonic clock; null while it is unknown how far the server is behind.
   */
  | { kind: 'delayed'; since: number; provenAt: number | null; refusal: string | null }
  /** Not known to be complete; `since` is the last moment at which it was, milliseconds of the page's monotonic clock. */
  | { kind: 'reconnecting' | 'silent' | 'offline' | 'refused'; since: number; refusal: string | null }

/** The same with `since` in milliseconds of the server's clock. */
export function inServerTime(connection: Connection, clockOffsetMs: number): Connection {
  return 'since' in connection ? { ...connection, since: connection.since + clockOffsetMs } : connection
}

export function connectionOf(state: LiveState): Connection {
  const { verifiedAt: since, refusal } = state
  if (state.phase === 'live' && !state.late) {
    if (state.delayed && since !== null) return { kind: 'delayed', since, provenAt: state.freshness.provenAt, refusal }
    if (!state.unconfirmed) return { kind: 'live' }
  }
  const first = !state.everLive && !state.offline && state.attempt === 0 && state.phase !== 'refused'
  if (since === null || first) return { kind: 'connecting' }
  if (state.phase === 'live' && state.late) return { kind: 'silent', since, refusal }
  if (state.phase === 'refused') return { kind: 'refused', since, refusal }
  return { kind: state.offline ? 'offline' : 'reconnecting', since, refusal }
}
