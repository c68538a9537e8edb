/** Milliseconds between two fetches while nothing changes, and after a failed one. */
export const REFETCH_INTERVAL_MS = 30_000

/** Delay of a fetch after a change, plus a random part of the next: the series are written shortly after the row. */
const LEAD_MS = 1_000
/** All dashboards of a course receive a change at once; their fetches are spread over this time. */
const LEAD_SPREAD_MS = 1_500
/** An answer requested sooner than this after a change may not contain it: fetch once more. */
const SETTLE_MS = 6_000
const PAUSE_MS = 5_000
const PAUSE_SPREAD = 0.25
/** The pause is at least so many times the duration of the last request, to reduce the load on a slow server. */
const PAUSE_PER_ANSWER = 10

/**
 * Decides when to fetch the series again after changes on the live connection: soon after the first change, then no
 * more than once in a pause, and once more after the last change. Fetches with other causes (the interval, a click)
 * count as well: `answered` and `failed` are called for all of them.
 */
export class RefetchPace {
  readonly #refetch: () => void
  /** Newest change that may be missing from the newest answer; null when there is none. */
  #changedAt: number | null = null
  #askedAt = Number.NEGATIVE_INFINITY
  #pauseMs = PAUSE_MS
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(refetch: () => void) {
    this.#refetch = refetch
  }

  readonly changed = (): void => {
    this.#changedAt = performance.now()
    if (this.#timer === undefined) this.#plan()
  }

  /** The request sent at `askedAt`, by `performance.now()`, was answered. */
  readonly answered = (askedAt: number): void => {
    const tookMs = performance.now() - askedAt
    const pauseMs = Math.max(PAUSE_MS, tookMs * PAUSE_PER_ANSWER) * (1 + Math.random() * PAUSE_SPREAD)
    this.#pauseMs = Math.min(pauseMs, REFETCH_INTERVAL_MS)
    this.#askedAt = Math.max(this.#askedAt, askedAt)
    if (this.#changedAt !== null && askedAt >= this.#changedAt + SETTLE_MS) this.#changedAt = null
    this.stop()
    this.#plan()
  }

  /** A fetch failed. Only the interval fetches again, so that a failing server gets no more requests than usual. */
  readonly failed = (): void => {
    this.stop()
    this.#changedAt = null
    this.#askedAt = performance.now()
    this.#pauseMs = REFETCH_INTERVAL_MS
  }

  /** A hidden page fetches nothing; check again when it becomes visible. */
  readonly wake = (): void => {
    if (this.#timer === undefined) this.#plan()
  }

  readonly stop = (): void => {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #plan(): void {
    if (this.#changedAt === null) return
    const now = performance.now()
    const earliest = Math.max(now, this.#changedAt) + LEAD_MS + Math.random() * LEAD_SPREAD_MS
    this.#timer = setTimeout(this.#ask, Math.max(earliest, this.#askedAt + this.#pauseMs) - now)
  }

  readonly #ask = (): void => {
    this.#timer = undefined
    if (document.visibilityState === 'hidden') return
    this.#askedAt = performance.now()
    this.#refetch()
  }
}
