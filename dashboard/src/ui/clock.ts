import { useEffect, useState } from 'react'

/** Often enough for durations in whole minutes. */
const TICK_MS = 5_000

/** `Date.now()`, updated while the component is shown, and when the tab becomes visible. */
export function useNow(): number {
  const [now, setNow] = useState(() => Date.now())
  useEffect(() => {
    const tick = (): void => setNow(Date.now())
    const timer = setInterval(tick, TICK_MS)
    document.addEventListener('visibilitychange', tick)
    return () => {
      clearInterval(timer)
      document.removeEventListener('visibilitychange', tick)
    }
  }, [])
  return now
}
