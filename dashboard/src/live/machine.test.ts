import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { publication } from '../testing/fixtures'
import { connectionOf } from './connection'
import { backoffMs, initialState, step, type LiveEffect, type LiveInput, type LiveState } from './machine'
import type { ServerFrame } from './protocol'

const position = { epoch: 'e1', offset: 10 }

/** A machine with its own clock and the effects of its last step. */
class Rig {
  state: LiveState = initialState('course:c1')
  now = 1_000_000
  /** How much this computer's clock was set by. */
  set = 0
  effects: readonly LiveEffect[] = []

  input(input: LiveInput): this {
    ;[this.state, this.effects] = step(this.state, input, { now: this.now + this.set, monotonic: this.now, random: 0.5 })
    return this
  }

  frame(frame: ServerFrame | null): this {
    return this.input({ type: 'frame', frame })
  }

  after(ms: number): this {
    this.now += ms
    return this
  }

  joining(): this {
    return this.input({ type: 'start', position }).input({ type: 'opened', token: 't1' })
  }

  subscribing(): this {
    return this.joining().frame({ type: 'connected', id: 1, ping_interval_s: 25, expires_at: '', watermarks: false })
  }

  live(): this {
    return this.subscribing().frame(this.subscribed(10))
  }

  subscribed(offset: number, more: Partial<Extract<ServerFrame, { type: 'subscribed' }>> = {}): ServerFrame {
    const id = this.state.awaiting ?? 0
    return {
      type: 'subscribed',
      id,
      channel: 'course:c1',
      epoch: 'e1',
      offset,
      recovered: true,
      publications: [],
      ...more,
    }
  }

  publications(...offsets: number[]): this {
    return this.frame({
      type: 'publications',
      channel: 'course:c1',
      publications: offsets.map((offset) => publication(offset, { version: offset })),
    })
  }

  get kinds(): string[] {
    return this.effects.map((effect) => effect.type)
  }

  effect<Type extends LiveEffect['type']>(type: Type): Extract<LiveEffect, { type: Type }> | undefined {
    return this.effects.find((effect): effect is Extract<LiveEffect, { type: Type }> => effect.type === type)
  }

  timer(name: string): number | undefined {
    return this.effects.find((effect) => effect.type === 'timer' && effect.timer === name)?.type === 'timer'
      ? (this.effects.find((effect) => effect.type === 'timer' && effect.timer === name) as { ms: number }).ms
      : undefined
  }

  get connection() {
    return connectionOf(this.state)
  }
}

describe('joining', () => {
  it('sends the token first, then subscribes from the position of the snapshot', () => {
    const rig = new Rig().joining()
    expect(rig.effect('send')?.frame).toEqual({ type: 'connect', id: 1, token: 't1' })
    rig.frame({ type: 'connected', id: 1, ping_interval_s: 25, expires_at: '', watermarks: false })
    expect(rig.effect('send')?.frame).toEqual({
      type: 'subscribe',
      id: 2,
      channel: 'course:c1',
      epoch: 'e1',
      offset: 10,
    })
    expect(rig.connection.kind).toBe('connecting')
  })

  it('is live only when every missed publication has arrived', () => {
    const rig = new Rig().subscribing()
    rig.frame(rig.subscribed(12, { publications: [publication(11), publication(12)] }))
    expect(rig.connection.kind).toBe('live')
    expect(rig.effect('deliver')?.publications.map((item) => item.offset)).toEqual([11, 12])
    expect(rig.state.position).toEqual({ epoch: 'e1', offset: 12 })
  })

  it.each([
    ['the gateway cannot recover', { recovered: false, offset: 12 }],
    ['a publication is missing inside', { offset: 13, publications: [publication(11), publication(13)] }],
    ['the end is missing', { offset: 12, publications: [publication(11)] }],
    ['the epoch is another', { offset: 10, epoch: 'e2' }],
    ['a publication is of another epoch', { offset: 11, publications: [publication(11, {}, 'e2')] }],
    ['the gateway could not recover, although its offsets match', { offset: 10, recovered: false }],
  ])('fetches the snapshot and subscribes from it when %s', (_, answer) => {
    const rig = new Rig().subscribing()
    rig.frame(rig.subscribed(0, answer))
    expect(rig.kinds).toContain('fetch-snapshot')
    expect(rig.effect('deliver')).toBeUndefined()
    expect(rig.connection.kind).not.toBe('live')
    rig.input({ type: 'snapshot', position: { epoch: 'e2', offset: 20 } })
    expect(rig.effect('send')?.frame).toMatchObject({ type: 'subscribe', epoch: 'e2', offset: 20 })
  })

  it('fetches less and less often when snapshots are always too old', () => {
    const rig = new Rig().subscribing()
    for (let round = 0; round < 2; round += 1) {
      rig.frame(rig.subscribed(99, { recovered: false }))
      expect(rig.kinds).toContain('fetch-snapshot')
      rig.input({ type: 'snapshot', position })
    }
    rig.frame(rig.subscribed(99, { recovered: false }))
    expect(rig.kinds).not.toContain('fetch-snapshot')
    expect(rig.timer('retry')).toBeGreaterThan(0)
    rig.input({ type: 'timer', timer: 'retry' })
    expect(rig.kinds).toContain('fetch-snapshot')
  })

  it('reconnects when a gateway does not answer', () => {
    for (const rig of [new Rig().input({ type: 'start', position }), new Rig().joining(), new Rig().subscribing()]) {
      rig.input({ type: 'timer', timer: 'reply' })
      expect(rig.kinds).toContain('close')
      expect(rig.state.phase).toBe('waiting')
      expect(rig.connection.kind).toBe('reconnecting')
    }
  })
})

