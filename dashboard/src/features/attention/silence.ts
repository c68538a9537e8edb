/** When a whole class falls silent at once, it may be the monitor that has stopped hearing. */

import type { Thresholds } from '../../api/types'
import { hasLeft, type StudentView } from '../../course/view'

const minute = 60_000

/** Fewer may well close their laptops in the same minute. */
const fewest = 3
/** A class that has been silent for longer is over, and nobody who looks at it is misled. */
const longestMs = 30 * minute

/**
 * Since when nobody has been heard of, if that is suspicious: several students were here, none of them said goodbye, and
 * now all of them count as left. Milliseconds of the server's clock; null if somebody is heard, or the class is over.
 */
export function silentSince(views: readonly StudentView[], thresholds: Thresholds, now: number): number | null {
  const open = views.filter(({ student }) => student.sessions_open > 0 && student.last_seen_at != null)
  if (open.some(({ student }) => !hasLeft(student, thresholds, now))) return null
  const heard = open
    .map(({ student }) => Date.parse(student.last_seen_at ?? ''))
    .filter((seen) => now - seen < longestMs)
  return heard.length < fewest ? null : Math.max(...heard)
}
