/** What of a request the API found unusable, in words. Pure. */

import type { TFunction } from 'i18next'

import { ApiError } from '../api/client'

/** Codes of refusals that the services decide on; any other code of a 422 is one of the validator. */
const ownCodes: ReadonlySet<string> = new Set([
  'invalid_parameter',
  'managed_elsewhere',
  'member_protected',
  'not_found',
  'password_common',
  'password_too_long',
  'password_too_short',
  'permission_denied',
])

/** The words for the fields that somebody fills in or chooses, by their names in the API. */
const fields = {
  action: 'audit.filter.action',
  course: 'audit.filter.course',
  course_id: 'audit.filter.course',
  days: 'keys.days',
  display_name: 'errors.field.displayName',
  expires_in_days: 'keys.days',
  group: 'settings.groups.group',
  idle_s: 'settings.threshold.idle_s',
  issuer: 'settings.groups.issuer',
  kernel_deaths: 'settings.threshold.kernel_deaths',
  long_run_s: 'settings.threshold.long_run_s',
  minutes: 'joining.lifetime',
  name: 'errors.field.name',
  new: 'account.password.new',
  offline_s: 'settings.threshold.offline_s',
  password: 'signIn.password',
  person: 'errors.field.username',
  present: 'account.password.present',
  role: 'settings.groups.role',
  ruling_source: 'settings.ruling.title',
  scopes: 'keys.may',
  since: 'audit.filter.from',
  stuck_errors: 'settings.threshold.stuck_errors',
  title: 'settings.name',
  until: 'audit.filter.until',
  username: 'errors.field.username',
} as const

function isField(part: unknown): part is keyof typeof fields {
  return typeof part === 'string' && Object.hasOwn(fields, part)
}

/** Whether the API's validator refused what was sent: the same request cannot succeed later. */
export function isInputFault(error: unknown): boolean {
  return error instanceof ApiError && error.status === 422 && !ownCodes.has(error.type)
}

/** Whether the page's own address names something in a way in which nothing can be named. */
export function isAddressFault(error: unknown): boolean {
  return error instanceof ApiError && isInputFault(error) && error.details[0]?.loc?.[0] === 'path'
}

function fieldsOf(error: ApiError, t: TFunction): string[] {
  const named = error.details.flatMap(({ loc }) => (loc ?? []).findLast(isField) ?? [])
  return [...new Set(named.map((field) => t(fields[field])))]
}

/** Return which fields are invalid, without the validator's own words and code; null where the error is another one. */
export function explainInput(error: unknown, t: TFunction): string | null {
  if (!(error instanceof ApiError) || error.status !== 422) return null
  const named = fieldsOf(error, t)
  if (isInputFault(error))
    return named.length === 0 ? t('errors.input') : t('errors.inputIn', { fields: named.join(t('app.listSeparator')) })
  // A service's own sentence, which says what to do.
  return error.type === 'invalid_parameter' && named.length > 0
    ? t('errors.unusable', { field: named[0], message: error.message })
    : null
}
