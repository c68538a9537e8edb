import { describe, expect, it } from 'vitest'

import { createI18n, type Language } from '.'
import { Format } from './format'

const format = (language: Language, zone = 'Asia/Tokyo') => new Format(language, createI18n(language).t, zone)
const now = Date.parse('2026-04-01T10:40:00Z')

describe('format', () => {
  it('formats times in the zone, with the date when it is another day there', () => {
    expect(format('en').time('2026-04-01T09:32:00Z', now)).toBe('18:32')
    expect(format('en').time('2026-03-31T14:59:00Z', now)).toMatch(/Mar 31.*23:59/u)
    // 15:10 UTC of the day before is the same day in Tokyo.
    expect(format('en').time('2026-03-31T15:10:00Z', now)).toBe('00:10')
    expect(format('ja').time('2026-03-31T14:59:00Z', now)).toMatch(/3月31日.*23:59/u)
  })

  it('names the zone', () => {
    expect(format('ja').zone(now)).toContain('Asia/Tokyo')
    expect(format('en', 'UTC').zone(now)).toBe('UTC')
  })

  it.each([
    ['en', 0, 'under a minute'],
    ['en', 5 * 60_000, '5 min'],
    ['en', 80 * 60_000, '1 hr 20 min'],
    ['en', 49 * 3_600_000, '2 days'],
    ['ja', 0, '1 分未満'],
    ['ja', 5 * 60_000, '5 分'],
    ['ja', 60 * 60_000, '1 時間'],
  ] as const)('%s: %i ms is %s', (language, ms, text) => {
    expect(format(language).duration(ms)).toBe(text)
  })

  it('shows no negative duration when a clock is ahead', () => {
    expect(format('en').ago(now + 5_000, now)).toBe('just now')
    expect(format('ja').ago('2026-04-01T10:37:00Z', now)).toBe('3 分前')
  })

  it('shows nothing for what is not a time', () => {
    expect(format('en').time('soon', now)).toBe('')
    expect(format('en').ago('soon', now)).toBe('')
  })

  it('tells cells below one heading apart, and names a cell without a heading by its position', () => {
    const cell = (changes: object) => ({ source_id: 'c', index: 4, type: 'code', heading: '演習 3', ordinal: null, ...changes })
    expect(format('en').cell(cell({ heading: null }))).toBe('Cell 5')
    expect(format('en').cell(cell({ heading: '\u200b', ordinal: 2, index: 1000 }))).toBe('Cell 1,001')
    expect([1, 2, 3, 26, 27].map((ordinal) => format('en').cell(cell({ heading: 'Exercise 1', ordinal })))).toEqual([
      'Exercise 1',
      'Exercise 1 · b',
      'Exercise 1 · c',
      'Exercise 1 · z',
      'Exercise 1 · 27',
    ])
    // A sender that does not count the cells.
    expect(format('ja').cell(cell({}))).toBe('演習 3（セル 5）')
    expect(format('ja').cell(cell({ type: 'markdown' }))).toBe('演習 3')
  })

  it('keeps a long heading to what tells it from others: its beginning and its end', () => {
    const cell = (changes: object) => ({ source_id: 'c', index: 4, type: 'code', heading: null, ordinal: null, ...changes })
    const heading = `Exercise 7: ${'why '.repeat(60)}in your own words`
    const shown = format('en').cell(cell({ heading, ordinal: 2 }))
    expect(shown).toMatch(/^Exercise 7: why why .*…n your own words · b$/u)
    expect(shown.length).toBeLessThan(60)
    expect(format('en').cell(cell({ heading, ordinal: 2 }), 'whole')).toBe(`${heading} · b`)
    const hebrew = format('en').cell(cell({ heading: 'א'.repeat(300), ordinal: 1 }))
    expect(hebrew).toBe(`\u2068${'א'.repeat(31)}…${'א'.repeat(16)}\u2069`)
    // A full-width letter takes the space of two.
    expect(format('ja').cell(cell({ heading: '課'.repeat(150), ordinal: 1 }))).toBe(`${'課'.repeat(15)}…${'課'.repeat(8)}`)
    expect(format('ja').cell(cell({ heading: '課'.repeat(24), ordinal: 1 }))).toBe('課'.repeat(24))
    // A mark whose letter is left out is left out as well.
    expect(format('en').cell(cell({ heading: `${'a'.repeat(100)}q\u0316${'b'.repeat(16)}`, ordinal: 1 }))).toBe(
      `${'a'.repeat(31)}…${'b'.repeat(16)}`,
    )
  })

  it('names the place of a fact beside another place only as far as it is another', () => {
    const cell = (source_id: string, heading: string) => ({ source_id, index: 0, type: 'code', heading, ordinal: 1 })
    const notebook = (id: string) => ({ id, path: `${id}.ipynb`, title: null })
    const here = { notebook: notebook('n1'), cell: cell('a', 'A') }
    const beside = (fact: Parameters<Format['place']>[0]) => format('en').placeBeside(fact, here)
    expect(beside(here)).toBe('')
    expect(beside({ notebook: notebook('n1'), cell: cell('c', 'C') })).toBe('C')
    expect(beside({ notebook: notebook('n2'), cell: cell('a', 'A') })).toBe('n2.ipynb · A')
    expect(beside({ notebook: notebook('n2') })).toBe('')
  })

  it('says of a cell that is gone that it is, since another one may have its name', () => {
    const cell = { source_id: 'x', index: 4, type: 'code', heading: 'Q', ordinal: 2 }
    const fact = { notebook: { id: 'n1', path: 'n1.ipynb', title: null }, cell, cell_removed: true }
    const beside = { notebook: fact.notebook, cell: { ...cell, source_id: 'y' } }
    expect(format('en').placeBeside(fact, beside)).toBe('Q · b (removed)')
    expect(format('en').placeBeside(fact, fact)).toBe('Q · b (removed)')
    expect(format('ja').place(fact)).toBe('n1.ipynb · 削除済みの Q · b')
    expect(format('en').place({ ...fact, cell: null })).toBe('n1.ipynb')
  })
})
