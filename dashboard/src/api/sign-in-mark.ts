/**
 * A note in this browser that a sign-in cookie may exist. The cookie itself is HttpOnly and cannot be seen from here;
 * without the note nobody is asked, so that a first visit does not begin with a refused request. It is no secret and
 * opens nothing: the server alone decides.
 */

const STORAGE_KEY = 'cell-monitor.sign-in'

/** The note as it stands; null if there is none; undefined if the browser keeps none, so that nothing is known. */
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

/** Take away the note, but not one that a sign-in in another tab has meanwhile put in its place. */
export function removeMark(read: string | null | undefined): void {
  try {
    if (localStorage.getItem(STORAGE_KEY) === read) localStorage.removeItem(STORAGE_KEY)
  } catch {
    // See readMark.
  }
}
