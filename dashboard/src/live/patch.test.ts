import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { helpPublication, helpRequest, liveSnapshot, publication, snapshot, student } from '../testing/fixtures'
import { mergeSnapshot, patchHelp, patchSnapshot, PublicationBuffer } from './patch'
import type { Publication } from './protocol'

const ids = ['s1', 's2', 's3']
const base = liveSnapshot({
  students: ids.map((id) => student({ student_id: id, version: 5, display_name: `Name of ${id}` })),
})

function counters(version: number): Publication {
  const state = { ...base.counters, version, runs: version }
  return { channel: 'course:c1', epoch: 'e1', offset: version, kind: 'course', state }
}

/** Publications of three students, two requests and the counters; a version determines its state (runs = version). */
const publications = fc.array(
  fc.oneof(
    fc
      .record({ id: fc.constantFrom(...ids), version: fc.integer({ min: 1, max: 30 }) })
      .map(({ id, version }) => publication(version, { student_id: id, version, runs: version })),
    fc
      .record({ id: fc.constantFrom('h1', 'h2'), version: fc.integer({ min: 1, max: 30 }) })
      .map(({ id, version }) => helpPublication(version, { request_id: id, version, message: String(version) })),
    fc.integer({ min: 1, max: 30 }).map((version) => counters(version)),
  ),
  { maxLength: 40 },
)

function newest(list: readonly Publication[], id: string): number {
  return Math.max(
    0,
    ...list.flatMap((item) =>
      (item.kind === 'student' && item.state.student_id === id) ||
      (item.kind === 'help' && item.state.request_id === id) ||
      (item.kind === 'course' && item.state.course_id === id)
        ? [item.state.version]
        : [],
    ),
  )
}

describe('patching', () => {
  it('ends in the newest state for any order, repetition and batches', () => {
    fc.assert(
      fc.property(publications, fc.infiniteStream(fc.integer({ min: 1, max: 7 })), fc.gen(), (list, sizes, gen) => {
        const repeated = [...list, ...list.filter(() => gen(fc.boolean))]
        const shuffled = gen(fc.shuffledSubarray, repeated, { minLength: repeated.length, maxLength: repeated.length })
        let held = base
        const buffer = new PublicationBuffer()
        const queue = [...shuffled]
        for (const size of sizes) {
          if (queue.length === 0) break
          for (const item of queue.splice(0, size)) buffer.add(item)
          held = patchSnapshot(held, buffer.take()).snapshot
        }
        for (const row of held.students) {
          const version = Math.max(5, newest(list, row.student_id))
          expect(row.version).toBe(version)
          expect(row.runs).toBe(version === 5 ? base.students[0]!.runs : version)
          expect(row.display_name).toBe(`Name of ${row.student_id}`)
        }
        const version = newest(list, 'c1')
        expect(held.counters).toMatchObject(version > 1 ? { version, runs: version } : { version: 1, runs: base.counters.runs })
        for (const id of ['h1', 'h2']) {
          const version = newest(list, id)
          const request = held.help.find((item) => item.request_id === id)
          expect(request?.message).toBe(version === 0 ? undefined : String(version))
          expect(held.help.filter((item) => item.request_id === id).length).toBeLessThanOrEqual(1)
        }
      }),
    )
  })

  it('does not reopen a closed request when an older state arrives late', () => {
    const closed = patchSnapshot(base, [helpPublication(12, { version: 3, status: 'resolved' })]).snapshot
    const late = patchSnapshot(closed, [helpPublication(11, { version: 2, status: 'open' })]).snapshot
    expect(late.help.map((request) => request.status)).toEqual(['resolved'])
  })

  it('keeps the objects of unchanged rows, so that they are not rendered again', () => {
    const patched = patchSnapshot(base, [publication(11, { student_id: 's2', version: 9 })]).snapshot
    expect(patched.students[0]).toBe(base.students[0])
    expect(patched.students[1]).not.toBe(base.students[1])
    expect(patchSnapshot(base, [publication(11, { student_id: 's2', version: 5 })]).snapshot.students).toBe(
      base.students,
    )
  })

  it('reports a student that the snapshot does not have', () => {
    expect(patchSnapshot(base, [publication(11, { student_id: 's9', version: 1 })]).unknownStudent).toBe(true)
    expect(patchSnapshot(base, [publication(11, { student_id: 's1', version: 6 })]).unknownStudent).toBe(false)
  })

  it('applies an answer of the API like a publication', () => {
    const claimed = patchHelp({ ...base, help: [helpRequest()] }, helpRequest({ version: 2, status: 'claimed' }))
    expect(claimed.help.map((request) => request.status)).toEqual(['claimed'])
    expect(patchHelp(claimed, helpRequest()).help.map((request) => request.status)).toEqual(['claimed'])
  })
})

