// Hazard: a list of students is read as other people, demotes staff, or loses a line without saying which.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { member } from '../../testing/fixtures'
import { previewOf, readList, textOf } from './list'

const read = (text: string) => readList(text).students.map(({ username, displayName }) => [username, displayName])

describe('readList', () => {
  it.each([
    ['a user name a line', 'ann\r\nben\n\n  chen  \n', [['ann', null], ['ben', null], ['chen', null]]],
    ['commas', 'ann,Ann Adams\nben,"Becker, Ben"', [['ann', 'Ann Adams'], ['ben', 'Becker, Ben']]],
    ['semicolons, as Excel writes them in many languages', 'ann;Ann A.\nben;Ben B.', [['ann', 'Ann A.'], ['ben', 'Ben B.']]],
    ['commas of full width, from a Japanese keyboard', 'hana，山田 花\nken，佐藤 健', [['hana', '山田 花'], ['ken', '佐藤 健']]],
    ['one line of it', 'hana、山田 花', [['hana', '山田 花']]],
    ['a table from a spreadsheet', 'ann\tAnn A.\nben\tBen B.', [['ann', 'Ann A.'], ['ben', 'Ben B.']]],
    ['headings in another order', 'Name,Mail,User name\nAnn A.,a@x,ann', [['ann', 'Ann A.']]],
    ['Japanese headings', '学籍番号,氏名,ユーザー名\n1,田中 葵,aoi', [['aoi', '田中 葵']]],
    ['a byte order mark', '\ufeffusername\nann', [['ann', null]]],
    ['quoted fields, with the quotation mark doubled', '"ann","Ann ""A"" Adams"\n"ben",', [['ann', 'Ann "A" Adams'], ['ben', null]]],
    ['a field of several lines in a column that is not read', 'username,note,name\nann,"two\nlines",Ann A.\nben,,Ben B.', [['ann', 'Ann A.'], ['ben', 'Ben B.']]],
    ['empty lines at the end, also with separators', 'ann,Ann A.\n\n , \n,\n\n', [['ann', 'Ann A.']]],
    ['headings with semicolons after a byte order mark', '\ufeffUser name;Name\r\nann;Ann A.\r\n', [['ann', 'Ann A.']]],
    ['a few names among bare user names', 'ann;Ann A.\nben\nchen\ndora', [['ann', 'Ann A.'], ['ben', null], ['chen', null], ['dora', null]]],
    ['tabs with a comma in each name', 'ann\tAdams, Ann\nben\tBecker, Ben\n', [['ann', 'Adams, Ann'], ['ben', 'Becker, Ben']]],
    ['a user name that is spelled with capitals', 'Ann\nann', [['Ann', null], ['ann', null]]],
  ])('reads %s', (_, text, expected) => {
    expect(read(text)).toEqual(expected)
  })

  it('names the line of everything that is left out', () => {
    const long = 'x'.repeat(151)
    expect(readList(`ann\n${long}\n,No User\nben,${'y'.repeat(201)}\nann`)).toEqual({
      students: [{ line: 1, username: 'ann', displayName: null }],
      faults: [
        { line: 2, fault: 'longUsername' },
        { line: 3, fault: 'noUsername' },
        { line: 4, fault: 'longName' },
        { line: 5, fault: 'twice', first: 1 },
      ],
    })
  })

  it.each([
    ['a control character', 'ann,Ann\nb\u0007en,Ben\nchen,Ch\u0000en', ['ann'], [[2, 'usernameCharacters'], [3, 'nameCharacters']]],
    ['columns separated otherwise than in the rest', 'ann,Ann\nben,Ben\nchen;Chen\ndora\tDora', ['ann', 'ben'], [[3, 'separator'], [4, 'separator']]],
    ['a comma of full width among others', 'ann,Ann\nben,Ben\nchen，Chen', ['ann', 'ben'], [[3, 'separator']]],
    ['a quotation mark without its end', 'ann,Ann\n"ben,Ben\nchen,Chen\ndora,"Dora\neve,Eve', ['ann', 'chen', 'eve'], [[2, 'quotes'], [4, 'quotes']]],
    ['two that would take the lines between them', 'ann,Ann\n"ben,Ben\nchen,Chen\ndora"\neve,Eve', ['ann', 'chen', 'dora"', 'eve'], [[2, 'quotes']]],
    ['text after a quoted field', 'ann,Ann\n"ben" x,Ben', ['ann'], [[2, 'quotes']]],
    ['headings without one of user names', 'Name,Mail\nAnn A.,a@x', [], [[1, 'headings']]],
    ['Japanese headings without one of user names', '学籍番号\t氏名\n1\t田中 葵', [], [[1, 'headings']]],
    ['the line of a student after a field of several lines', 'username,note\nann,"two\nlines"\n,x', ['ann'], [[4, 'noUsername']]],
  ])('names the line and the reason: %s', (_, text, students, faults) => {
    const listing = readList(text)
    expect(listing.students.map(({ username }) => username)).toEqual(students)
    expect(listing.faults.map(({ line, fault }) => [line, fault])).toEqual(faults)
  })

  it('loses no line: each is a student, a fault or empty', () => {
    const cell = fc.constantFrom('ann', 'ben', '"', '""', '"x"', 'Ann "A"', 'x"y', '', ' ', 'a b')
    const line = fc.tuple(cell, fc.constantFrom(',', ';', '\t', '，', ''), cell).map((parts) => parts.join(''))
    fc.assert(
      fc.property(fc.array(line, { maxLength: 12 }), (lines) => {
        const { students, faults } = readList(lines.join('\n'))
        const named = [...students, ...faults].map((one) => one.line).sort((a, b) => a - b)
        const filled = lines.flatMap((one, index) => (/[^\s,;，"]/u.test(one) ? [index + 1] : []))
        expect(new Set(named).size).toBe(named.length)
        expect(filled.filter((number) => !named.includes(number))).toEqual([])
      }),
      { numRuns: 3000 },
    )
  })

  it('gives what the API takes, whatever the text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
        const { students } = readList(text)
        expect(new Set(students.map((one) => one.username)).size).toBe(students.length)
        for (const { username, displayName } of students) {
          // models/auth.py: Username; models/courses.py: display_name.
          // eslint-disable-next-line no-control-regex -- as the API's pattern is written
          expect(username).toMatch(/^[^\u0000-\u0020\u007f]([^\u0000-\u001f\u007f]*[^\u0000-\u0020\u007f])?$/u)
          expect(Array.from(username).length).toBeLessThanOrEqual(150)
          if (displayName !== null) {
            // eslint-disable-next-line no-control-regex -- as above
            expect(displayName).toMatch(/^[^\u0000-\u001f\u007f]+$/u)
            expect(Array.from(displayName).length).toBeLessThanOrEqual(200)
          }
        }
      }),
      { numRuns: 2000 },
    )
  })
})