describe('while live', () => {
  it('never delivers a publication twice and never skips one', () => {
    const rig = new Rig().live().publications(10, 11)
    expect(rig.effect('deliver')?.publications.map((item) => item.offset)).toEqual([11])
    rig.publications(13)
    expect(rig.effect('deliver')).toBeUndefined()
    expect(rig.kinds).toContain('close')
    expect(rig.connection.kind).toBe('reconnecting')
    expect(rig.state.position).toEqual({ epoch: 'e1', offset: 11 })
  })

  it('delivers nothing of another epoch while live and reconnects from its position', () => {
    const rig = new Rig().live()
    rig.frame({ type: 'publications', channel: 'course:c1', publications: [publication(11, {}, 'e2')] })
    expect(rig.effect('deliver')).toBeUndefined()
    expect(rig.kinds).toContain('close')
    expect(rig.state.position).toEqual(position)
    expect(rig.connection.kind).toBe('reconnecting')
  })

  it('delivers every offset once and in order for any overlap of frames, or reconnects from the last one', () => {
    fc.assert(
      fc.property(fc.array(fc.array(fc.integer({ min: 8, max: 20 }), { maxLength: 4 }), { maxLength: 12 }), (frames) => {
        const rig = new Rig().live()
        const delivered: number[] = []
        for (const offsets of frames) {
          rig.publications(...offsets)
          delivered.push(...(rig.effect('deliver')?.publications.map((item) => item.offset) ?? []))
        }
        expect(delivered).toEqual(delivered.map((_, index) => 11 + index))
        expect(rig.state.position?.offset).toBe(10 + delivered.length)
      }),
    )
  })

  it('answers pings', () => {
    expect(new Rig().live().frame({ type: 'ping' }).effect('send')?.frame).toEqual({ type: 'pong' })
  })

  it('is silent when a ping is late, and live again when one arrives', () => {
    const rig = new Rig().live()
    const verified = rig.now
    rig.after(28_000).input({ type: 'timer', timer: 'watch' })
    expect(rig.connection).toEqual({ kind: 'silent', since: verified, refusal: null })
    rig.after(2_000).frame({ type: 'ping' })
    expect(rig.connection.kind).toBe('live')
    expect(rig.timer('watch')).toBeDefined()
  })

  it('reconnects after 40 seconds of silence', () => {
    const rig = new Rig().live()
    const verified = rig.now
    rig.after(28_000).input({ type: 'timer', timer: 'watch' })
    expect(rig.timer('watch')).toBe(12_000)
    rig.after(12_000).input({ type: 'timer', timer: 'watch' })
    expect(rig.kinds).toContain('close')
    expect(rig.connection).toMatchObject({ kind: 'reconnecting', since: verified })
  })

  it.each([-3_600_000, 0])('notices silence although the clock of this computer was set by %d ms', (set) => {
    const rig = new Rig().live()
    rig.set = set
    rig.after(28_000).input({ type: 'timer', timer: 'watch' })
    expect(rig.connection.kind).toBe('silent')
    rig.after(12_000).input({ type: 'timer', timer: 'watch' })
    expect(rig.connection.kind).toBe('reconnecting')
  })

  it('checks the time when the tab is shown again or the machine resumes', () => {
    const rig = new Rig().live()
    rig.after(3_600_000).input({ type: 'wake' })
    expect(rig.connection.kind).toBe('reconnecting')
  })

  it('sends a new token before the old one expires', () => {
    const rig = new Rig().live().input({ type: 'token', token: 't2' })
    expect(rig.effect('send')?.frame).toMatchObject({ type: 'refresh', token: 't2' })
    expect(rig.connection.kind).toBe('live')
  })

  it('sends a token that arrives while joining', () => {
    const rig = new Rig().joining().input({ type: 'token', token: 't2' })
    rig.frame({ type: 'connected', id: 1, ping_interval_s: 25, expires_at: '', watermarks: false })
    const sent = rig.effects.flatMap((effect) => (effect.type === 'send' ? [effect.frame.type] : []))
    expect(sent).toEqual(['subscribe', 'refresh'])
  })

  it('does not treat a failed refresh as a failed subscription', () => {
    const rig = new Rig().live().input({ type: 'token', token: 't2' })
    rig.frame({ type: 'error', id: 3, error: { type: 'invalid_token', msg: '' } })
    expect(rig.connection.kind).toBe('live')
  })
})

