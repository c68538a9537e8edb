/** Milliseconds between two fetches of a class in which nothing happens, and after a failed one. */
export const BEAT_MS = 30_000

/** A change is asked for after this and a random part of the next: the series is written a moment after the row. */
const LEAD_MS = 1_000
/** All dashboards of a course hear of a change in the same moment and must not all ask in the same moment. */
const LEAD_SPREAD_MS = 1_500
/** An answer that was asked for sooner after a change than this may not have it yet: ask once more. */
const SETTLE_MS = 6_000
const PAUSE_MS = 5_000
const PAUSE_SPREAD = 0.25
/** A server that takes long is asked less often: the pause is at least so many times what the last answer took. */
const PAUSE_PER_ANSWER = 10

/**
 * Says when to fetch a series again because of what the live connection told: soon after the first change, then no
 * more than once in a pause, and once more after the last change. Fetches that have other causes (the beat, a click)
 * count as well, hence `answered` and `failed` for all of them.
 */
export class RefetchPace {
  readonly #refetch: () => void
  /** Newest change that no answer is sure to hold; null when there is none. */
  #changedAt: number | null = null
  #askedAt = Number.NEGATIVE_INFINITY
  #pauseMs = PAUSE_MS
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(refetch: () => void) {
    this.#refetch = refetch
  }

  readonly changed = (): void => {
    this.#changedAt = Date.now()
    if (this.#timer === undefined) this.#plan()
  }

  /** The answer to what was asked at `askedAt` is here. */
  readonly answered = (askedAt: number): void => {
    const tookMs = Date.now() - askedAt
    const pauseMs = Math.max(PAUSE_MS, tookMs * PAUSE_PER_ANSWER) * (1 + Math.random() * PAUSE_SPREAD)
    this.#pauseMs = Math.min(pauseMs, BEAT_MS)
    this.#askedAt = Math.max(this.#askedAt, askedAt)
    if (this.#changedAt !== null && askedAt >= this.#changedAt + SETTLE_MS) this.#changedAt = null
    this.stop()
    this.#plan()
  }

  /** No answer. The beat asks again, so that a server in trouble is asked no more than in a class at rest. */
  readonly failed = (): void => {
    this.stop()
    this.#changedAt = null
    this.#askedAt = Date.now()
    this.#pauseMs = BEAT_MS
  }

  /** A hidden page asks for nothing; look again when it is shown. */
  readonly wake = (): void => {
    if (this.#timer === undefined) this.#plan()
  }

  readonly stop = (): void => {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #plan(): void {
    if (this.#changedAt === null) return
    const now = Date.now()
    const earliest = Math.max(now, this.#changedAt) + LEAD_MS + Math.random() * LEAD_SPREAD_MS
    this.#timer = setTimeout(this.#ask, Math.max(earliest, this.#askedAt + this.#pauseMs) - now)
  }

  readonly #ask = (): void => {
    this.#timer = undefined
    if (document.visibilityState === 'hidden') return
    this.#askedAt = Date.now()
    this.#refetch()
  }
}
