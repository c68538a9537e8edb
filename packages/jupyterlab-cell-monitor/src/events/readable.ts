import { capChars } from './text';

/**
 * What is not shown and can hide or turn around the text beside it: controls, the marks that change the direction, and
 * letters that have no glyph. U+200C and U+200D stay, which join letters of some scripts and parts of emoji.
 */
const UNSEEN =
  /(?![\u200C\u200D])(?:[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\u2028\u2029\u115F\u1160\u2800\u3164\uFFA0]|\u034F|\u17B4|\u17B5)/gu;

/** Something that a reader sees. */
const SEEN = /[\p{L}\p{N}\p{P}\p{S}]/u;

/** Marks above and below a letter: more than a language needs of them run over the lines around. */
const PILED_MARKS = /(\p{M}{4})\p{M}+/gu;

/**
 * A text of a person as one line that can be read: without what is not seen, at most `maxChars` characters; an empty
 * text where nothing of it is seen.
 */
export function readable(text: string, maxChars: number): string {
  // Once more: what was between two spaces may not be seen.
  const line = text.replace(/\s+/gu, ' ').replace(UNSEEN, '').replace(/ {2,}/gu, ' ').replace(PILED_MARKS, '$1').trim();
  if (!SEEN.test(line)) {
    return '';
  }
  const capped = capChars(line, maxChars);
  return capped === line ? line : `${capped}…`;
}

/**
 * A text of a person for use within a sentence: its direction does not change what follows it
 * (https://www.unicode.org/reports/tr9/#Explicit_Directional_Isolates). In HTML of our own, `<bdi>` does the same.
 */
export function isolated(text: string): string {
  return `\u2068${text}\u2069`;
}
