/** When no event of a whole class is received any more, the monitor may have failed and not the class left. */

import type { Thresholds } from '../../api/types'
import type { StudentView } from '../../course/view'
import { hasLeft } from '../../course/words'

const minute = 60_000

/** Fewer students than this may well leave in the same minute. */
const fewest = 3
/** After this time the class is over, and a warning would mislead. */
const longestMs = 30 * minute

/**
 * Return since when nothing was received, if that is suspicious: several students were here, none ended a session, and
 * all of them count as left. Milliseconds of the server's clock; null if events are received or the class is over.
 */
export function silentSince(views: readonly StudentView[], thresholds: Thresholds, now: number): number | null {
  const open = views.filter(({ student }) => student.sessions_open > 0 && student.last_seen_at != null)
  if (open.some(({ student }) => !hasLeft(student, thresholds, now))) return null
  const lastSeen = open
    .map(({ student }) => Date.parse(student.last_seen_at ?? ''))
    .filter((seen) => now - seen < longestMs)
  return lastSeen.length < fewest ? null : Math.max(...lastSeen)
}