describe('previewOf', () => {
  it('adds who is new, updates names, and changes neither staff nor others', () => {
    const members = [
      member('ann', { display_name: 'Ann' }),
      member('ben', { display_name: 'Ben' }),
      member('ivy', { role: 'instructor', sources: { roster: 'instructor' } }),
    ]
    const { students } = readList('ann,Ann\nben,Benjamin\nivy,Ivy\nzoe,Zoe\nAnn')
    const preview = previewOf(students, members)
    expect(preview.added.map((one) => one.username)).toEqual(['zoe', 'Ann'])
    expect(preview.renamed.map((one) => one.username)).toEqual(['ben'])
    expect([preview.unchanged, preview.staff]).toEqual([1, 1])
  })
})

describe('textOf', () => {
  const bytes = (...values: number[]) => new Uint8Array(values).buffer
  it('reads UTF-8, and what Excel writes on a Japanese computer', () => {
    expect(textOf(new TextEncoder().encode('aoi,田中').buffer)).toBe('aoi,田中')
    // "田中" in Shift_JIS.
    expect(textOf(bytes(0x61, 0x2c, 0x93, 0x63, 0x92, 0x86))).toBe('a,田中')
  })
  it('refuses what is no text', () => {
    expect(textOf(bytes(0xff, 0xd8, 0xff, 0xe0, 0x00, 0x10, 0xfd))).toBeNull()
  })
})
