import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { closeCodes, reconnectsAfter, readFrame, socketUrl } from './protocol'

const page = 'https://lab.example.edu/courses/c1'

describe('frames', () => {
  it('never throws on any input', () => {
    fc.assert(
      fc.property(fc.oneof(fc.anything(), fc.string(), fc.jsonValue().map((value) => JSON.stringify(value))), (data) => {
        readFrame(data)
      }),
    )
  })

  it('rejects a list with one unreadable publication, which would hide a gap', () => {
    const good = { channel: 'course:c1', epoch: 'e', offset: 1, kind: 'student', state: { student_id: 's', version: 1 } }
    const frame = (publications: unknown) => JSON.stringify({ type: 'publications', channel: 'course:c1', publications })
    expect(readFrame(frame([good]))).not.toBeNull()
    for (const bad of [{}, { ...good, offset: '2' }, { ...good, state: { version: 1 } }, { ...good, state: null }, null]) {
      expect(readFrame(frame([good, bad]))).toBeNull()
    }
  })

  it('keeps the offset of an unknown kind', () => {
    const publications = [{ channel: 'course:c1', epoch: 'e', offset: 7, kind: 'lesson', state: {} }]
    expect(readFrame(JSON.stringify({ type: 'publications', channel: 'course:c1', publications }))).toMatchObject({
      publications: [{ kind: 'other', offset: 7 }],
    })
  })

  it('accepts a frame of an unknown type', () => {
    expect(readFrame('{"type":"weather"}')).toEqual({ type: 'other' })
  })
})

describe('close codes', () => {
  it('reconnect after those below 3500 and after a network failure only', () => {
    const back = Object.entries(closeCodes).filter(([, code]) => reconnectsAfter(code))
    expect(back.map(([name]) => name).sort()).toEqual(
      ['shutdown', 'expired', 'slow', 'insufficientState', 'noPong', 'tooManyRequests'].sort(),
    )
    expect([1000, 1001, 1006, 1011].every(reconnectsAfter)).toBe(true)
    expect([3500, 3999].some(reconnectsAfter)).toBe(false)
  })
})

describe('address of the gateway', () => {
  it.each([
    ['/ws', 'wss://lab.example.edu/ws'],
    ['', 'wss://lab.example.edu/ws'],
    ['https://gateway.example.edu', 'wss://gateway.example.edu/ws'],
    ['wss://gateway.example.edu/live/ws', 'wss://gateway.example.edu/live/ws'],
    ['http://127.0.0.1:8901', 'ws://127.0.0.1:8901/ws'],
  ])('reads %j as %s', (configured, expected) => {
    expect(socketUrl(configured, page)).toBe(expected)
  })
})
