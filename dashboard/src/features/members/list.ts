/** Lists of students, as people paste or upload them: one student a line, the user name first. Pure. */

import Papa from 'papaparse'

import type { CourseMember } from '../../api/types'
import { control, MAX_USERNAME } from '../../course/settings'

export interface Listed {
  /** Line of the list, from 1. */
  line: number
  username: string
  /** Null where the list gives none. */
  displayName: string | null
}

/** Why a line is left out; each has a text of its own. */
export type Fault =
  | 'noUsername'
  | 'longUsername'
  | 'usernameCharacters'
  | 'longName'
  | 'nameCharacters'
  | 'twice'
  /** Its columns are separated otherwise than those of most lines. */
  | 'separator'
  /** A quotation mark without its end, or with text after its end. */
  | 'quotes'
  /** Headings, of which none is that of the user names: no line of the list is read. */
  | 'headings'

export interface FaultyLine {
  line: number
  fault: Fault
  /** Of `twice`: the line that has the user name already. */
  first?: number
}

export interface StudentListing {
  students: Listed[]
  faults: FaultyLine[]
}

/** What adding a list would change. */
export interface Preview {
  added: Listed[]
  renamed: Listed[]
  /** Students as they are listed. */
  unchanged: number
  /** On the course's staff: a list of students does not change their role. */
  staff: number
}

/** The API's bound, `models/courses.py`. */
const MAX_DISPLAY_NAME = 200
export const MAX_LIST_BYTES = 512 * 1024

/** First lines that are headings, by what their columns are called; lower case, without spaces. */
const usernameHeadings = new Set(['username', 'user', 'login', 'account', 'userid', 'ユーザー名', 'ユーザ名', 'アカウント'])
const nameHeadings = new Set(['name', 'displayname', 'fullname', '氏名', '名前', '表示名'])

const headingOf = (cell: string): string => cell.toLowerCase().replace(/[\s_-]/gu, '')
const codePointsOf = (text: string): number => Array.from(text).length

interface Row {
  /** Its first line. */
  line: number
  cells: string[]
  /** Whether its quotation marks do not fit. */
  misquoted: boolean
}

/** Those of full width are typed with a Japanese keyboard. */
const separators = ['\t', ';', ',', '\uff1b', '\uff0c', '\u3001']

/** Where a row has its user name and its display name; -1 for a column that is not there. */
interface Columns {
  username: number
  displayName: number
}

/** The separator that is in most lines; of several the one that names contain less often. Empty lines say nothing. */
function delimiterOf(text: string): string {
  const lines = text.split('\n')
  const counted = separators.map((separator) => lines.filter((line) => line.includes(separator)).length)
  return separators[counted.indexOf(Math.max(...counted))] ?? ','
}

/** The rows of a text by RFC 4180. A quoted cell may have several lines. */
function rowsOf(text: string, delimiter: string): Row[] {
  const { data, errors } = Papa.parse<string[]>(text, { newline: '\n', delimiter })
  const misquoted = new Set(errors.flatMap(({ type, row }) => (type === 'Quotes' && row !== undefined ? [row] : [])))
  let line = 1
  return data.map((cells, index) => {
    const row = { line, cells, misquoted: misquoted.has(index) }
    line += 1 + cells.reduce((count, cell) => count + cell.split('\n').length - 1, 0)
    return row
  })
}

/** The same where no cell has several lines, so that a quotation mark without its end makes its own line bad only. */
function rowsOfLines(text: string, delimiter: string): Row[] {
  return text.split('\n').map((one, index) => {
    const { data, errors } = Papa.parse<string[]>(one, { newline: '\n', delimiter })
    return { line: index + 1, cells: data[0] ?? [], misquoted: errors.some(({ type }) => type === 'Quotes') }
  })
}

/** The columns by the headings of the first row; null where it has headings but none of user names. */
function columnsOf(first: Row | undefined): { columns: Columns; headed: boolean } | null {
  const headings = (first?.cells ?? []).map(headingOf)
  const username = headings.findIndex((heading) => usernameHeadings.has(heading))
  const displayName = headings.findIndex((heading) => nameHeadings.has(heading))
  if (username !== -1) return { columns: { username, displayName }, headed: true }
  return displayName === -1 ? { columns: { username: 0, displayName: 1 }, headed: false } : null
}

function faultOf({ username, displayName }: Listed, delimiter: string): Fault | null {
  if (username === '') return 'noUsername'
  if (separators.some((separator) => separator !== delimiter && username.includes(separator))) return 'separator'
  if (control.test(username)) return 'usernameCharacters'
  if (codePointsOf(username) > MAX_USERNAME) return 'longUsername'
  if (displayName === null) return null
  if (control.test(displayName)) return 'nameCharacters'
  return codePointsOf(displayName) > MAX_DISPLAY_NAME ? 'longName' : null
}

/**
 * Read a list: columns by comma, semicolon or tab (RFC 4180), of full width as well, with or without a line of headings.
 * Each line is a student, a fault, empty, or the headings.
 */
export function readList(text: string): StudentListing {
  // A text of several origins may end its lines in several ways.
  const lines = text.replace(/^\ufeff/u, '').replace(/\r\n?/gu, '\n')
  const delimiter = delimiterOf(lines)
  const whole = rowsOf(lines, delimiter)
  const known = columnsOf(whole[0])
  if (known === null) return { students: [], faults: [{ line: 1, fault: 'headings' }] }
  const { columns, headed } = known
  const used = ({ cells }: Row): string[] => [cells[columns.username] ?? '', cells[columns.displayName] ?? '']
  // A name has one line: otherwise a quotation mark has taken other lines with it, which would not be named.
  const swallowed = whole.some((row) => row.misquoted || used(row).some((cell) => cell.includes('\n')))
  const rows = swallowed ? rowsOfLines(lines, delimiter) : whole
  const listing: StudentListing = { students: [], faults: [] }
  const seen = new Map<string, number>()
  rows.forEach((row, index) => {
    if ((index === 0 && headed) || row.cells.every((cell) => cell.trim() === '')) return
    const { line } = row
    const [username = '', displayName = ''] = used(row).map((cell) => cell.trim())
    const listed = { line, username, displayName: displayName === '' ? null : displayName }
    const fault = row.misquoted ? 'quotes' : faultOf(listed, delimiter)
    const first = seen.get(username)
    if (fault !== null) listing.faults.push({ line, fault })
    else if (first !== undefined) listing.faults.push({ line, fault: 'twice', first })
    else {
      seen.set(username, line)
      listing.students.push(listed)
    }
  })
  return listing
}

/** Compare a list with the members that a course has. User names are spelled exactly. */
export function previewOf(students: readonly Listed[], members: readonly CourseMember[]): Preview {
  const known = new Map(members.map((member) => [member.username, member]))
  const preview: Preview = { added: [], renamed: [], unchanged: 0, staff: 0 }
  for (const student of students) {
    const member = known.get(student.username)
    if (member === undefined) preview.added.push(student)
    else if (member.role !== 'student') preview.staff += 1
    else if (student.displayName !== null && student.displayName !== (member.display_name ?? null)) preview.renamed.push(student)
    else preview.unchanged += 1
  }
  return preview
}

/**
 * The text of a file: UTF-8, or Shift_JIS, in which Excel writes CSV on a Japanese computer (WHATWG Encoding, both strict).
 *
 * Null for a file in neither.
 */
export function textOf(content: ArrayBuffer): string | null {
  for (const encoding of ['utf-8', 'shift_jis']) {
    try {
      return new TextDecoder(encoding, { fatal: true }).decode(content)
    } catch {
      // Not in this encoding.
    }
  }
  return null
}
