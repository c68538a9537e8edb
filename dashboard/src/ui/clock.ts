import { useEffect, useState } from 'react'

/** Often enough for durations in whole minutes. */
const TICK_MS = 5_000

/**
 * `performance.now()`, updated while the component is shown, and when the tab becomes visible. It is never set: with the
 * difference from the server's clock added it is the server's time, whatever this computer's clock says.
 */
export function useTick(): number {
  const [now, setNow] = useState(() => performance.now())
  useEffect(() => {
    const tick = (): void => setNow(performance.now())
    const timer = setInterval(tick, TICK_MS)
    document.addEventListener('visibilitychange', tick)
    return () => {
      clearInterval(timer)
      document.removeEventListener('visibilitychange', tick)
    }
  }, [])
  return now
}

/** The two clocks of a browser differ by less than this from one tick to the next, unless one of them was set or stopped. */
const STEP_MS = 1_000

/**
 * Call a function after this computer's clock was set, or the computer slept: the monotonic clock of some stops
 * meanwhile, and its difference from the server's clock is another one then. Returns a function that ends it.
 */
export function watchClock(onStep: () => void): () => void {
  const difference = (): number => Date.now() - performance.now()
  let known = difference()
  const check = (): void => {
    const now = difference()
    if (Math.abs(now - known) < STEP_MS) return
    known = now
    onStep()
  }
  const timer = setInterval(check, TICK_MS)
  document.addEventListener('visibilitychange', check)
  return () => {
    clearInterval(timer)
    document.removeEventListener('visibilitychange', check)
  }
}
