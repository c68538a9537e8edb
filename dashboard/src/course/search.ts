/** How what somebody searches for is compared with texts. Pure. */

/** NFKC maps full-width and half-width forms, which Japanese input mixes, to the same characters. */
export function fold(text: string): string {
  return text.normalize('NFKC').toLowerCase()
}

/** The words of a search, each of which a folded text must have. */
export function wordsOf(search: string): string[] {
  return fold(search).split(/\s+/u).filter(Boolean)
}
