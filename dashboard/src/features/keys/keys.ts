/** API keys as the page shows them. Pure. */

import type { ApiKey } from '../../api/types'
import { isName, MAX_USERNAME } from '../../course/settings'

/** What a key may be made to do, as the API calls it (`core/auth/scopes.py`), with the page's text for it. */
export const scopeLabels = {
  'events:write': 'sendEvents',
  'people:act_as': 'actAs',
  'roster:write': 'writeRoster',
  'courses:read': 'readCourses',
  'test:write': 'testMode',
  admin: 'administer',
} as const
export type Scope = keyof typeof scopeLabels

export function isScope(text: string): text is Scope {
  return Object.hasOwn(scopeLabels, text)
}

export const scopes: readonly Scope[] = Object.keys(scopeLabels).filter(isScope)

/** The API's bounds, `models/api_keys.py`. */
export const MAX_NAME = 100
export const MAX_DAYS = 730

export type KeyState = 'works' | 'revoked' | 'over'

export interface KeyWish {
  name: string
  scopes: readonly Scope[]
  /** Whose identity the key carries; empty for a program. */
  username: string
  days: number
}

export type KeyFault = 'name' | 'scopes' | 'person' | 'days'

/** Whether a key can be used at this time of the server. */
export function stateOf(key: ApiKey, now: number): KeyState {
  if (key.revoked_at !== null) return 'revoked'
  return Date.parse(key.expires_at) > now ? 'works' : 'over'
}

/** Return the first thing that the API would refuse, null if nothing. */
export function faultOf({ name, scopes: chosen, username, days }: KeyWish): KeyFault | null {
  if (!isName(name, MAX_NAME)) return 'name'
  if (chosen.length === 0) return 'scopes'
  if (username !== '' && !isName(username, MAX_USERNAME)) return 'person'
  return Number.isInteger(days) && days >= 1 && days <= MAX_DAYS ? null : 'days'
}
