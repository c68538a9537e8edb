const BASE_MS = 1000;
const CAP_MS = 60_000;

/** Full-jitter backoff: the pauses of thousands of browsers spread out instead of falling on the same second. */
export class Backoff {
  constructor(private readonly _random: () => number = Math.random) {}

  /** How many tries in a row have failed. */
  get failures(): number {
    return this._failures;
  }

  /**
   * The pause before the next try, in milliseconds.
   *
   * @param atLeast - what the server asked for in Retry-After; the jitter is added to it
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
