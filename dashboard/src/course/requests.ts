/** Which help requests are active, and their order. Pure. */

import type { HelpState } from '../api/types'

export function isActiveRequest(request: HelpState): boolean {
  return request.status === 'open' || request.status === 'claimed'
}

/** When the server received a request, in milliseconds since 1970. Requests of older releases have the time alone. */
export function receiptOf(request: HelpState): number {
  return Date.parse(request.received_at ?? request.requested_at)
}

/** By receipt, which no claim changes; the id decides between requests of the same millisecond. */
export function compareRequests(a: HelpState, b: HelpState): number {
  return receiptOf(a) - receiptOf(b) || (a.request_id < b.request_id ? -1 : 1)
}
