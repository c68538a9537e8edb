/** How people are named on the page: readable, and each different from the others. Pure. */

import type { CourseSnapshot, StaffMember, Student } from '../api/types'
import { codePoints, isolated, visible } from '../i18n/foreign'
import { lookKey, readsAsOwnText } from '../i18n/lookalikes'

/** A person as the page names them. */
export interface PersonLabel {
  /** What can be seen of the display name, else of the user name. Never empty. */
  name: string
  /** The user name where the name alone does not say who it is; else null. */
  account: string | null
  /** Both in one text, for sentences and attributes. */
  text: string
}

interface Person {
  username: string
  display_name?: string | null | undefined
}

interface Read {
  name: string
  key: string
  /** Of a name that is cut where there is least space, what is seen there; else null. */
  beginning: string | null
  username: string
  usernameKey: string
  odd: boolean
}

/** A text with something to read: not only private-use, unassigned and replacement characters, which are drawn as boxes. */
const readable = /[^\p{Co}\p{Cn}\ufffd\s]/u

/** Names change seldom and rows often: what is computed from a name is kept. */
const known = new Map<string, Read>()
const KEPT = 20_000

/** How much of a name is seen in the narrowest list, in columns of a Latin letter. */
const SEEN_COLUMNS = 12
/** Characters that take two columns: those of East Asian scripts, and emoji. */
const wide = /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6]|[\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u

/** The key of what is seen of a name that is too long for the narrowest list; null for one that is seen whole. */
function beginningOf(name: string): string | null {
  let columns = 0
  let seen = ''
  for (const char of name.normalize('NFC')) {
    columns += wide.test(char) ? 2 : /\p{M}/u.test(char) ? 0 : 1
    if (columns > SEEN_COLUMNS) return lookKey(seen)
    seen += char
  }
  return null
}

function withoutSpace(text: string): string {
  return text.normalize('NFC').replace(/\s/gu, '')
}

function read({ username, display_name }: Person): Read {
  const id = `${username}\u0000${display_name ?? ''}`
  const held = known.get(id)
  if (held !== undefined) return held
  const shownUsername = visible(username) || codePoints(username)
  const written = visible(display_name ?? '')
  const shown = readable.test(written) ? written : ''
  const name = shown || shownUsername
  const made: Read = {
    name,
    key: lookKey(name),
    beginning: beginningOf(name),
    username: shownUsername,
    usernameKey: lookKey(shownUsername),
    odd: readsAsOwnText(name) || (shown !== '' && withoutSpace(shown) !== withoutSpace(display_name ?? '')),
  }
  if (known.size >= KEPT) known.clear()
  known.set(id, made)
  return made
}

/**
 * Name people. The user name is added where somebody else's name or user name looks the same, also where only the
 * beginnings of both are seen, where characters had to be left out, and where the name reads like a text of the page.
 */
export function labels(people: readonly (Person & { id: string })[]): Map<string, PersonLabel> {
  const readings = people.map((person) => ({ id: person.id, reading: read(person) }))
  const owners = new Map<string, Set<string>>()
  const beginnings = new Map<string, Set<string>>()
  const add = (map: Map<string, Set<string>>, key: string, id: string): void => {
    const held = map.get(key)
    if (held === undefined) map.set(key, new Set([id]))
    else held.add(id)
  }
  for (const { id, reading } of readings) {
    for (const key of [reading.key, reading.usernameKey]) add(owners, key, id)
    if (reading.beginning !== null) add(beginnings, reading.beginning, id)
  }
  return new Map(
    readings.map(({ id, reading }) => {
      const alike = [owners.get(reading.key), beginnings.get(reading.beginning ?? '')]
      const shared = alike.some((sharers) => (sharers?.size ?? 0) > 1)
      const account = (shared || reading.odd) && reading.username !== reading.name ? isolated(reading.username) : null
      const name = isolated(reading.name)
      return [id, { name, account, text: account === null ? name : `${name} (${account})` }]
    }),
  )
}

function personOf(student: Student): Person & { id: string } {
  return { id: student.student_id, username: student.username, display_name: student.display_name }
}

function staffPerson(member: StaffMember): Person & { id: string } {
  return { id: member.person_id, username: member.username, display_name: member.display_name }
}

/** Name the students and the staff of a course, by person. */
export function labelsOf({ students, staff }: Pick<CourseSnapshot, 'students' | 'staff'>): Map<string, PersonLabel> {
  return labels([...students.map(personOf), ...staff.map(staffPerson)])
}

/** The name of one person alone. */
export function nameAlone(person: Person): string {
  return isolated(read(person).name)
}
