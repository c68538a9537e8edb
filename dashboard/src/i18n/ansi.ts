/** Terminal output as plain text. */

const ESC = '\\u001b'
/** CSI (colours, cursor), OSC (titles, links) and the two-character escapes, as ECMA-48 forms them; a text may be cut within one. */
const escapes = new RegExp(
  [
    `(?:${ESC}\\[|\\u009b)[0-?]*[ -/]*(?:[@-~]|$)`,
    `(?:${ESC}\\]|\\u009d)[^\\u0007\\u001b\\u009c]*(?:\\u0007|${ESC}\\\\|\\u009c)?`,
    `${ESC}[PX^_][^\\u001b\\u009c]*(?:${ESC}\\\\|\\u009c)?`,
    `${ESC}[ -/]*[0-~]?`,
  ].join('|'),
  'gu',
)
// eslint-disable-next-line no-control-regex -- control characters are what this takes out
const controls = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/gu
/** Bidirectional controls reorder the text around them: code could be made to look different from what it does. */
const bidi = /[\u202a-\u202e\u2066-\u2069]/gu

/** Return the last state of a line that carriage returns overwrote (a progress bar). */
function settle(line: string): string {
  const drawn = line.replace(/\r+$/u, '')
  return drawn.slice(drawn.lastIndexOf('\r') + 1)
}

export function plainText(text: string): string {
  return text
    .replace(escapes, '')
    .replace(/\r\n/gu, '\n')
    .split('\n')
    .map(settle)
    .join('\n')
    .replace(controls, '')
    .replace(bidi, '\ufffd')
}
