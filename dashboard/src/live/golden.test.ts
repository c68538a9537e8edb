/**
 * Hazard: the gateway or the worker changes what it sends, the contract's examples follow, and this page does not.
 * The examples are those that the gateway's own tests write and read: `tests/contract/golden`.
 */

import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'

import { describe, expect, it } from 'vitest'

import type { CourseState, HelpState } from '../api/types'
import { execution, helpRequest, liveSnapshot, snapshot, state, student } from '../testing/fixtures'
import { initialState, step, type LiveEffect, type LiveInput } from './machine'
import { patchSnapshot } from './patch'
import { readFrame, type Publication, type ServerFrame } from './protocol'

type Json = Record<string, unknown>

function golden(name: string): unknown {
  return JSON.parse(readFileSync(resolve('../tests/contract/golden', name), 'utf8'))
}

const frames = golden('websocket_frames.json') as { client: Json[]; server: Json[] }
const publications = golden('publications.json') as (Json & { kind: string; state: Json })[]

function clientFrame(type: string, more: (frame: Json) => boolean = () => true): Json {
  const found = frames.client.find((frame) => frame['type'] === type && more(frame))
  if (found === undefined) throw new Error(`no golden frame ${type}`)
  return found
}

function read(frame: Json): ServerFrame | null {
  return readFrame(JSON.stringify(frame))
}

function published(kind: string): Json & { state: Json } {
  const found = publications.find((item) => item.kind === kind)
  if (found === undefined) throw new Error(`no golden publication ${kind}`)
  return found
}

/** The publications that the page reads from one frame of the gateway's. */
function received(...sent: Json[]): Publication[] {
  const frame = read({ type: 'publications', channel: 'course:python-101', publications: sent })
  if (frame?.type !== 'publications') throw new Error('the frame is not read')
  return frame.publications
}

/** What the machine sends for a run of inputs. */
function sent(...inputs: LiveInput[]): Json[] {
  let machine = initialState('course:python-101')
  const all: Json[] = []
  for (const input of inputs) {
    let effects: readonly LiveEffect[]
    ;[machine, effects] = step(machine, input, { now: 1_000, monotonic: 1_000, random: 0.5 })
    all.push(...effects.flatMap((effect) => (effect.type === 'send' ? [{ ...effect.frame }] : [])))
  }
  return all
}

describe('frames of the gateway', () => {
  const unused = ['presence', 'unsubscribed']

  it.each(frames.server.filter((frame) => !unused.includes(String(frame['type']))))(
    'reads every field of $type',
    (frame) => {
      // Of `refreshed` the page reads the id only.
      const expected = frame['type'] === 'refreshed' ? { type: 'refreshed', id: frame['id'] } : frame
      expect(read(frame)).toEqual(expected)
    },
  )

  it('accepts the replies to requests that this page does not send', () => {
    for (const type of unused) {
      expect(frames.server.filter((frame) => frame['type'] === type).map(read)).toEqual([{ type: 'other' }])
    }
  })
})

describe('frames of this page', () => {
  const token = 'header.payload.signature'
  const frame = (type: string): LiveInput => ({
    type: 'frame',
    frame: read(frames.server.find((item) => item['type'] === type) ?? {}),
  })

  it('are those that the gateway reads', () => {
    const position = { epoch: '9f1c2d3e4a5b6c7d', offset: 42 }
    const all = sent(
      { type: 'start', position },
      { type: 'opened', token },
      frame('connected'),
      frame('subscribed'),
      frame('ping'),
      { type: 'token', token },
    )
    const subscribe = clientFrame('subscribe', (item) => 'epoch' in item)
    expect(all).toEqual([
      { ...clientFrame('connect'), id: 1 },
      { ...subscribe, id: 2, offset: 42 },
      clientFrame('pong'),
      { ...clientFrame('refresh'), id: 3 },
    ])
  })
})

describe('publications', () => {
  it('have the fields of the types that the pages are built with, no more and no fewer', () => {
    const counters: CourseState = snapshot().counters
    const request: HelpState = helpRequest()
    expect(Object.keys(published('student').state).sort()).toEqual(Object.keys(state()).sort())
    expect(Object.keys(published('student').state['last_execution'] as Json).sort()).toEqual(
      Object.keys(execution()).sort(),
    )
    expect(Object.keys(published('help').state).sort()).toEqual(Object.keys(request).sort())
    expect(Object.keys(published('course').state).sort()).toEqual(Object.keys(counters).sort())
  })

  it('change the row, the request and the counters on screen', () => {
    const id = String(published('student').state['student_id'])
    const held = liveSnapshot({ students: [student({ student_id: id, display_name: 'Aiko Tanaka' })] })
    const { snapshot: shown, unknownStudent } = patchSnapshot(
      held,
      received(published('student'), published('help'), published('course')),
    )
    expect(unknownStudent).toBe(false)
    expect(shown.students).toEqual([
      expect.objectContaining({
        display_name: 'Aiko Tanaka',
        status: 'error',
        error_streak: 3,
        streak_error: 'ZeroDivisionError',
        cell: { source_id: 'task-2', index: 4, type: 'code', heading: 'Loops', ordinal: 2 },
      }),
    ])
    expect(shown.help).toEqual([expect.objectContaining({ status: 'claimed', message: 'Why does this divide by zero?' })])
    expect(shown.counters).toMatchObject({ runs: 412, errors: 97, help_open: 2 })
  })

  it('of a kind that this page does not show keep their number', () => {
    expect(received(published('test'))).toEqual([
      { channel: 'test:smoke-1', epoch: '0011223344556677', offset: 1, kind: 'other' },
    ])
  })
})
