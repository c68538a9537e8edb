/** How people are named on the page: readable, and each different from the others. Pure. */

import type { TFunction } from 'i18next'

import type { CourseSnapshot, StaffMember, Student } from '../api/types'
import { codePoints, columnsOf, isolated, readable, visible } from '../i18n/foreign'
import { lookKey, readsAsOwnText } from '../i18n/lookalikes'

/** A person as the page names them. */
export interface PersonLabel {
  /** What can be seen of the display name, else of the user name; where there is neither, that the person is nameless. */
  name: string
  /** The user name where the name alone does not say who it is, of the nameless the person's id; else null. */
  account: string | null
  /** Both in one text, for sentences and attributes. */
  text: string
}

interface Person {
  /** Person id. */
  id: string
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
  /** What a nameless person is distinguished by; else null. */
  id: string | null
}

/** How much of a person's id is shown. Its end: the beginnings of ids that were made in one minute are alike. */
const ID_CHARS = 6

/** Names change seldom and rows often: what is computed from a name is kept. */
const known = new Map<string, Read>()
const KEPT = 20_000

/** How much of a name is seen in the narrowest list, in columns of a Latin letter. */
const SEEN_COLUMNS = 12

/** The key of what is seen of a name that is too long for the narrowest list; null for one that is seen whole. */
function beginningOf(name: string): string | null {
  let columns = 0
  let seen = ''
  for (const char of name.normalize('NFC')) {
    columns += columnsOf(char)
    if (columns > SEEN_COLUMNS) return lookKey(seen)
    seen += char
  }
  return null
}

function withoutSpace(text: string): string {
  return text.normalize('NFC').replace(/\s/gu, '')
}

/** A user name as it is shown by itself: where it cannot be read, as its code points. */
export function shownUsername(username: string): string {
  return isolated(readable(username) ? visible(username) : codePoints(username))
}

function read({ id, username, display_name }: Person, t: TFunction): Read {
  const nameless = t('app.nameless')
  const key = [nameless, id, username, display_name ?? ''].join('\u0000')
  const held = known.get(key)
  if (held !== undefined) return held
  const points = codePoints(username)
  const ownUsername = readable(username) ? visible(username) : ''
  const written = display_name ?? ''
  // The API names staff that have no name by their code points.
  const shown = readable(written) && (ownUsername !== '' || written !== points) ? visible(written) : ''
  const name = shown || ownUsername || nameless
  const made: Read = {
    name,
    key: lookKey(name),
    beginning: beginningOf(name),
    username: ownUsername || points,
    usernameKey: lookKey(ownUsername || points),
    odd: readsAsOwnText(name) || (shown !== '' && withoutSpace(shown) !== withoutSpace(display_name ?? '')),
    id: shown === '' && ownUsername === '' ? t('app.namelessId', { id: id.slice(-ID_CHARS) }) : null,
  }
  if (known.size >= KEPT) known.clear()
  known.set(key, made)
  return made
}

/**
 * Name people. The user name is added where somebody else's name or user name looks the same, also where only the
 * beginnings of both are seen, where characters had to be left out, and where the name reads like a text of the page.
 */
export function labels(people: readonly Person[], t: TFunction): Map<string, PersonLabel> {
  const readings = people.map((person) => ({ id: person.id, reading: read(person, t) }))
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
      return [id, labelOf(reading, shared || reading.odd)]
    }),
  )
}

function labelOf(reading: Read, withAccount: boolean): PersonLabel {
  const account = reading.id ?? (withAccount && reading.username !== reading.name ? isolated(reading.username) : null)
  const name = isolated(reading.name)
  return { name, account, text: account === null ? name : `${name} (${account})` }
}

function personOf(student: Student): Person {
  return { id: student.student_id, username: student.username, display_name: student.display_name }
}

function staffPerson(member: StaffMember): Person {
  return { id: member.person_id, username: member.username, display_name: member.display_name }
}

/** Name the students and the staff of a course, by person. */
export function labelsOf({ students, staff }: Pick<CourseSnapshot, 'students' | 'staff'>, t: TFunction): Map<string, PersonLabel> {
  return labels([...students.map(personOf), ...staff.map(staffPerson)], t)
}

/** The name of one person alone. */
export function nameAlone(person: Person, t: TFunction): string {
  return labelOf(read(person, t), false).text
}

/** The name of one person with the user name, for where the others of that name are not known. */
export function fullName(person: Person, t: TFunction): string {
  return labelOf(read(person, t), true).text
}
