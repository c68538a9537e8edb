import { useEffect, useRef } from 'react'

import { RefetchPace } from './pace'

interface Paced {
  /** Anything that differs after a change on the live page. */
  revision: number
  /** The page begins with changes that the first answer may be too early for. */
  changedLately: boolean
  /** When the newest answer was asked for; undefined before the first. */
  askedAt: number | undefined
  /** When a fetch last failed; 0 if none did. */
  failedAt: number
  refetch: () => void
}

/** Fetch again soon after what is shown live has changed. */
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
