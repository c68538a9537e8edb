import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'

import { describe, expect, it } from 'vitest'

import { foreign, foreignFile, foreignLines, visible } from '../i18n/foreign'
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

  it('always have a name that can be read and clicked', () => {
    for (const { text } of golden.texts) expect(nameAlone({ username: 'u1', display_name: text })).not.toBe('')
  })
})
