/**
 * Text that somebody else wrote (names, headings, paths, errors, messages), made safe to be shown among the page's own texts.
 *
 * Nothing of it may change how the text around it looks: characters that are not seen and those that reorder are left
 * out, what is written from right to left is isolated (Unicode UAX #9, FSI … PDI, which works in attributes and titles as
 * well as in elements), and stacked marks end after a few. Everything that the page shows of people and students passes
 * through here; the rule `foreign-text` in eslint.config.js holds that.
 */

import { plainText } from './ansi'

/** White space but for the ideographic space, which stands in names; U+2800 is a Braille pattern without a dot. */
const blanks = /[\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u2800\ufeff]+/gu
const surrogates = /\p{Surrogate}/gu
// eslint-disable-next-line no-control-regex -- control characters are what this takes out
const controls = /[\u0000-\u001f\u007f-\u009f\ufff9-\ufffb]/gu
const bidi = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu
/** Not seen: zero-width characters, fillers, tags. The joiners and the variation selectors change the character before. */
const ignorable = /(?![\p{Join_Control}\p{Variation_Selector}])\p{Default_Ignorable_Code_Point}/gu
/** A mark, joiner or selector that has nothing before it, or a joiner that has nothing after it. */
const loose = /(?<=^|\s)[\p{M}\p{Join_Control}\p{Variation_Selector}]+|\p{Join_Control}+(?=\s|$)|(?<=\p{Join_Control})\p{Join_Control}+/gu
/** No language puts more marks on one letter. */
const stacked = /(\p{M}{4})\p{M}+/gu
/**
 * What distinguishes a text from others: a letter, a digit or a picture. Not punctuation, dashes and box drawings, what
 * stands for a character that is missing (U+FFFC, U+FFFD), nor letters and symbols that are drawn as nothing.
 */
const distinct = /(?![\u2500-\u259f\ufffc\ufffd\u{13441}\u{13442}\u{1d159}])[\p{Lu}\p{Ll}\p{Lt}\p{Lo}\p{N}\p{So}]/u
const rightToLeft = /[\p{Script=Hebrew}\p{Script=Arabic}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}\p{Script=Adlam}]/u

/** Characters that take two columns: those of East Asian scripts, and emoji. */
const wide = /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6]|[\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u
const mark = /\p{M}/u

/** The longest text that is shown whole among others, in columns of a Latin letter. */
const SHORT = 48
/** The same for a narrow column of a list. */
const NARROW = 32

const FSI = '\u2068'
const PDI = '\u2069'

/** The part of a text that can be seen, in one line; empty if there is none. */
export function visible(text: string): string {
  return text
    .replace(surrogates, '\ufffd')
    .replace(blanks, ' ')
    .replace(controls, '')
    .replace(bidi, '')
    .replace(ignorable, '')
    .replace(loose, '')
    .normalize('NFC')
    .replace(stacked, '$1')
    .replace(/ {2,}/gu, ' ')
    .trim()
}

/** Whether a text has something to read, so that it can name a person or a thing. */
export function readable(text: string): boolean {
  return distinct.test(visible(text))
}

/** The code points of a text of which nothing can be seen: "U+200B U+200B". */
export function codePoints(text: string): string {
  const points = Array.from(text).slice(0, 8).map((char) => `U+${(char.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}`)
  return points.join(' ')
}

/** Keep a visible text from reordering what is around it. */
export function isolated(text: string): string {
  return rightToLeft.test(text) ? `${FSI}${text}${PDI}` : text
}

/** A text in one line that may be shown anywhere, in elements and in attributes; empty if nothing of it can be seen. */
export function foreign(text: string | null | undefined): string {
  return text == null ? '' : isolated(visible(text))
}

/**
 * A text in one line, likewise, of which a long one is left out in its middle: what it begins with and what it ends with
 * tells it from others. Empty if nothing of it can be read: it is the name of a thing.
 */
export function foreignShort(text: string | null | undefined): string {
  return text == null || !readable(text) ? '' : shortened(text)
}

/**
 * Whether a long name loses its middle, in a narrow column more of it, or is all there: for titles, and where it is read
 * at leisure.
 */
export type Length = 'narrow' | 'short' | 'whole'

/** The name of a thing, likewise, of any length. */
export function foreignName(text: string | null | undefined, length: Length): string {
  if (text == null || !readable(text)) return ''
  return length === 'whole' ? foreign(text) : shortened(text, length === 'narrow' ? NARROW : SHORT)
}

/** How many columns of a Latin letter a character takes. */
export function columnsOf(char: string): number {
  return wide.test(char) ? 2 : mark.test(char) ? 0 : 1
}

/** The longest beginning of characters that takes no more than these columns. */
function within(columns: number, chars: readonly string[]): readonly string[] {
  let taken = 0
  const end = chars.findIndex((char) => (taken += columnsOf(char)) > columns)
  return end < 0 ? chars : chars.slice(0, end)
}

/** A text in one line of at most so many columns of a Latin letter: two thirds of them are its beginning, one is its end. */
export function shortened(text: string, columns = SHORT): string {
  const chars = Array.from(visible(text))
  if (within(columns, chars).length === chars.length) return isolated(chars.join(''))
  const tail = within(Math.floor(columns / 3), chars.toReversed()).toReversed().join('')
  const head = within(columns - Math.floor(columns / 3) - 1, chars).join('')
  return isolated(`${head.trimEnd()}…${tail.replace(/^[\p{M}\s]+/u, '')}`)
}

/** The name or the value of an error in one line: a library may have written it for a terminal, with its colours. */
export function foreignError(text: string | null | undefined): string {
  return text == null ? '' : foreign(plainText(text))
}

/** The name of an error beside other texts: likewise, and short. Empty if nothing of it can be read. */
export function foreignErrorName(text: string | null | undefined): string {
  return text == null ? '' : foreignShort(plainText(text))
}

/** A text with its line breaks, each line isolated. */
export function foreignLines(text: string): string {
  return text.split(/\r\n|[\n\r\u2028\u2029]/u).map(foreign).join('\n').trim()
}

/** The last part of a path, likewise. */
export function foreignFile(path: string): string {
  return foreign(path.split('/').at(-1)) || foreign(path)
}
