/** A text cut to its cap, and whether something was cut. */
export interface ICappedText {
  text: string;
  truncated: boolean;
}

/** The length of `text` in UTF-8 bytes. */
export function utf8Length(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit > 0x7ff) {
      bytes += 2;
      if (unit >= 0xd800 && unit <= 0xdbff && i + 1 < text.length) {
        const next = text.charCodeAt(i + 1);
        if (next >= 0xdc00 && next <= 0xdfff) {
          // A pair is four bytes: two for each of its two units.
          i++;
        }
      }
    } else if (unit > 0x7f) {
      bytes += 1;
    }
  }
  return bytes;
}

/** The longest start of `text` that is at most `maxBytes` UTF-8 bytes, never half of a character. */
export function capBytes(text: string, maxBytes: number): ICappedText {
  // No unit needs more than three bytes, so most texts need not be scanned.
  if (text.length * 3 <= maxBytes) {
    return { text, truncated: false };
  }
  let bytes = 0;
  for (let i = 0; i < text.length; ) {
    const unit = text.charCodeAt(i);
    let width = unit > 0x7ff ? 3 : unit > 0x7f ? 2 : 1;
    let units = 1;
    if (unit >= 0xd800 && unit <= 0xdbff && i + 1 < text.length) {
      const next = text.charCodeAt(i + 1);
      if (next >= 0xdc00 && next <= 0xdfff) {
        width = 4;
        units = 2;
      }
    }
    if (bytes + width > maxBytes) {
      return { text: text.slice(0, i), truncated: true };
    }
    bytes += width;
    i += units;
  }
  return { text, truncated: false };
}

/** At most `maxChars` code points of `text`. */
export function capChars(text: string, maxChars: number): string {
  if (text.length <= maxChars) {
    return text;
  }
  const last = text.charCodeAt(maxChars - 1);
  const splitsPair = last >= 0xd800 && last <= 0xdbff;
  return text.slice(0, splitsPair ? maxChars - 1 : maxChars);
}

const LONE_SURROGATE = /[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g;

/**
 * `text` without what JSON parsers and databases refuse: lone surrogates and NUL become U+FFFD.
 * A kernel can print both.
 */
export function storableText(text: string): string {
  // eslint-disable-next-line no-control-regex
  return text.replace(/\u0000/g, '\uFFFD').replace(LONE_SURROGATE, '\uFFFD');
}

// Colours, cursor moves (CSI), titles and links (OSC), and two-byte escapes.
// eslint-disable-next-line no-control-regex
const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-Z\\-_])/g;

/** `text` without terminal control sequences. */
export function withoutEscapes(text: string): string {
  return text.indexOf('\u001b') < 0 ? text : text.replace(ESCAPES, '');
}

/** nbformat's multi-line strings are lists of lines. */
export function joinedText(value: unknown): string {
  if (typeof value === 'string') {
    return value;
  }
  if (Array.isArray(value)) {
    return value.filter(part => typeof part === 'string').join('');
  }
  return '';
}

const FIRST_TIME_MS = Date.parse('0001-01-01T00:00:00.000Z');
const LAST_TIME_MS = Date.parse('9999-12-31T23:59:59.999Z');

/**
 * A time as the server reads it, such as `2026-04-01T09:00:00.123Z`.
 *
 * @param ms - milliseconds since 1970; a clock outside of the years 1 to 9999 counts as their first or last moment
 */
export function timeText(ms: number): string {
  return new Date(Math.min(Math.max(ms, FIRST_TIME_MS), LAST_TIME_MS)).toISOString();
}
