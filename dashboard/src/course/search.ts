/** How what somebody searches for is compared with texts. Pure. */

/** NFKC maps full-width and half-width forms, which Japanese input mixes, to the same characters. */
export function fold(text: string): string {
  return text.normalize('NFKC').toLowerCase()
}

/**
 * Return the rows whose text has each word of a search; all of them where it has no word.
 *
 * @param foldedOf - what of a row is searched, folded
 */
export function matching<Row>(rows: readonly Row[], search: string, foldedOf: (row: Row) => string): readonly Row[] {
  const words = fold(search).split(/\s+/u).filter(Boolean)
  if (words.length === 0) return rows
  return rows.filter((row) => {
    const text = foldedOf(row)
    return words.every((word) => text.includes(word))
  })
}
