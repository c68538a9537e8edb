import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'

import { describe, expect, it } from 'vitest'

import { foreign, foreignError, foreignFile, foreignLines, visible } from '../i18n/foreign'
import { labels, nameAlone } from './names'

interface Golden {
  texts: { name: string; text: string; visible: string }[]
  people: { name: string; people: [string, string | null][]; shown: string[] }[]
}

const golden = JSON.parse(readFileSync(resolve('../tests/contract/golden/names.json'), 'utf8')) as Golden

describe('text that somebody else wrote', () => {
  it.each(golden.texts)('$name', ({ text, visible: expected }) => {
    expect(visible(text)).toBe(expected)
    expect(visible(expected)).toBe(expected)
  })

  it('is isolated where it is written from right to left, so that the next field stays where it is', () => {
    expect(foreign('שלום 1')).toBe('\u2068שלום 1\u2069')
    expect(foreign('plain')).toBe('plain')
    expect(foreign(null)).toBe('')
  })

  it('is shown of an error without the sequences of a terminal, also where one is cut off', () => {
    expect(foreignError('\u001b[31mred\u001b[0m and\n\u001b[1;4mbold\u001b[0')).toBe('red and bold')
    expect(foreignError('plain [31m')).toBe('plain [31m')
    expect(foreignError(null)).toBe('')
  })

  it('keeps its lines in a message, and only the file of a path', () => {
    expect(foreignLines('one\u202e\r\n\ttwo\n\n')).toBe('one\ntwo')
    expect(foreignFile('home/ann/week\u200b 3.ipynb')).toBe('week 3.ipynb')
  })
})

describe('people of one course', () => {
  it.each(golden.people)('$name', ({ people, shown }) => {
    const named = labels(people.map(([username, display_name], index) => ({ id: `s${index}`, username, display_name })))
    expect(people.map((_, index) => named.get(`s${index}`)?.text)).toEqual(shown)
  })

  it.each([
    ['Latin letters', ['Maria Fernanda Lopez Ruiz', 'Maria Fernanda Lopez Diaz'], true],
    ['letters without a space', ['W'.repeat(40), `${'W'.repeat(40)}a`], true],
    ['kanji', ['武者小路実篤左衛門尉', '武者小路実篤右衛門尉'], true],
    ['names that differ in what is always seen', ['Maria Lopez Fernanda', 'Maria Diaz Fernanda'], false],
    ['names that are seen whole', ['Maria Lopez', 'Maria Lopes'], false],
  ])('of long names that are alike before the cut have their user names: %s', (_, [first, second], added) => {
    const named = labels([
      { id: 's1', username: 'ln-a', display_name: first },
      { id: 's2', username: 'ln-b', display_name: second },
    ])
    expect([named.get('s1')?.account, named.get('s2')?.account]).toEqual(added ? ['ln-a', 'ln-b'] : [null, null])
  })

  it.each(['\ue000', '\ufffd', '\ufffd \uf8ff', '\u{10ffff}'])('are named by the user name where %j is drawn as a box', (display_name) => {
    expect(nameAlone({ username: 'u1', display_name })).toBe('u1')
    expect(nameAlone({ username: 'u1', display_name: `${display_name}A` })).toBe(`${display_name}A`)
  })

  it('always have a name that can be read and clicked', () => {
    for (const { text } of golden.texts) expect(nameAlone({ username: 'u1', display_name: text })).not.toBe('')
  })
})