describe('frames and inputs out of place', () => {
  it('ignores replies to other requests than the one awaited', () => {
    const joining = new Rig().joining()
    joining.frame({ type: 'connected', id: 99, ping_interval_s: 25, expires_at: '', watermarks: false })
    expect(joining.state.phase).toBe('joining')
    const subscribing = new Rig().subscribing()
    subscribing.frame({ ...subscribing.subscribed(10), id: 99 } as ServerFrame)
    expect(subscribing.state.phase).toBe('subscribing')
    const live = new Rig().live()
    live.frame({ type: 'connected', id: 1, ping_interval_s: 25, expires_at: '', watermarks: false })
    live.frame({ ...live.subscribed(0), recovered: false } as ServerFrame)
    expect(live.connection.kind).toBe('live')
  })

  it('ignores publications of another channel, and any before it is live', () => {
    const live = new Rig().live()
    live.frame({ type: 'publications', channel: 'course:c2', publications: [publication(11)] })
    expect(live.effect('deliver')).toBeUndefined()
    const subscribing = new Rig().subscribing().publications(11)
    expect(subscribing.effect('deliver')).toBeUndefined()
    expect([live.state.position, subscribing.state.position]).toEqual([position, position])
  })

  it('never uses the id of a request twice on a connection', () => {
    const rig = new Rig().joining().input({ type: 'token', token: 't2' })
    const ids = [rig.state.awaiting]
    const record = (): void => {
      for (const effect of rig.effects) if (effect.type === 'send' && 'id' in effect.frame) ids.push(effect.frame.id)
    }
    rig.frame({ type: 'connected', id: rig.state.awaiting ?? 0, ping_interval_s: 25, expires_at: '', watermarks: false })
    record()
    rig.input({ type: 'token', token: 't3' })
    record()
    rig.frame(rig.subscribed(12, { recovered: false })).input({ type: 'snapshot', position })
    record()
    rig.input({ type: 'token', token: 't4' })
    record()
    expect(ids).toHaveLength(6)
    expect(new Set(ids).size).toBe(6)
  })

  it.each([
    ['waiting', (rig: Rig) => rig.live().input({ type: 'closed', code: 1006 })],
    ['opening', (rig: Rig) => rig.input({ type: 'start', position })],
    ['joining', (rig: Rig) => rig.joining()],
  ] as const)('subscribes from a snapshot that arrives while %s', (phase, prepare) => {
    const rig = prepare(new Rig())
    expect(rig.state.phase).toBe(phase)
    rig.input({ type: 'snapshot', position: { epoch: 'e1', offset: 30 } })
    expect(rig.state.phase).toBe(phase)
    expect(rig.state.position).toEqual({ epoch: 'e1', offset: 30 })
  })

  it('keeps its position when a snapshot arrives while it is subscribing or live', () => {
    for (const rig of [new Rig().subscribing(), new Rig().live()]) {
      rig.input({ type: 'snapshot', position: { epoch: 'e1', offset: 30 } })
      expect(rig.state.position).toEqual(position)
    }
  })

  it('sends a new token on a joined connection only', () => {
    const token = { type: 'token', token: 't2' } as const
    const waiting = new Rig().live().input({ type: 'closed', code: 1006 })
    const opening = new Rig().input({ type: 'start', position })
    const refused = new Rig().live().input({ type: 'closed', code: 3507 })
    for (const rig of [waiting, opening, refused]) expect(rig.input(token).effects).toEqual([])
    const resyncing = new Rig().subscribing()
    resyncing.frame(resyncing.subscribed(12, { recovered: false }))
    expect(resyncing.input(token).effect('send')?.frame).toMatchObject({ type: 'refresh', token: 't2' })
  })

  it('stays live when another fetch of the snapshot fails, or a person retries', () => {
    const rig = new Rig().live().input({ type: 'snapshot-failed' }).input({ type: 'retry' })
    expect(rig.connection.kind).toBe('live')
    expect(rig.effects).toEqual([])
  })

  it.each([
    [3000, null, 'waiting'],
    [3000, 3507, 'waiting'],
    [3999, null, 'refused'],
    [3999, 3001, 'refused'],
    [1006, 3507, 'refused'],
    [4000, 3507, 'refused'],
    [2999, null, 'waiting'],
  ] as const)('after a close with %s, announced as %s, it is %s', (code, announced, phase) => {
    const rig = new Rig().live()
    if (announced !== null) rig.frame({ type: 'disconnect', code: announced, reason: '', reconnect_after_ms: null })
    rig.input({ type: 'closed', code })
    expect(rig.state.phase).toBe(phase)
    // The close of a socket that was aborted changes nothing.
    rig.input({ type: 'closed', code: phase === 'refused' ? 1006 : 3507 })
    expect(rig.state.phase).toBe(phase)
    expect(rig.effects).toEqual([])
  })
})

