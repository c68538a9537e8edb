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
  username: string
  usernameKey: string
  odd: boolean
}

/** Names change seldom and rows often: what is computed from a name is kept. */
const known = new Map<string, Read>()
const KEPT = 20_000

function withoutSpace(text: string): string {
  return text.normalize('NFC').replace(/\s/gu, '')
}

function read({ username, display_name }: Person): Read {
  const id = `${username}\u0000${display_name ?? ''}`
  const held = known.get(id)
  if (held !== undefined) return held
  const shownUsername = visible(username) || codePoints(username)
  const shown = visible(display_name ?? '')
  const name = shown || shownUsername
  const made: Read = {
    name,
    key: lookKey(name),
    username: shownUsername,
    usernameKey: lookKey(shownUsername),
    odd: readsAsOwnText(name) || (shown !== '' && withoutSpace(shown) !== withoutSpace(display_name ?? '')),
  }
  if (known.size >= KEPT) known.clear()
  known.set(id, made)
  return made
}

/**
 * Name people. The user name is added where somebody else's name or user name looks the same, where characters had to be
 * left out, and where the name reads like a text of the page.
 */
export function labels(people: readonly (Person & { id: string })[]): Map<string, PersonLabel> {
  const readings = people.map((person) => ({ id: person.id, reading: read(person) }))
  const owners = new Map<string, Set<string>>()
  for (const { id, reading } of readings) {
    for (const key of [reading.key, reading.usernameKey]) {
      const held = owners.get(key)
      if (held === undefined) owners.set(key, new Set([id]))
      else held.add(id)
    }
  }
  return new Map(
    readings.map(({ id, reading }) => {
      const shared = (owners.get(reading.key)?.size ?? 0) > 1
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
