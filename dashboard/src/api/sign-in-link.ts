const FRAGMENT = /^#sign-in=([\w-]{1,200})$/

/**
 * Take the secret of a link that signs in once from the page's address, null if there is none. It is removed from the
 * address and so from the browser's history. Call it before the router reads the address.
 */
export function takeSignInLink(): string | null {
  const link = FRAGMENT.exec(location.hash)?.[1] ?? null
  if (link !== null) history.replaceState(history.state, '', location.pathname + location.search)
  return link
}
