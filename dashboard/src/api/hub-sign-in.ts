import { setMark } from './sign-in-mark'

/** Where a sign-in with JupyterHub begins; the browser goes there, and the Hub sends it back to `/`. */
export const HUB_START = '/api/v1/auth/hub/start'

/** Why a sign-in with JupyterHub failed, in the words of the page's texts. */
export type HubFailure = 'hub-invalid' | 'hub-refused' | 'hub-unavailable'

const RETURN_KEY = 'cell-monitor.return-to'
const FRAGMENT = /^#sign-in-failed=([a-z_]{1,50})$/

/** Note the page that is shown, so that it is shown again when the browser is back. Call it before leaving for `HUB_START`. */
export function leaveForHub(): void {
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
export function returnFromHub(): HubFailure | null {
  const code = FRAGMENT.exec(location.hash)?.[1]
  if (location.pathname === '/') {
    const page = takePage()
    if (page !== null || code !== undefined) history.replaceState(history.state, '', page ?? '/')
  }
  if (code === undefined) return null
  if (code === 'hub_sign_in_invalid') return 'hub-invalid'
  return code === 'hub_sign_in_refused' ? 'hub-refused' : 'hub-unavailable'
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
