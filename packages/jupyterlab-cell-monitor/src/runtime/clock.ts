/** Time as the capture core sees it, so that tests can hold it still. */
export interface IClock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Milliseconds of a clock that never jumps. */
  monotonic(): number;
  /** Calls `callback` after `ms`; the returned function calls it off. */
  after(ms: number, callback: () => void): () => void;
}

export const browserClock: IClock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after: (ms, callback) => {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  }
};
