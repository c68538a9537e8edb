/** Which texts a reader takes for the same. */

import { resources } from './resources'
import { visible } from './foreign'

/**
 * Letters that look alike, each group as its first: those of Latin, Greek, Cyrillic and kana that occur in names
 * (a selection of the confusables of Unicode UTS #39), and the strokes of different scripts.
 */
const groups = [
  'aаα', 'cсϲ', 'dԁ', 'eеε', 'gɡ', 'hһ', 'iіιı1l|', 'jјϳ', 'kкκ', 'mм', 'nпη', 'oоο0σ', 'pрρ', 'qԛ', 'sѕ', 'tтτ',
  'uυ', 'vνѵ', 'wԝω', 'xхχ', 'yуγ', 'zᴢ', 'ー一―─–—-−', 'カ力', 'ロ口', 'ニ二', 'タ夕', 'エ工', 'ト卜', 'ハ八', 'ヘへ',
  'ベべ', 'ペぺ', 'リり',
] as const

const first = new Map<string, string>()
for (const [head, ...others] of groups.map((group) => Array.from(group))) {
  for (const other of others) if (head !== undefined) first.set(other, head)
}

/** A key that is equal for texts that can hardly be distinguished: width, case, white space and look-alikes do not count. */
export function lookKey(text: string): string {
  const folded = visible(text).normalize('NFKC').toLowerCase().replace(/\s+/gu, '')
  return Array.from(folded, (char) => first.get(char) ?? char).join('')
}

function texts(tree: object): string[] {
  return Object.values(tree).flatMap((value: unknown) => (typeof value === 'string' ? [value] : texts(value as object)))
}

/** How the sentences of the page address their reader. */
const reader = ['You', 'あなた']

const own = new Set([...Object.values(resources).flatMap(({ translation }) => texts(translation)), ...reader].map(lookKey))

/** Whether a name reads like a text of the page itself: "Needs help", "–", "Somebody". */
export function readsAsOwnText(text: string): boolean {
  return own.has(lookKey(text))
}
