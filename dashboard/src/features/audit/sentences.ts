/** An entry of the audit log in words. Pure. */

import type { TFunction } from 'i18next'

import type { AuditEntry, AuditPerson } from '../../api/types'
import { fullName } from '../../course/names'
import { rulingSourceName, thresholdNames } from '../../course/settings'
import { foreign } from '../../i18n/foreign'
import { reasonOf } from '../../course/failure-reasons'

/** The acts that this page knows, in the order of its list; the server may know more. */
export const actions = [
  'signed_in',
  'sign_in_refused',
  'signed_out_everywhere',
  'password_changed',
  'password_reset',
  'sign_in_link_created',
  'sign_in_link_ended',
  'member_added',
  'role_changed',
  'member_removed',
  'joining_opened',
  'joining_closed',
  'joined_merged',
  'site_admin_granted',
  'site_admin_revoked',
  'work_opened',
  'api_key_created',
  'api_key_used',
  'api_key_revoked',
  'encryption_key_rotated',
  'signing_key_rotated',
  'course_created',
  'course_renamed',
  'thresholds_changed',
  'ruling_source_changed',
  'group_linked',
  'group_unlinked',
  'course_deleted',
  'failed_events_replayed',
  'person_erased',
] as const

export type Action = (typeof actions)[number]

/** Acts that can be of a course; its page offers no others. */
export const courseActions: readonly Action[] = [
  'member_added',
  'role_changed',
  'member_removed',
  'joining_opened',
  'joining_closed',
  'joined_merged',
  'work_opened',
  'course_created',
  'course_renamed',
  'thresholds_changed',
  'ruling_source_changed',
  'group_linked',
  'group_unlinked',
  'failed_events_replayed',
]

type NameOf = (person: AuditPerson) => string

/**
 * Name the people of entries, each with the user name: an entry that names somebody of the same name may be on another
 * page of the log, or hidden by the filters.
 */
export function naming(t: TFunction): NameOf {
  return (person) => (person.person_id === null ? t('audit.who.erased') : fullName({ ...person, id: person.person_id }, t))
}

function whoOf(entry: AuditEntry, nameOf: NameOf, t: TFunction): string {
  if (entry.actor !== null) return nameOf(entry.actor)
  switch (entry.actor_kind) {
    case 'key':
      return t('audit.who.key', { key: entry.actor_key_id ?? entry.key_id ?? '' })
    case 'operator':
      return t('audit.who.operator')
    case 'hub':
      return t('members.source.hub')
    case 'oidc':
      return t('members.source.oidc')
    case 'system':
      return t('app.name')
    default:
      return t('audit.who.nobody')
  }
}

function isKnown(action: string): action is Action {
  return actions.some((known) => known === action)
}

/** What happened, as one sentence. */
export function sentence(entry: AuditEntry, nameOf: NameOf, t: TFunction): string {
  const who = whoOf(entry, nameOf, t)
  const { action, subject } = entry
  if (!isKnown(action)) return t('audit.says.other', { who, action: foreign(action) })
  if (action === 'sign_in_refused' && subject === null)
    return entry.way === 'many' ? t('audit.says.sign_in_further') : t('audit.says.sign_in_unknown')
  if (action === 'api_key_created' && subject === null) return t('audit.says.service_key_created', { who })
  if (action === 'api_key_revoked' && subject === null) return t('audit.says.service_key_revoked', { who })
  if (action === 'api_key_used' && entry.actor === null) return t('audit.says.service_key_used')
  if (action === 'failed_events_replayed')
    return t('audit.says.failed_events_replayed', { who, count: entry.queued ?? 0 })
  const role = (name: AuditEntry['role_to']): string => (name === null ? '' : t(`role.${name}`))
  return t(`audit.says.${action}`, {
    who,
    whom: subject === null ? '' : nameOf(subject),
    group: foreign(entry.group ?? ''),
    from: role(entry.role_from),
    to: role(entry.role_to),
  })
}

