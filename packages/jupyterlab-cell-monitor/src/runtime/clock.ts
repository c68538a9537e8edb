/** The time and timers, replaceable in tests. */
export interface IClock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Milliseconds of a monotonic clock. */
  monotonic(): number;
  /** Calls `callback` after `ms`; the returned function cancels it. */
  after(ms: number, callback: () => void): () => void;
}

/** A moment by both clocks. */
export interface IMoment {
  /** The page: the monotonic clocks of two pages have different beginnings. */
  readonly page: string;
  /** Milliseconds of that page's monotonic clock. */
  readonly monotonic: number;
  /** Milliseconds since 1970, by a clock that anybody may set. */
  readonly wall: number;
}

export const browserClock: IClock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after: (ms, callback) => {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  }
};
