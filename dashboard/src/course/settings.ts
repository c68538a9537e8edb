/** Names of a course's settings, in words. Pure. */

import type { TFunction } from 'i18next'

import type { Thresholds } from '../api/types'
import { foreign } from '../i18n/foreign'

/** In the order in which the live page lists what they decide. */
export const thresholdNames = [
  'stuck_errors',
  'kernel_deaths',
  'long_run_s',
  'idle_s',
  'offline_s',
] as const satisfies readonly (keyof Thresholds)[]

export type ThresholdName = (typeof thresholdNames)[number]

export const MAX_TITLE = 200

/** docs/dev/contracts.md: the same rule as in the API. */
const COURSE_ID = /^[a-z0-9][a-z0-9_-]{0,62}$/u

/** The API's bound of user names, `models/auth.py`. */
export const MAX_USERNAME = 150

// eslint-disable-next-line no-control-regex -- what the API refuses in names
export const control = /[\u0000-\u001f\u007f]/u

export function isCourseId(text: string): boolean {
  return COURSE_ID.test(text)
}

/** Whether the API takes a name of people, groups or courses, of so many characters at most. */
export function isName(text: string, most: number): boolean {
  return text !== '' && Array.from(text).length <= most && !control.test(text)
}

/** Whether the API takes a course's title, without spaces at its ends. */
export function isTitle(title: string): boolean {
  return isName(title, MAX_TITLE)
}

/** The name of a source that rules in a course; null and what is no source: none. */
export function rulingSourceName(source: unknown, t: TFunction): string {
  switch (source) {
    case 'roster':
      return t('settings.ruling.roster')
    case 'hub':
      return t('members.source.hub')
    case 'lti':
      return t('members.source.lti')
    case 'oidc':
      return t('members.source.oidc')
    default:
      return typeof source === 'string' ? foreign(source) : t('settings.ruling.none')
  }
}