/** What a setting was and is, each a few words. */
function changesOf({ action, setting_from: from, setting_to: to }: AuditEntry, t: TFunction): string[] {
  if (action === 'thresholds_changed' && isThresholds(from) && isThresholds(to))
    return thresholdNames
      .filter((name) => to[name] !== undefined)
      .map((name) =>
        t('audit.more.changedOf', { what: t(`settings.threshold.${name}`), from: from[name] ?? '', to: to[name] ?? '' }),
      )
  if (action === 'course_renamed' && typeof from === 'string' && typeof to === 'string')
    return [t('audit.more.changed', { from: foreign(from), to: foreign(to) })]
  if (action === 'ruling_source_changed')
    return [t('audit.more.changed', { from: rulingSourceName(from, t), to: rulingSourceName(to, t) })]
  return []
}

function isThresholds(value: AuditEntry['setting_from']): value is Record<string, number> {
  return typeof value === 'object' && value !== null
}

function wayOf(way: string, t: TFunction): string {
  switch (way) {
    case 'password':
      return t('audit.more.password')
    case 'link':
      return t('audit.more.link')
    case 'link_used':
      return t('audit.more.linkUsed')
    case 'link_ended':
      return t('audit.more.linkEnded')
    case 'link_expired':
      return t('audit.more.linkExpired')
    case 'hub':
      return t('audit.more.hub')
    case 'oidc':
      return t('audit.more.oidc')
    default:
      return t('audit.more.way', { way: foreign(way) })
  }
}

/** By which act a link was ended; null: that is not known. */
function causeOf(cause: string | null, t: TFunction): string {
  switch (cause) {
    case null:
      return t('audit.more.causeUnknown')
    case 'password_changed':
      return t('audit.more.passwordChanged')
    case 'password_reset':
      return t('audit.more.passwordReset')
    case 'signed_out_everywhere':
      return t('audit.more.signedOutEverywhere')
    default:
      return t('audit.more.cause', { cause: foreign(cause) })
  }
}

function sourceOf(source: string, t: TFunction): string {
  switch (source) {
    case 'hub':
      return t('members.source.hub')
    case 'oidc':
      return t('members.source.oidc')
    case 'lti':
      return t('members.source.lti')
    case 'join':
      return t('members.source.join')
    default:
      return t('members.source.other')
  }
}

/** What else there is to say, each a few words. */
export function particulars(entry: AuditEntry, withCourse: boolean, t: TFunction): string[] {
  const { key_id: key, actor_key_id: used } = entry
  const said: string[] = changesOf(entry, t)
  if (withCourse && entry.course_id !== null) said.push(t('audit.more.course', { course: foreign(entry.course_id) }))
  if (entry.way !== null && entry.way !== 'many')
    said.push(entry.way === 'link' && entry.action === 'sign_in_refused' ? t('audit.more.linkUnknown') : wayOf(entry.way, t))
  if (entry.action === 'sign_in_link_ended') said.push(causeOf(entry.cause, t))
  // The roster is the usual one, and what a Hub says is said by the Hub.
  if (entry.source !== null && entry.source !== 'roster' && entry.source !== entry.actor_kind)
    said.push(t('audit.more.source', { source: sourceOf(entry.source, t) }))
  if (key !== null) {
    const name = foreign(entry.key_name ?? '')
    said.push(name === '' ? t('audit.more.key', { key }) : t('audit.more.keyNamed', { key, name }))
  }
  if (used !== null && used !== key && entry.actor !== null) said.push(t('audit.more.with', { key: used }))
  if (entry.scopes !== null && entry.scopes.length > 0)
    said.push(t('audit.more.scopes', { scopes: entry.scopes.map((scope) => foreign(scope)).join(t('app.listSeparator')) }))
  if (entry.address !== null) said.push(t('audit.more.address', { address: foreign(entry.address) }))
  if (entry.reason !== null) said.push(t(`failedEvents.reason.${reasonOf(entry.reason)}`))
  if (entry.unreadable !== null && entry.unreadable > 0)
    said.push(t('failedEvents.unreadable', { count: entry.unreadable }))
  if (entry.action === 'sign_in_refused') said.push(t('audit.more.times', { count: entry.count }))
  return said
}