describe('losing the connection', () => {
  it('keeps the time until which the page was complete', () => {
    const rig = new Rig().live()
    rig.after(5_000).frame({ type: 'ping' })
    const verified = rig.now
    rig.after(20_000).input({ type: 'closed', code: 1006 })
    rig.after(60_000).input({ type: 'timer', timer: 'retry' }).input({ type: 'opened', token: 't1' })
    expect(rig.connection).toEqual({ kind: 'reconnecting', since: verified, refusal: null })
  })

  it('reconnects after the delay that the gateway announced', () => {
    const rig = new Rig().live()
    rig.frame({ type: 'disconnect', code: 3001, reason: 'shutdown', reconnect_after_ms: 850 })
    rig.input({ type: 'closed', code: 3001 })
    expect(rig.timer('retry')).toBe(850 + 125)
  })

  it('reconnects with growing delays while gateways are full', () => {
    // A browser does not report a refused handshake (503): the socket closes with 1006 and was never open.
    const rig = new Rig().live().input({ type: 'closed', code: 1006 })
    const waits = [1, 2, 3, 4].map(() => {
      rig.input({ type: 'timer', timer: 'retry' })
      expect(rig.kinds).toContain('open')
      rig.input({ type: 'closed', code: 1006 })
      expect(rig.connection.kind).toBe('reconnecting')
      return rig.timer('retry') ?? 0
    })
    expect(waits).toEqual(waits.toSorted((a, b) => a - b))
    expect(new Set(waits).size).toBe(4)
    rig.input({ type: 'timer', timer: 'retry' }).input({ type: 'opened', token: 't1' })
    expect(rig.effect('send')?.frame).toMatchObject({ type: 'connect' })
  })

  it('does not reconnect after a final close code until a person retries', () => {
    const rig = new Rig().live().input({ type: 'closed', code: 3507 })
    expect(rig.connection).toMatchObject({ kind: 'refused', refusal: '3507' })
    for (const input of [{ type: 'online' }, { type: 'wake' }, { type: 'timer', timer: 'retry' }] as const) {
      expect(rig.input(input).kinds).not.toContain('open')
    }
    expect(rig.input({ type: 'retry' }).kinds).toContain('open')
  })

  it('uses the announced code when a proxy removes the close code', () => {
    const rig = new Rig().live()
    rig.frame({ type: 'disconnect', code: 3507, reason: 'permission_denied', reconnect_after_ms: null })
    rig.input({ type: 'closed', code: 1005 })
    expect(rig.connection.kind).toBe('refused')
  })

  it('stops at a channel that it may not subscribe to', () => {
    const rig = new Rig().subscribing()
    rig.frame({ type: 'error', id: 2, error: { type: 'permission_denied', msg: '' } })
    expect(rig.connection).toMatchObject({ kind: 'refused', refusal: '3507' })
  })

  it('is offline at once without network, and reconnects at once when it returns', () => {
    const rig = new Rig().live().input({ type: 'offline' })
    expect(rig.connection.kind).toBe('offline')
    expect(rig.input({ type: 'online' }).kinds).toContain('open')
  })

  it('still connects to a server on this machine while the browser is offline', () => {
    const rig = new Rig().live().input({ type: 'offline' }).input({ type: 'timer', timer: 'retry' })
    expect(rig.kinds).toContain('open')
  })

  it('closes a connection that violates the protocol', () => {
    const rig = new Rig().live().frame(null)
    expect(rig.kinds).toContain('close')
    expect(rig.connection.kind).toBe('reconnecting')
  })

  it('spreads the attempts and bounds the delays', () => {
    fc.assert(
      fc.property(fc.nat(1000), fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (attempt, random) => {
        const ms = backoffMs(attempt, random)
        expect(ms).toBeGreaterThanOrEqual(100)
        expect(ms).toBeLessThanOrEqual(30_000)
      }),
    )
    expect(backoffMs(8, 0)).toBe(100)
  })
})

