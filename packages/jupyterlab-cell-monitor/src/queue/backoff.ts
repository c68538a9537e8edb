const BASE_MS = 1000;
const CAP_MS = 60_000;

/** Full-jitter backoff: random pauses, so that many browsers do not retry at the same time. */
export class Backoff {
  constructor(private readonly _random: () => number = Math.random) {}

  /** The number of attempts that failed in a row. */
  get failures(): number {
    return this._failures;
  }

  /**
   * The pause before the next attempt, in milliseconds.
   *
   * @param atLeast - the server's Retry-After; the jitter is added to it
   */
  next(atLeast = 0): number {
    const ceiling = Math.min(CAP_MS, BASE_MS * 2 ** Math.min(this._failures, 10));
    this._failures++;
    return atLeast + this._random() * ceiling;
  }

  reset(): void {
    this._failures = 0;
  }

  private _failures = 0;
}
