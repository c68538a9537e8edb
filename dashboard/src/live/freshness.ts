/**
 * How current the page is, judged by watermarks. Pure. Times are milliseconds of the page's monotonic clock, except for
 * those of a watermark, which are of one clock of the server. The two are never compared, only their distances.
 */

/** The page is live while everything up to at most this long ago is known to be shown. */
export const LIVE_MS = 3_000

/** For how long the shortest way of a watermark is remembered; twice that at most. Clocks drift apart meanwhile. */
const WINDOW_MS = 300_000

export interface Watermark {
  epoch: string
  /** Everything that the server had queued before is shown. */
  at: number
  /** When it left for the gateways. */
  publishedAt: number
}

/** The shortest way that watermarks took to the page, as receipt minus publication: an unknown constant plus the way. */
interface ShortestWay {
  since: number
  current: number
  previous: number
  epoch: string
  publishedAt: number
}

export interface Freshness {
  /** Up to when everything is known to be shown; null before the first watermark. */
  readonly provenAt: number | null
  readonly way: ShortestWay | null
}

export const unproven: Freshness = { provenAt: null, way: null }

function shortestWay(held: ShortestWay | null, mark: Watermark, receivedAt: number): ShortestWay {
  const { epoch, publishedAt } = mark
  const way = receivedAt - publishedAt
  // The server's clock was set back, or another server with a clock of its own took over.
  if (held?.epoch !== epoch || publishedAt < held.publishedAt) {
    return { since: receivedAt, current: way, previous: way, epoch, publishedAt }
  }
  if (receivedAt - held.since >= WINDOW_MS) {
    return { since: receivedAt, current: way, previous: held.current, epoch, publishedAt }
  }
  return { ...held, current: Math.min(held.current, way), publishedAt }
}

/**
 * Take a watermark that was received now. Its age is how long it travelled to its publication, plus how much longer
 * than the shortest one it took from there: a gateway or a network that lags behind counts.
 */
export function withWatermark(freshness: Freshness, mark: Watermark, receivedAt: number): Freshness {
  const way = shortestWay(freshness.way, mark, receivedAt)
  const age = Math.max(0, mark.publishedAt - mark.at)
  const behind = Math.max(0, receivedAt - mark.publishedAt - Math.min(way.current, way.previous))
  return { provenAt: receivedAt - age - behind, way }
}

/** How far the page is behind; infinite before the first watermark. */
export function delayMs(freshness: Freshness, now: number): number {
  return freshness.provenAt === null ? Number.POSITIVE_INFINITY : Math.max(0, now - freshness.provenAt)
}
