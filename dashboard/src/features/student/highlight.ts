/** The part of Python's lexical structure that highlighting needs; everything else is plain text. */

export type TokenKind = 'plain' | 'comment' | 'string' | 'number' | 'keyword' | 'magic'

export interface Token {
  kind: TokenKind
  text: string
}

const keywords = new Set(
  (
    'False None True and as assert async await break case class continue def del elif else except finally for from ' +
    'global if import in is lambda match nonlocal not or pass raise return try while with yield'
  ).split(' '),
)

const pattern = new RegExp(
  [
    '(?<comment>#[^\\n]*)',
    '(?<string>[rRbBuUfF]{0,2}(?:"""(?:[^\\\\]|\\\\[\\s\\S])*?(?:"""|$)|\'\'\'(?:[^\\\\]|\\\\[\\s\\S])*?(?:\'\'\'|$)' +
      '|"(?:[^"\\\\\\n]|\\\\[\\s\\S])*"?|\'(?:[^\'\\\\\\n]|\\\\[\\s\\S])*\'?))',
    '(?<number>\\b(?:0[xXoObB][\\da-fA-F_]+|\\d[\\d_]*\\.?[\\d_]*(?:[eE][+-]?\\d+)?j?))',
    '(?<magic>(?<=^|\\n)\\s*[%!][^\\n]*)',
    '(?<word>[\\p{L}_][\\p{L}\\p{N}_]*)',
  ].join('|'),
  'gu',
)

export function highlight(code: string): Token[] {
  const tokens: Token[] = []
  const push = (kind: TokenKind, text: string): void => {
    const last = tokens.at(-1)
    if (text === '') return
    if (last?.kind === kind) last.text += text
    else tokens.push({ kind, text })
  }
  let end = 0
  for (const match of code.matchAll(pattern)) {
    const groups = match.groups ?? {}
    push('plain', code.slice(end, match.index))
    const [text] = match
    if (groups['comment'] !== undefined) push('comment', text)
    else if (groups['string'] !== undefined) push('string', text)
    else if (groups['number'] !== undefined) push('number', text)
    else if (groups['magic'] !== undefined) push('magic', text)
    else push(keywords.has(text) ? 'keyword' : 'plain', text)
    end = match.index + text.length
  }
  push('plain', code.slice(end))
  return tokens
}
