/** The order and the end of help requests. Pure. */

import type { HelpState } from '../api/types'

export function isActiveRequest(request: HelpState): boolean {
  return request.status === 'open' || request.status === 'claimed'
}

/** First come, first served; the id settles requests of the same millisecond. */
export function compareRequests(a: HelpState, b: HelpState): number {
  return Date.parse(a.requested_at) - Date.parse(b.requested_at) || (a.request_id < b.request_id ? -1 : 1)
}
