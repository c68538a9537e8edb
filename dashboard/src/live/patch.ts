/**
 * Apply publications to the cached snapshot. Pure, and with the same result for any order and repetition of
 * publications: of two states of one thing the one with the higher version is kept.
 */

import type { CourseSnapshot, HelpState, Student, StudentState } from '../api/types'
import type { Publication } from './protocol'

type StatePublication = Exclude<Publication, { kind: 'other' }>

/** The snapshot as cached, with the difference of the page's monotonic clock from the server's. */
export interface LiveSnapshot extends CourseSnapshot {
  /** Add to `performance.now()` to get the server's time; milliseconds. */
  clock_offset_ms: number
  /** Offset of the newest publication of each help request; requests known from the snapshot only are not listed. */
  help_offsets: Readonly<Record<string, number>>
}

export interface Patched {
  snapshot: LiveSnapshot
  /** There was a state of a student that the snapshot does not have: a student joined, fetch it again. */
  unknownStudent: boolean
  /** The published counters count another number of students than are listed: the roster was changed, fetch it again. */
  otherRoster: boolean
}

/** Whether the counters count another number of students than the snapshot lists. */
export function rosterDiffers({ counters, students }: Pick<LiveSnapshot, 'counters' | 'students'>): boolean {
  return counters.students !== students.length
}

/** Key of the thing that a publication describes: a newer one replaces an older one in the buffer. */
export function publicationKey(publication: Publication): string | null {
  switch (publication.kind) {
    case 'student':
      return `student:${publication.state.student_id}`
    case 'help':
      return `help:${publication.state.request_id}`
    case 'course':
      return `course:${publication.state.course_id}`
    default:
      return null
  }
}

/** Publications for the next animation frame, at most one for each thing. */
export class PublicationBuffer {
  readonly #waiting = new Map<string, StatePublication>()

  get size(): number {
    return this.#waiting.size
  }

  add(publication: Publication): void {
    const key = publicationKey(publication)
    if (key === null || publication.kind === 'other') return
    const held = this.#waiting.get(key)
    if (held !== undefined && held.state.version >= publication.state.version) return
    this.#waiting.set(key, publication)
  }

  take(): Publication[] {
    const publications = [...this.#waiting.values()]
    this.#waiting.clear()
    return publications
  }
}

/** Publications have no names; those of the snapshot are kept, with how the student came into the course. */
function withName(state: StudentState, { username, display_name, joined }: Student): Student {
  return { ...state, username, display_name, joined }
}

function upsertHelp(help: readonly HelpState[], changed: ReadonlyMap<string, HelpState>): HelpState[] {
  const known = new Set<string>()
  const next = help.map((request) => {
    known.add(request.request_id)
    const newer = changed.get(request.request_id)
    return newer !== undefined && newer.version > request.version ? newer : request
  })
  for (const request of changed.values()) {
    // Closed ones are kept as well, so that an older state that arrives late is recognised as older.
    if (!known.has(request.request_id)) next.push(request)
  }
  return next
}

function newestByKey<State extends { version: number }>(
  states: readonly State[],
  key: (state: State) => string,
): Map<string, State> {
  const newest = new Map<string, State>()
  for (const state of states) {
    const held = newest.get(key(state))
    if (held === undefined || state.version > held.version) newest.set(key(state), state)
  }
  return newest
}

export function patchSnapshot(snapshot: LiveSnapshot, publications: readonly Publication[]): Patched {
  const students = newestByKey(
    publications.flatMap((item) => (item.kind === 'student' ? [item.state] : [])),
    (state) => state.student_id,
  )
  const help = newestByKey(
    publications.flatMap((item) => (item.kind === 'help' ? [item.state] : [])),
    (state) => state.request_id,
  )
  let next = snapshot
  const unseen = new Set(students.keys())
  if (students.size > 0) {
    const rows = snapshot.students.map((row): Student => {
      const state = students.get(row.student_id)
      unseen.delete(row.student_id)
      return state !== undefined && state.version > row.version ? withName(state, row) : row
    })
    if (rows.some((row, index) => row !== snapshot.students[index])) next = { ...next, students: rows }
  }
  if (help.size > 0) {
    const offsets: Record<string, number> = { ...snapshot.help_offsets }
    for (const item of publications) {
      if (item.kind === 'help') {
        offsets[item.state.request_id] = Math.max(offsets[item.state.request_id] ?? 0, item.offset)
      }
    }
    next = { ...next, help: upsertHelp(snapshot.help, help), help_offsets: offsets }
  }
  for (const item of publications) {
    if (item.kind === 'course' && item.state.version > next.counters.version) next = { ...next, counters: item.state }
  }
  const otherRoster = publications.some((item) => item.kind === 'course') && rosterDiffers(next)
  return { snapshot: next, unknownStudent: unseen.size > 0, otherRoster }
}

/** Apply one changed help request from an answer of the API to the snapshot. */
export function patchHelp(snapshot: LiveSnapshot, request: HelpState): LiveSnapshot {
  return { ...snapshot, help: upsertHelp(snapshot.help, new Map([[request.request_id, request]])) }
}

/**
 * Replace the cached snapshot by a fetched one, except for states that publications have meanwhile brought in a
 * newer version. With another epoch the history of publications is another, and the fetched one is taken unchanged.
 */
export function mergeSnapshot(
  held: LiveSnapshot | undefined,
  fresh: CourseSnapshot,
  receivedAtMs: number,
): LiveSnapshot {
  const generatedAt = Date.parse(fresh.generated_at)
  const merged: LiveSnapshot = {
    ...fresh,
    clock_offset_ms: Number.isNaN(generatedAt) ? 0 : generatedAt - receivedAtMs,
    help_offsets: {},
  }
  if (held?.epoch !== fresh.epoch) return merged
  const rows = new Map(held.students.map((row) => [row.student_id, row]))
  merged.students = fresh.students.map((row) => {
    const known = rows.get(row.student_id)
    if (known === undefined) return row
    return known.version > row.version ? withName(known, row) : row
  })
  const listed = new Set(fresh.help.map((request) => request.request_id))
  const kept = held.help.filter(({ request_id: id, status }) => {
    if (listed.has(id) || (status !== 'open' && status !== 'claimed')) return true
    // A snapshot lists active requests: one that it lacks was closed before it or opened after it.
    return (held.help_offsets[id] ?? held.offset) > fresh.offset
  })
  merged.help = upsertHelp(fresh.help, new Map(kept.map((request) => [request.request_id, request])))
  merged.help_offsets = held.help_offsets
  if (held.counters.version > fresh.counters.version) merged.counters = held.counters
  return merged
}
