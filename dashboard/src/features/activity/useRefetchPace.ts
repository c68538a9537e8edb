import { useEffect, useRef } from 'react'

import { RefetchPace } from './pace'

interface Paced {
  /** Differs after every change on the live page. */
  revision: number
  /** There were changes just before the first answer, which may lack them. */
  changedLately: boolean
  /** When the newest answer was requested, by `performance.now()`; undefined before the first. */
  askedAt: number | undefined
  /** When a fetch last failed; 0 if none did. */
  failedAt: number
  refetch: () => void
}

/** Fetch again soon after a live change. */
export function useRefetchPace({ revision, changedLately, askedAt, failedAt, refetch }: Paced): void {
  const newest = useRef(refetch)
  useEffect(() => {
    newest.current = refetch
  }, [refetch])

  const pace = useRef<RefetchPace | null>(null)
  useEffect(() => {
    const made = new RefetchPace(() => newest.current())
    pace.current = made
    document.addEventListener('visibilitychange', made.wake)
    return () => {
      document.removeEventListener('visibilitychange', made.wake)
      made.stop()
    }
  }, [])

  const known = useRef(changedLately ? null : revision)
  useEffect(() => {
    if (known.current === revision) return
    known.current = revision
    pace.current?.changed()
  }, [revision])

  useEffect(() => {
    if (askedAt !== undefined) pace.current?.answered(askedAt)
  }, [askedAt])

  useEffect(() => {
    if (failedAt > 0) pace.current?.failed()
  }, [failedAt])
}
