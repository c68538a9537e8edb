/** Lists of students, as people paste or upload them: one student a line, the user name first. Pure. */

import Papa from 'papaparse'

import type { CourseMember } from '../../api/types'

export interface Listed {
  /** Line of the list, from 1. */
  line: number
  username: string
  /** Null where the list gives none. */
  displayName: string | null
}

export type Fault = 'username' | 'displayName' | 'twice'

export interface StudentListing {
  students: Listed[]
  faults: { line: number; fault: Fault }[]
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

/** The API's bounds, `models/auth.py` and `models/courses.py`. */
const MAX_USERNAME = 150
const MAX_DISPLAY_NAME = 200
export const MAX_LIST_BYTES = 512 * 1024

// eslint-disable-next-line no-control-regex -- what the API refuses
const control = /[\u0000-\u001f\u007f]/u

/** First lines that are headings, by what their columns are called; lower case, without spaces. */
const usernameHeadings = new Set(['username', 'user', 'login', 'account', 'userid', 'ユーザー名', 'ユーザ名', 'アカウント'])
const nameHeadings = new Set(['name', 'displayname', 'fullname', '氏名', '名前', '表示名'])

const headingOf = (cell: string): string => cell.toLowerCase().replace(/[\s_-]/gu, '')
const codePointsOf = (text: string): number => Array.from(text).length

function faultOf({ username, displayName }: Listed, seen: Set<string>): Fault | null {
  const length = codePointsOf(username)
  if (length === 0 || length > MAX_USERNAME || control.test(username)) return 'username'
  if (displayName !== null && (codePointsOf(displayName) > MAX_DISPLAY_NAME || control.test(displayName))) return 'displayName'
  return seen.has(username) ? 'twice' : null
}

/** Read a list: columns by comma, semicolon or tab (RFC 4180), with or without a line of headings. */
export function readList(text: string): StudentListing {
  // A text of several origins may end its lines in several ways.
  const lines = text.replace(/^\ufeff/u, '').replace(/\r\n?/gu, '\n')
  const { data } = Papa.parse<string[]>(lines, { newline: '\n', delimitersToGuess: ['\t', ';', ','] })
  const rows = data.map((cells) => cells.map((cell) => cell.trim()))
  const headings = (rows[0] ?? []).map(headingOf)
  const headed = headings.findIndex((heading) => usernameHeadings.has(heading))
  const usernameAt = headed === -1 ? 0 : headed
  const nameAt = headed === -1 ? 1 : headings.findIndex((heading) => nameHeadings.has(heading))
  const listing: StudentListing = { students: [], faults: [] }
  const seen = new Set<string>()
  rows.forEach((cells, index) => {
    if ((index === 0 && headed !== -1) || cells.every((cell) => cell === '')) return
    const displayName = cells[nameAt] ?? ''
    const listed = { line: index + 1, username: cells[usernameAt] ?? '', displayName: displayName === '' ? null : displayName }
    const fault = faultOf(listed, seen)
    if (fault !== null) {
      listing.faults.push({ line: listed.line, fault })
      return
    }
    seen.add(listed.username)
    listing.students.push(listed)
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
