import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

import { counterPublication, liveSnapshot, publication, student } from '../testing/fixtures'
import { FakeSocket, installFakeSockets } from '../testing/sockets'
import { LiveClient } from './client'
import type { LiveSnapshot } from './patch'

const start = { epoch: 'e1', offset: 10 }

function page(changes: { token?: string | null } = {}) {
  const written: LiveSnapshot[] = []
  let held = liveSnapshot({ students: [student({ student_id: 's1' }), student({ student_id: 's2' })] })
  const ports = {
    session: { fresh: vi.fn(() => Promise.resolve(changes.token === undefined ? 't1' : changes.token)) },
    url: () => Promise.resolve('ws://gateway.test/ws'),
    fetchSnapshot: vi.fn(() => Promise.resolve({ epoch: 'e2', offset: 30 })),
    readSnapshot: () => held,
    writeSnapshot: (snapshot: LiveSnapshot) => {
      held = snapshot
      written.push(snapshot)
    },
  }
  return { written, ports, client: new LiveClient('course:c1', ports) }
}

const settle = () => vi.advanceTimersByTimeAsync(0)
const frame = () => vi.advanceTimersByTimeAsync(20)

function hide(hidden: boolean): void {
  Object.defineProperty(document, 'visibilityState', { value: hidden ? 'hidden' : 'visible', configurable: true })
  document.dispatchEvent(new Event('visibilitychange'))
}

beforeEach(() => {
  vi.useFakeTimers()
  installFakeSockets()
})

afterEach(() => {
  hide(false)
  vi.useRealTimers()
})

