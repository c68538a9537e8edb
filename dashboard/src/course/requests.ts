/** Which help requests are active, and their order. Pure. */

import type { HelpState } from '../api/types'

export function isActiveRequest(request: HelpState): boolean {
  return request.status === 'open' || request.status === 'claimed'
}

/** By the time of the request; the id decides between requests of the same millisecond. */
export function compareRequests(a: HelpState, b: HelpState): number {
  return Date.parse(a.requested_at) - Date.parse(b.requested_at) || (a.request_id < b.request_id ? -1 : 1)
}