it('is live only while it is subscribed, for any inputs in any order', () => {
  const frame = fc.constantFrom<ServerFrame | null>(
    null,
    { type: 'ping' },
    { type: 'connected', id: 1, ping_interval_s: 25, expires_at: '', watermarks: false },
    { type: 'subscribed', id: 2, channel: 'course:c1', epoch: 'e1', offset: 10, recovered: true, publications: [] },
    { type: 'subscribed', id: 2, channel: 'course:c1', epoch: 'e9', offset: 3, recovered: false, publications: [] },
    { type: 'publications', channel: 'course:c1', publications: [publication(11)] },
    { type: 'publications', channel: 'course:c1', publications: [publication(15)] },
    { type: 'disconnect', code: 3001, reason: '', reconnect_after_ms: 10 },
    { type: 'error', id: 2, error: { type: 'unavailable', msg: '' } },
  )
  const input = fc.oneof(
    frame.map((value): LiveInput => ({ type: 'frame', frame: value })),
    fc.constantFrom<LiveInput>(
      { type: 'opened', token: 't' },
      { type: 'closed', code: 1006 },
      { type: 'closed', code: 3507 },
      { type: 'timer', timer: 'retry' },
      { type: 'timer', timer: 'reply' },
      { type: 'timer', timer: 'watch' },
      { type: 'snapshot', position },
      { type: 'snapshot-failed' },
      { type: 'online' },
      { type: 'offline' },
      { type: 'wake' },
      { type: 'token', token: 't3' },
    ),
  )
  fc.assert(
    fc.property(fc.array(fc.tuple(input, fc.nat(30_000)), { maxLength: 60 }), (inputs) => {
      const rig = new Rig().input({ type: 'start', position })
      let open = true
      for (const [next, ms] of inputs) {
        rig.after(ms).input(next)
        for (const effect of rig.effects) {
          if (effect.type === 'close') open = false
          if (effect.type === 'open') open = true
        }
        if (rig.connection.kind === 'live') {
          expect(open).toBe(true)
          expect(rig.state.phase).toBe('live')
        }
        // It never deadlocks: a reply is awaited, a timer runs, or a person has to act.
        if (rig.state.phase === 'waiting') expect(open).toBe(false)
      }
    }),
    { numRuns: 300 },
  )
})

