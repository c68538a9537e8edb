import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { plainText } from '../../i18n/ansi'
import { highlight } from './highlight'

describe('terminal text', () => {
  it('is shown without colours, links and titles, and otherwise unchanged', () => {
    expect(plainText('\u001b[0;31mNameError\u001b[0m: \u001b]8;;http://x\u0007link\u001b]8;;\u0007 ok')).toBe(
      'NameError: link ok',
    )
    expect(plainText('\u001b]0;title\u001b\\text')).toBe('text')
  })

  it('shows the last state of a progress bar', () => {
    expect(plainText('10%\r 50%\r100%\ndone\r\n')).toBe('100%\ndone\n')
  })

  it('marks characters that reorder the text', () => {
    expect(plainText('if x: \u202e# harmless')).toBe('if x: \ufffd# harmless')
  })

  it('contains no control character for any output', () => {
    const piece = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.constantFrom('\u001b', '\u001b[', '\u001b]', '\u009b', '\u0007', '\r', '\n', '\t', '31m', '\u001bP'),
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
        // eslint-disable-next-line no-control-regex -- what must not be there
        expect(plainText(pieces.join(''))).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/u)
      }),
    )
  })
})

describe('highlighting', () => {
  it('preserves every character of any text', () => {
    const piece = fc.oneof(fc.string(), fc.constantFrom('"', "'''", '#', '\n', '\\', 'for ', '0x', '%time', 'f"{x}"'))
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
        const code = pieces.join('')
        expect(highlight(code).map((token) => token.text).join('')).toBe(code)
      }),
    )
  })

  it('distinguishes keywords, strings, numbers and comments', () => {
    expect(highlight('for x in "a # b":  # note\n  return 3.5').filter((token) => token.kind !== 'plain')).toEqual([
      { kind: 'keyword', text: 'for' },
      { kind: 'keyword', text: 'in' },
      { kind: 'string', text: '"a # b"' },
      { kind: 'comment', text: '# note' },
      { kind: 'keyword', text: 'return' },
      { kind: 'number', text: '3.5' },
    ])
  })
})
