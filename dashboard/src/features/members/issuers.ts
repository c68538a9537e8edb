import type { TFunction } from 'i18next'

import type { CourseMember } from '../../api/types'
import { foreign } from '../../i18n/foreign'

/** The issuer of this installation's own accounts, `core.storage.postgres.identities`. */
const LOCAL = 'local'
/** Of those who joined by a code, `core.storage.postgres.joined_computers`. */
const JOIN = 'join'

/**
 * What a place where people sign in is called.
 *
 * @param hub - the issuer of JupyterHub, or null
 */
export function issuerName(issuer: string, hub: string | null, t: TFunction): string {
  if (issuer === hub) return t('members.issuer.hub')
  if (issuer === LOCAL) return t('members.issuer.local')
  return issuer === JOIN ? t('members.issuer.join') : foreign(issuer)
}

/** Whether the members sign in at several places, so that two of one user name may be two people. */
export function signInApart(members: readonly CourseMember[]): boolean {
  return new Set(members.flatMap((member) => member.issuers)).size > 1
}