describe('watermarks', () => {
  const confirming = (): Rig => {
    const rig = new Rig().joining().frame({ type: 'connected', id: 1, ping_interval_s: 25, expires_at: '', watermarks: true })
    return rig.frame(rig.subscribed(10))
  }
  /** A watermark that was made `age` ms before it was published, and arrives at once. */
  const mark = (rig: Rig, age = 50, more: Partial<Extract<ServerFrame, { type: 'watermark' }>> = {}): Rig =>
    rig.frame({
      type: 'watermark',
      channel: 'course:c1',
      epoch: 'e1',
      offset: 10,
      at: rig.now + 9e11 - age,
      published_at: rig.now + 9e11,
      ...more,
    })

  it('are what makes the page live: the connection alone does not', () => {
    const rig = confirming()
    expect(rig.connection.kind).toBe('connecting')
    expect(rig.timer('fresh')).toBe(3_000)
    expect(mark(rig).connection.kind).toBe('live')
    expect(rig.timer('fresh')).toBe(2_950)
  })

  it('that never come leave it delayed by an unknown time', () => {
    const rig = confirming().after(3_000).input({ type: 'timer', timer: 'fresh' })
    expect(rig.connection).toEqual({ kind: 'delayed', since: 1_000_000, provenAt: null, refusal: null })
  })

  it('that stop while publications go on leave it delayed since the last one', () => {
    const rig = mark(confirming())
    rig.after(2_000).publications(11).after(950).input({ type: 'timer', timer: 'fresh' })
    expect(rig.connection).toMatchObject({ kind: 'delayed', since: 999_950, provenAt: 999_950 })
    expect(mark(rig, 50, { offset: 11 }).connection.kind).toBe('live')
  })

  it('that are old show by how much, and the page is live when the backlog is done', () => {
    const rig = mark(confirming(), 45_000)
    expect(rig.connection).toMatchObject({ kind: 'delayed', provenAt: 955_000 })
    expect(mark(rig.after(500), 10_000).connection).toMatchObject({ kind: 'delayed', provenAt: 990_500 })
    expect(mark(rig.after(500), 40).connection.kind).toBe('live')
  })

  it('count nothing when the page lacks a publication that precedes them: it recovers', () => {
    const rig = mark(confirming(), 50, { offset: 11 })
    expect(rig.kinds).toContain('close')
    expect(rig.connection.kind).not.toBe('live')
  })

  it.each([{ epoch: 'e2' }, { channel: 'course:c2' }])('of %o count nothing', (other) => {
    expect(mark(confirming(), 50, other).connection.kind).toBe('connecting')
  })

  it('are asked for again after a reconnection', () => {
    const rig = mark(confirming()).input({ type: 'closed', code: 1006 })
    expect(rig.connection).toMatchObject({ kind: 'reconnecting', since: 999_950 })
    rig.after(20_000).input({ type: 'timer', timer: 'retry' }).input({ type: 'opened', token: 't1' })
    rig.frame({ type: 'connected', id: rig.state.awaiting ?? 0, ping_interval_s: 25, expires_at: '', watermarks: true })
    rig.frame(rig.subscribed(10))
    expect(rig.connection).toMatchObject({ kind: 'reconnecting', since: 999_950 })
    expect(mark(rig).connection.kind).toBe('live')
  })

  it('are judged at once when a suspended tab is shown again', () => {
    const rig = mark(confirming()).after(20_000).input({ type: 'wake' })
    expect(rig.connection.kind).toBe('delayed')
  })
})
