/** The filters of the audit log, as they are in the page's address. Pure. */

import type { AuditWish } from '../../api/queries'

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
