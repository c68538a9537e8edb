import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'

import { describe, expect, it } from 'vitest'

import { createI18n } from '../i18n'
import { foreign, foreignError, foreignFile, foreignLines, foreignShort, readable, visible } from '../i18n/foreign'
import { fullName, labels, labelsOf, nameAlone, shownUsername } from './names'

interface Golden {
  texts: { name: string; text: string; visible: string }[]
  names: { name: string; text: string; readable: boolean }[]
  people: { name: string; people: [string, string | null][]; shown: string[] }[]
}

const { t } = createI18n('en')
const ja = createI18n('ja').t
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

describe('the name of a person or a thing', () => {
  it.each(golden.names)('$name', ({ text, readable: expected }) => {
    expect(readable(text)).toBe(expected)
    expect(foreignShort(text)).toBe(expected ? foreign(text) : '')
  })
})

describe('people of one course', () => {
  it.each(golden.people)('$name', ({ people, shown }) => {
    const named = labels(people.map(([username, display_name], index) => ({ id: `s${index}`, username, display_name })), t)
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
    ], t)
    expect([named.get('s1')?.account, named.get('s2')?.account]).toEqual(added ? ['ln-a', 'ln-b'] : [null, null])
  })

  it.each(['\ue000', '\ufffd', '\ufffd \uf8ff', '\u{10ffff}'])('are named by the user name where %j is drawn as a box', (display_name) => {
    expect(nameAlone({ id: 's1', username: 'u1', display_name }, t)).toBe('u1')
    expect(nameAlone({ id: 's1', username: 'u1', display_name: `${display_name}A` }, t)).toBe(`${display_name}A`)
  })

  it('always have a name that can be read and clicked', () => {
    for (const { text } of golden.texts) expect(nameAlone({ id: 's1', username: 'u1', display_name: text }, t)).not.toBe('')
  })

  it('are distinguished by their ids where neither name nor user name can be read, in either language', () => {
    const staff = { role: 'assistant' as const }
    const members = [
      { ...staff, person_id: '019d4835-0001-7000-8000-0000aa11bb22', username: '...', display_name: 'U+002E U+002E U+002E' },
      { ...staff, person_id: '019d4835-0001-7000-8000-0000aa11cc33', username: '---', display_name: '\ufffc' },
    ]
    const texts = (language: typeof t) => [...labelsOf({ students: [], staff: members }, language).values()].map(({ text }) => text)
    expect(texts(t)).toEqual(['Nameless (id 11bb22)', 'Nameless (id 11cc33)'])
    expect(texts(ja)).toEqual(['名前なし (ID 11bb22)', '名前なし (ID 11cc33)'])
    expect(nameAlone({ id: '019d4835-0001-7000-8000-0000aa11bb22', username: '...' }, t)).toBe('Nameless (id 11bb22)')
  })

  it('have user names that are seen, also where nothing of them can be read', () => {
    expect([shownUsername('ann'), shownUsername('...'), shownUsername('\ufffc')]).toEqual(['ann', 'U+002E U+002E U+002E', 'U+FFFC'])
  })

  it('who act in the audit log are always distinguished from others of the same name', () => {
    expect(fullName({ id: 's1', username: 'b-same', display_name: 'Yui T.' }, t)).toBe('Yui T. (b-same)')
    expect(fullName({ id: 's1', username: 'ann', display_name: null }, t)).toBe('ann')
  })
})
