/**
 * A mark in local storage that a sign-in cookie may exist. The cookie itself is HttpOnly and not readable from scripts;
 * without the mark no refresh is requested, so that a first visit does not begin with a 401. It is not a secret and
 * grants nothing: only the server decides.
 */

const STORAGE_KEY = 'cell-monitor.sign-in'

/** Return the mark; null if there is none; undefined if the browser forbids local storage. */
export function readMark(): string | null | undefined {
  try {
    return localStorage.getItem(STORAGE_KEY)
  } catch {
    return undefined
  }
}

export function setMark(): void {
  try {
    localStorage.setItem(STORAGE_KEY, crypto.getRandomValues(new Uint32Array(2)).join('-'))
  } catch {
    // See readMark.
  }
}

/** Remove the mark unless a sign-in in another tab has replaced it meanwhile. */
export function removeMark(read: string | null | undefined): void {
  try {
    if (localStorage.getItem(STORAGE_KEY) === read) localStorage.removeItem(STORAGE_KEY)
  } catch {
    // See readMark.
  }
}
