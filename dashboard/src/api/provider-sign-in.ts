import { setMark } from './sign-in-mark'

/** Where a sign-in at another site begins; the browser goes there, and that site sends it back to `/`. */
export const HUB_START = '/api/v1/auth/hub/start'
export const OIDC_START = '/api/v1/auth/oidc/start'

/** Why a sign-in at another site failed, in the words of the page's texts, by the code of the server. */
const FAILURES = {
  hub_sign_in_invalid: 'hub-invalid',
  hub_sign_in_refused: 'hub-refused',
  hub_unavailable: 'hub-unavailable',
  oidc_sign_in_invalid: 'oidc-invalid',
  oidc_sign_in_refused: 'oidc-refused',
  oidc_token_expired: 'oidc-expired',
  oidc_token_unverified: 'oidc-unverified',
  oidc_unavailable: 'oidc-unavailable',
  database_unavailable: 'database-unavailable',
} as const

export type ProviderFailure = (typeof FAILURES)[keyof typeof FAILURES] | 'provider-other'

const RETURN_KEY = 'cell-monitor.return-to'
const FRAGMENT = /^#sign-in-failed=([a-z_]{1,50})$/

/** Note the page that is shown, so that it is shown again when the browser is back. Call it before leaving for another site. */
export function leaveForProvider(): void {
  // The answer sets the sign-in cookie; without the mark the page would not ask for it.
  setMark()
  try {
    sessionStorage.setItem(RETURN_KEY, location.pathname + location.search)
  } catch {
    // The browser forbids storage: the list of courses is shown instead.
  }
}

/**
 * Show the address that was noted, and return why the sign-in failed, null if it did not. The reason is removed from the
 * address and so from the browser's history. Call it before the router reads the address.
 */
export function returnFromProvider(): ProviderFailure | null {
  const code = FRAGMENT.exec(location.hash)?.[1]
  if (location.pathname === '/') {
    const page = takePage()
    if (page !== null || code !== undefined) history.replaceState(history.state, '', page ?? '/')
  }
  if (code === undefined) return null
  return isKnown(code) ? FAILURES[code] : 'provider-other'
}

function isKnown(code: string): code is keyof typeof FAILURES {
  return Object.hasOwn(FAILURES, code)
}

function takePage(): string | null {
  try {
    const page = sessionStorage.getItem(RETURN_KEY)
    sessionStorage.removeItem(RETURN_KEY)
    // A path of this origin; `//host` would name another one.
    return page !== null && /^\/(?![/\\])/u.test(page) ? page : null
  } catch {
    return null
  }
}
