/** The filters of the audit log, as they are in the page's address. Pure. */

import type { AuditWish } from '../../api/queries'
import { isCourseId } from '../../course/settings'

export interface AuditSearch {
  action?: string | undefined
  person?: string | undefined
  course?: string | undefined
  /** The first and the last day, `YYYY-MM-DD` in the browser's time zone. */
  from?: string | undefined
  until?: string | undefined
}

/** The beginning of a day in the browser's time zone, or of one some days later; RFC 3339. */
function beginning(day: string, later = 0): string {
  const [year = 0, month = 1, date = 1] = day.split('-').map(Number)
  return new Date(year, month - 1, date + later).toISOString()
}

/** What cannot be right: the course, one of the days, or both days together. */
export type AuditFault = 'course' | 'day' | 'order'

// What a time with its zone can be written of, also with a day more or less.
const isDay = (day: string | undefined): boolean => day === undefined || (day >= '1970-01-02' && day <= '9998-12-31')

/** Return the first fault of the filters, or null. */
export function faultOf({ course, from, until }: AuditSearch): AuditFault | null {
  if (course !== undefined && !isCourseId(course)) return 'course'
  if (!isDay(from) || !isDay(until)) return 'day'
  return from !== undefined && until !== undefined && from > until ? 'order' : null
}

/** What is asked of the server. Both days are whole ones. */
export function wishOf({ action, person, course, from, until }: AuditSearch): AuditWish {
  return {
    ...(action !== undefined && { action }),
    ...(person !== undefined && { person }),
    ...(course !== undefined && { course }),
    ...(from !== undefined && { since: beginning(from) }),
    ...(until !== undefined && { until: beginning(until, 1) }),
  }
}