describe('a fresh snapshot', () => {
  const at = Date.parse('2026-04-01T10:40:00Z')

  it('does not revert what publications have changed meanwhile', () => {
    const held = patchSnapshot(base, [publication(14, { student_id: 's1', version: 8, runs: 8 })]).snapshot
    const merged = mergeSnapshot(held, snapshot({ students: base.students, offset: 12 }), at)
    expect(merged.students[0]).toMatchObject({ version: 8, runs: 8, display_name: 'Name of s1' })
    expect(merged.offset).toBe(12)
  })

  it('removes a request that was closed while the page was disconnected', () => {
    const held = patchSnapshot(base, [helpPublication(11)]).snapshot
    expect(mergeSnapshot(held, snapshot({ offset: 40, help: [] }), at).help).toEqual([])
  })

  it('removes a request that the snapshot is as new as, and does not list', () => {
    const held = patchSnapshot(base, [helpPublication(40)]).snapshot
    expect(mergeSnapshot(held, snapshot({ offset: 40, help: [] }), at).help).toEqual([])
  })

  it.each(['resolved', 'cancelled'] as const)('keeps a %s request, so that an older state does not reopen it', (status) => {
    const held = patchSnapshot(base, [helpPublication(11, { version: 3, status })]).snapshot
    const merged = mergeSnapshot(held, snapshot({ offset: 40, help: [] }), at)
    const late = patchSnapshot(merged, [helpPublication(41, { version: 2, status: 'open' })]).snapshot
    expect(late.help.map((request) => request.status)).toEqual([status])
  })

  it('keeps newer counters than its own', () => {
    const held = patchSnapshot(base, [counters(8)]).snapshot
    const older = snapshot({ counters: { ...base.counters, version: 7, runs: 7 } })
    const newer = snapshot({ counters: { ...base.counters, version: 9, runs: 9 } })
    expect(mergeSnapshot(held, older, at).counters.runs).toBe(8)
    expect(mergeSnapshot(held, newer, at).counters.runs).toBe(9)
  })

  it('keeps a request that was opened after the snapshot was taken', () => {
    const held = patchSnapshot(base, [helpPublication(41)]).snapshot
    const merged = mergeSnapshot(held, snapshot({ offset: 40, help: [] }), at)
    expect(merged.help.map((request) => request.request_id)).toEqual(['h1'])
  })

  it('does not reopen a request that was closed after the snapshot was taken', () => {
    const held = patchSnapshot(base, [helpPublication(41, { version: 2, status: 'resolved' })]).snapshot
    const merged = mergeSnapshot(held, snapshot({ offset: 40, help: [helpRequest()] }), at)
    expect(merged.help.map((request) => request.status)).toEqual(['resolved'])
  })

  it('is taken unchanged when the epoch is another', () => {
    const held = patchSnapshot(base, [publication(14, { student_id: 's1', version: 99 })]).snapshot
    expect(mergeSnapshot(held, snapshot({ epoch: 'e2', students: base.students }), at).students[0]?.version).toBe(5)
  })

  it('removes students who are no longer enrolled', () => {
    expect(mergeSnapshot(base, snapshot({ students: base.students.slice(1) }), at).students).toHaveLength(2)
  })

  it('measures the difference of this clock from the server’s', () => {
    expect(mergeSnapshot(undefined, snapshot(), at - 90_000).clock_offset_ms).toBe(90_000)
    expect(mergeSnapshot(undefined, snapshot({ generated_at: '' }), at).clock_offset_ms).toBe(0)
  })
})