describe('live client', () => {
  it('opens one socket with the subprotocol and shows what arrives in one frame at once', async () => {
    const { client, written } = page()
    client.start(start)
    await settle()
    const socket = FakeSocket.newest()
    expect([socket.url, socket.protocol]).toEqual(['ws://gateway.test/ws', 'cell-monitor.v1'])
    socket.goLive()
    expect(client.connection().kind).toBe('live')
    for (const offset of [11, 12, 13]) {
      socket.frame({
        type: 'publications',
        channel: 'course:c1',
        publications: [publication(offset, { version: offset, student_id: offset === 12 ? 's2' : 's1' })],
      })
    }
    expect(written).toEqual([])
    await frame()
    expect(written).toHaveLength(1)
    expect(written[0]?.students.map((row) => [row.student_id, row.version])).toEqual([
      ['s1', 13],
      ['s2', 12],
    ])
    client.stop()
  })

  it('shows a lost connection at once and resumes from its position', async () => {
    const { client } = page()
    client.start(start)
    await settle()
    FakeSocket.newest().goLive()
    const seen: string[] = []
    client.subscribe(() => seen.push(client.connection().kind))
    FakeSocket.newest().frame({ type: 'publications', channel: 'course:c1', publications: [publication(11)] })
    FakeSocket.newest().drop()
    expect(seen).toEqual(['reconnecting'])
    await vi.advanceTimersByTimeAsync(1_000)
    const next = FakeSocket.newest()
    expect(FakeSocket.opened).toHaveLength(2)
    next.goLive('e1', 11)
    expect(next.sent[1]).toMatchObject({ type: 'subscribe', epoch: 'e1', offset: 11 })
    expect(client.connection().kind).toBe('live')
    client.stop()
  })

  it('fetches the snapshot when the gateway cannot fill the gap', async () => {
    const { client, ports } = page()
    client.start(start)
    await settle()
    const socket = FakeSocket.newest()
    socket.accept()
    socket.frame({ type: 'connected', id: 1, ping_interval_s: 25, expires_at: '' })
    socket.frame({ type: 'subscribed', id: 2, channel: 'course:c1', epoch: 'e2', offset: 30, recovered: false })
    await settle()
    expect(ports.fetchSnapshot).toHaveBeenCalledOnce()
    expect(socket.sent.at(-1)).toMatchObject({ type: 'subscribe', epoch: 'e2', offset: 30 })
    client.stop()
  })

  it('fetches the snapshot once for students that it does not have, and keeps what it has of the others', async () => {
    const { client, written, ports } = page()
    client.start(start)
    await settle()
    FakeSocket.newest().goLive()
    for (const [offset, id] of [[11, 's8'], [12, 's9'], [13, 's1']] as const) {
      FakeSocket.newest().frame({
        type: 'publications',
        channel: 'course:c1',
        publications: [publication(offset, { version: offset, student_id: id })],
      })
      await frame()
    }
    expect(written.at(-1)?.students.map((row) => [row.student_id, row.version])).toEqual([
      ['s1', 13],
      ['s2', 1],
    ])
    await vi.advanceTimersByTimeAsync(3_000)
    expect(ports.fetchSnapshot).toHaveBeenCalledOnce()
    client.stop()
  })

  async function countersArrive(offset: number, students: number): Promise<void> {
    FakeSocket.newest().frame({
      type: 'publications',
      channel: 'course:c1',
      publications: [counterPublication(offset, { students })],
    })
    await frame()
  }

  it.each([
    ['removed', 1],
    ['added', 3],
  ])('fetches the snapshot when the counters say that a student was %s', async (_, students) => {
    const { client, ports } = page()
    client.start(start)
    await settle()
    FakeSocket.newest().goLive()
    await countersArrive(11, 2)
    await vi.advanceTimersByTimeAsync(3_000)
    expect(ports.fetchSnapshot).not.toHaveBeenCalled()
    await countersArrive(12, students)
    await countersArrive(13, students)
    await vi.advanceTimersByTimeAsync(3_000)
    expect(ports.fetchSnapshot).toHaveBeenCalledOnce()
    client.stop()
  })

  it('fetches the snapshot again after a change that follows soon, and after a fetch that failed', async () => {
    const { client, ports } = page()
    client.start(start)
    await settle()
    FakeSocket.newest().goLive()
    let students = 2
    ports.fetchSnapshot.mockImplementation(() => {
      const rows = Array.from({ length: students }, (_, index) => student({ student_id: `s${index + 1}` }))
      ports.writeSnapshot({ ...ports.readSnapshot(), students: rows })
      return Promise.resolve({ epoch: 'e1', offset: 12 })
    })
    ports.fetchSnapshot.mockRejectedValueOnce(new Error('no answer'))
    for (const [offset, count] of [[11, 1], [12, 1], [13, 2]] as const) {
      students = count
      await countersArrive(offset, count)
      await vi.advanceTimersByTimeAsync(3_000)
    }
    expect(ports.fetchSnapshot).toHaveBeenCalledTimes(3)
    expect(ports.readSnapshot().students).toHaveLength(2)
    client.stop()
  })

  it('does not fetch on and on when counters and snapshot keep differing', async () => {
    const { client, ports } = page()
    client.start(start)
    await settle()
    FakeSocket.newest().goLive()
    for (let second = 0; second < 240; second += 1) {
      if (second % 20 === 0) FakeSocket.newest().frame({ type: 'ping' })
      await countersArrive(11 + second, 7)
      await vi.advanceTimersByTimeAsync(980)
    }
    expect(ports.fetchSnapshot.mock.calls.length).toBeGreaterThan(1)
    expect(ports.fetchSnapshot.mock.calls.length).toBeLessThan(8)
    client.stop()
  })

  it('detects a connection that is open but receives nothing', async () => {
    const { client } = page()
    client.start(start)
    await settle()
    FakeSocket.newest().goLive()
    await vi.advanceTimersByTimeAsync(28_100)
    expect(client.connection().kind).toBe('silent')
    await vi.advanceTimersByTimeAsync(12_000)
    expect(client.connection().kind).toBe('reconnecting')
    await vi.advanceTimersByTimeAsync(1_000)
    expect(FakeSocket.opened).toHaveLength(2)
    client.stop()
  })

  it('stays live while pings arrive, and answers each', async () => {
    const { client } = page()
    client.start(start)
    await settle()
    const socket = FakeSocket.newest()
    socket.goLive()
    for (let ping = 0; ping < 20; ping += 1) {
      await vi.advanceTimersByTimeAsync(25_000)
      socket.frame({ type: 'ping' })
      expect(client.connection().kind).toBe('live')
    }
    expect(socket.sent.filter((sent) => sent.type === 'pong')).toHaveLength(20)
    client.stop()
  })

  it('receives in a hidden tab, without animation frames, and is up to date when shown', async () => {
    const { client, written } = page()
    client.start(start)
    await settle()
    FakeSocket.newest().goLive()
    hide(true)
    FakeSocket.newest().frame({ type: 'publications', channel: 'course:c1', publications: [publication(11, { version: 11 })] })
    await frame()
    expect(written).toHaveLength(0)
    hide(false)
    expect(written).toHaveLength(1)
    client.stop()
  })

  it('ignores frames and closes of a socket that it has abandoned', async () => {
    const { client, written } = page()
    client.start(start)
    await settle()
    const old = FakeSocket.newest()
    old.goLive()
    window.dispatchEvent(new Event('offline'))
    expect(client.connection().kind).toBe('offline')
    window.dispatchEvent(new Event('online'))
    await settle()
    old.frame({ type: 'publications', channel: 'course:c1', publications: [publication(11)] })
    old.drop(3507)
    await frame()
    expect(written).toEqual([])
    expect(client.connection().kind).not.toBe('refused')
    FakeSocket.newest().goLive()
    expect(client.connection().kind).toBe('live')
    client.stop()
  })

  it('retries later when there is no token', async () => {
    const { client, ports } = page({ token: null })
    client.start(start)
    await settle()
    expect(FakeSocket.opened).toHaveLength(0)
    expect(client.connection().kind).toBe('reconnecting')
    ports.session.fresh.mockImplementation(() => Promise.resolve('t2'))
    await vi.advanceTimersByTimeAsync(2_000)
    expect(FakeSocket.opened).toHaveLength(1)
    client.stop()
  })

  it('leaves nothing running when it is stopped', async () => {
    const { client } = page()
    client.start(start)
    await settle()
    FakeSocket.newest().goLive()
    FakeSocket.newest().frame({ type: 'publications', channel: 'course:c1', publications: [publication(11)] })
    client.stop()
    expect(FakeSocket.newest().readyState).toBe(FakeSocket.CLOSED)
    expect(vi.getTimerCount()).toBe(0)
    await vi.advanceTimersByTimeAsync(120_000)
    expect(FakeSocket.opened).toHaveLength(1)
  })
})
