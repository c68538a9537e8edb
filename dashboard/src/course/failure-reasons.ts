/** Why an event failed, as far as this page knows; the server may know more. Pure. */

export const reasons = [
  'data_error',
  'internal_error',
  'state_unreadable',
  'too_many_deliveries',
  'invalid_entry',
  'invalid_event',
  'invalid_event_id',
  'event_too_large',
  'unsupported_schema_version',
  'other',
] as const

export type FailureReason = (typeof reasons)[number]

/** The reason of a code; `other` for one of a newer server. */
export function reasonOf(code: string): FailureReason {
  return reasons.find((known) => known === code) ?? 'other'
}
