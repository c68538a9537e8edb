/** When something was received: by the clock that may be set, and by the one that stops while some computers sleep. */
export interface Received {
  readonly at: number
  readonly tick: number
}

interface Clocks {
  now: number
  monotonic: number
}

export function receivedAt({ now, monotonic }: Clocks): Received {
  return { at: now, tick: monotonic }
}

/** Milliseconds since then, the longer of what the two clocks say: neither a set clock nor sleep hides a silence. */
export function silentMs({ at, tick }: Received, { now, monotonic }: Clocks): number {
  return Math.max(now - at, monotonic - tick)
}
