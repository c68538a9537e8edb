/**
 * What a publication does to the cached snapshot. Pure, and the same whatever order or however often publications
 * arrive: of two states of one thing the one with the higher version stands.
 */

import type { CourseSnapshot, HelpState, Student, StudentState } from '../api/types'
import type { Publication } from './protocol'

type StatePublication = Exclude<Publication, { kind: 'other' }>

/** The snapshot as cached, with how far this browser's clock is behind the server's. */
export interface LiveSnapshot extends CourseSnapshot {
  /** Add to `Date.now()` to get the server's time; milliseconds. */
  clock_offset_ms: number
  /** Offset of the publication that last brought each help request; those of the snapshot itself are not listed. */
  help_offsets: Readonly<Record<string, number>>
}

export interface Patched {
  snapshot: LiveSnapshot
  /** A state came for a student that the snapshot does not know: somebody joined, fetch it again. */
  unknownStudent: boolean
}

/** Which thing a publication is about, so that newer ones can take the place of older ones while they wait. */
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

/** Publications that wait for the next frame, at most one for each thing. */
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

/** Publications carry no names; they stay as the snapshot has them. */
function withName(state: StudentState, { username, display_name }: Student): Student {
  return { ...state, username, display_name }
}

function upsertHelp(help: readonly HelpState[], changed: ReadonlyMap<string, HelpState>): HelpState[] {
  const known = new Set<string>()
  const next = help.map((request) => {
    known.add(request.request_id)
    const newer = changed.get(request.request_id)
    return newer !== undefined && newer.version > request.version ? newer : request
  })
  for (const request of changed.values()) {
    // Closed ones are kept as well: an older state that arrives late must find something newer than itself.
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
  return { snapshot: next, unknownStudent: unseen.size > 0 }
}

/** Take one changed help request, as an answer of the API has it, into the snapshot. */
export function patchHelp(snapshot: LiveSnapshot, request: HelpState): LiveSnapshot {
  return { ...snapshot, help: upsertHelp(snapshot.help, new Map([[request.request_id, request]])) }
}

/**
 * A freshly fetched snapshot takes the place of the held one, except for what publications have meanwhile brought in a
 * newer version. With another epoch the publications' history has begun anew, and the fresh one stands as it is.
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
    if (listed.has(id) || status === 'resolved' || status === 'cancelled') return true
    // A snapshot lists what is open. What it lacks was closed before it, unless it was opened after it.
    return (held.help_offsets[id] ?? held.offset) > fresh.offset
  })
  merged.help = upsertHelp(fresh.help, new Map(kept.map((request) => [request.request_id, request])))
  merged.help_offsets = held.help_offsets
  if (held.counters.version > fresh.counters.version) merged.counters = held.counters
  return merged
}
