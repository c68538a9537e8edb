import { vi } from 'vitest'

import type { ClientFrame } from '../live/protocol'

/** A fake WebSocket; the test acts as the gateway. */
export class FakeSocket {
  static readonly opened: FakeSocket[] = []
  static readonly CONNECTING = 0
  static readonly OPEN = 1
  static readonly CLOSING = 2
  static readonly CLOSED = 3

  static newest(): FakeSocket {
    const socket = FakeSocket.opened.at(-1)
    if (socket === undefined) throw new Error('no socket was opened')
    return socket
  }

  readyState = FakeSocket.CONNECTING
  readonly sent: ClientFrame[] = []
  onopen: (() => void) | null = null
  onmessage: ((message: { data: unknown }) => void) | null = null
  onclose: ((event: { code: number }) => void) | null = null

  constructor(
    readonly url: string,
    readonly protocol: string,
  ) {
    FakeSocket.opened.push(this)
  }

  send(text: string): void {
    this.sent.push(JSON.parse(text) as ClientFrame)
  }

  close(): void {
    this.readyState = FakeSocket.CLOSED
  }

  /** Open the connection. */
  accept(): void {
    this.readyState = FakeSocket.OPEN
    this.onopen?.()
  }

  frame(frame: unknown): void {
    this.onmessage?.({ data: typeof frame === 'string' ? frame : JSON.stringify(frame) })
  }

  /** Close the connection: a network failure (1006), or the gateway's own code. */
  drop(code = 1006): void {
    this.readyState = FakeSocket.CLOSED
    this.onclose?.({ code })
  }

  /**
   * Answer everything up to live, as a gateway with nothing to recover.
   *
   * @param watermarks - whether the gateway sends them; those of earlier releases do not
   */
  goLive(epoch = 'e1', offset = 10, publications: unknown[] = [], watermarks = false): void {
    this.accept()
    const connect = this.sent.at(-1)
    if (connect?.type !== 'connect') throw new Error('no connect was sent')
    this.frame({ type: 'connected', id: connect.id, ping_interval_s: 25, expires_at: '2026-04-01T11:00:00Z', watermarks })
    const subscribe = this.sent.at(-1)
    if (subscribe?.type !== 'subscribe') throw new Error('no subscribe was sent')
    const { id, channel } = subscribe
    this.frame({ type: 'subscribed', id, channel, epoch, offset, recovered: true, publications })
  }
}

export function installFakeSockets(): void {
  FakeSocket.opened.length = 0
  vi.stubGlobal('WebSocket', FakeSocket)
}
