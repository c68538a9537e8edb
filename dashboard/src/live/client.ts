import type { Session } from '../api/session'
import { connectionOf, type Connection } from './connection'
import { initialState, step, type LiveEffect, type LiveInput, type TimerName } from './machine'
import { patchSnapshot, PublicationBuffer, rosterDiffers, type LiveSnapshot } from './patch'
import { readFrame, SUBPROTOCOL, type Position } from './protocol'

/** The client's dependencies. */
export interface LivePorts {
  session: Pick<Session, 'fresh'>
  /** Full address of the gateway's WebSocket. */
  url: () => Promise<string>
  /** Fetch the snapshot into the cache and return its position. */
  fetchSnapshot: () => Promise<Position>
  /** The cached snapshot; undefined while there is none. */
  readSnapshot: () => LiveSnapshot | undefined
  /** Called at most once a frame. */
  writeSnapshot: (snapshot: LiveSnapshot) => void
}

/** Minimum remaining lifetime of the token that a socket is opened with. */
const TOKEN_MIN_MS = 30_000
/** Maximum delay of the snapshot that is fetched because the cached one lists other students than the course has. */
const REFETCH_PAUSE_MS = 3_000
/** How long the counters are not believed after a fetched snapshot differed from them too: at first, and at most. */
const DIFFERENT_PAUSE_MS = 5_000
const DIFFERENT_PAUSE_MAX_MS = 120_000
/** Hidden tabs get no animation frames; they still count help requests in their title. */
const HIDDEN_FLUSH_MS = 1_000

/**
 * Carries out the effects of the state machine: one socket, four timers, and a buffer of publications that patches
 * the cached snapshot once a frame.
 * `subscribe`/`connection` make it a store for `useSyncExternalStore`.
 */
export class LiveClient {
  readonly #ports: LivePorts
  #state
  #connection: Connection
  #socket: WebSocket | null = null
  /** Incremented by every `open` and `close`, so that callbacks of an earlier socket are ignored. */
  #attempt = 0
  readonly #timers = new Map<TimerName, ReturnType<typeof setTimeout>>()
  readonly #buffer = new PublicationBuffer()
  #cancelFlush: (() => void) | null = null
  #refetchTimer: ReturnType<typeof setTimeout> | undefined
  /** From when on counters that differ from the list cause a fetch, by the monotonic clock, and the newest pause. */
  #different = { from: 0, pauseMs: 0 }
  readonly #listeners = new Set<() => void>()

  constructor(channel: string, ports: LivePorts) {
    this.#ports = ports
    this.#state = initialState(channel)
    this.#connection = connectionOf(this.#state)
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  readonly connection = (): Connection => this.#connection

  start(position: Position): void {
    addEventListener('online', this.#online)
    addEventListener('offline', this.#offline)
    addEventListener('pageshow', this.#wake)
    document.addEventListener('visibilitychange', this.#visibility)
    this.#input({ type: 'start', position })
  }

  stop(): void {
    removeEventListener('online', this.#online)
    removeEventListener('offline', this.#offline)
    removeEventListener('pageshow', this.#wake)
    document.removeEventListener('visibilitychange', this.#visibility)
    this.#cancelFlush?.()
    this.#cancelFlush = null
    clearTimeout(this.#refetchTimer)
    this.#refetchTimer = undefined
    this.#input({ type: 'stop' })
  }

  /** The session has a new token: send it to the gateway before the old one expires. */
  readonly token = (token: string): void => this.#input({ type: 'token', token })

  readonly retry = (): void => this.#input({ type: 'retry' })

  readonly #online = (): void => this.#input({ type: 'online' })
  readonly #offline = (): void => this.#input({ type: 'offline' })
  readonly #wake = (): void => this.#input({ type: 'wake' })
  readonly #visibility = (): void => {
    if (document.visibilityState !== 'visible') return
    this.#flush()
    this.#input({ type: 'wake' })
  }

  #input(input: LiveInput): void {
    const [state, effects] = step(this.#state, input, {
      now: Date.now(),
      monotonic: performance.now(),
      random: Math.random(),
    })
    this.#state = state
    for (const effect of effects) this.#carryOut(effect)
    const connection = connectionOf(state)
    const before = this.#connection
    if (JSON.stringify(before) === JSON.stringify(connection)) return
    this.#connection = connection
    for (const listener of this.#listeners) listener()
  }

  #carryOut(effect: LiveEffect): void {
    switch (effect.type) {
      case 'open':
        void this.#open()
        break
      case 'send':
        if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(effect.frame))
        break
      case 'close':
        this.#close()
        break
      case 'timer':
        this.#clear(effect.timer)
        this.#timers.set(
          effect.timer,
          setTimeout(() => this.#input({ type: 'timer', timer: effect.timer }), effect.ms),
        )
        break
      case 'clear':
        this.#clear(effect.timer)
        break
      case 'fetch-snapshot':
        void this.#fetchSnapshot()
        break
      case 'deliver':
        for (const publication of effect.publications) this.#buffer.add(publication)
        if (this.#buffer.size > 0) this.#scheduleFlush()
        break
    }
  }

  async #open(): Promise<void> {
    this.#close()
    const attempt = this.#attempt
    const current = (): boolean => attempt === this.#attempt
    let token: string | null
    let url: string
    try {
      ;[token, url] = await Promise.all([this.#ports.session.fresh(TOKEN_MIN_MS), this.#ports.url()])
    } catch {
      token = null
      url = ''
    }
    if (!current()) return
    let socket: WebSocket
    try {
      if (token === null) throw new Error('no token')
      socket = new WebSocket(url, SUBPROTOCOL)
    } catch {
      this.#input({ type: 'closed', code: 1006 })
      return
    }
    const fresh = token
    this.#socket = socket
    socket.onopen = () => {
      if (current()) this.#input({ type: 'opened', token: fresh })
    }
    socket.onmessage = (message: MessageEvent<unknown>) => {
      if (current()) this.#input({ type: 'frame', frame: readFrame(message.data) })
    }
    socket.onclose = (event) => {
      if (!current()) return
      this.#socket = null
      this.#input({ type: 'closed', code: event.code })
    }
  }

  #close(): void {
    this.#attempt += 1
    const socket = this.#socket
    this.#socket = null
    socket?.close(1000)
  }

  async #fetchSnapshot(): Promise<void> {
    try {
      const position = await this.#ports.fetchSnapshot()
      this.#input({ type: 'snapshot', position })
    } catch {
      this.#input({ type: 'snapshot-failed' })
    }
  }

  #clear(timer: TimerName): void {
    clearTimeout(this.#timers.get(timer))
    this.#timers.delete(timer)
  }

  #scheduleFlush(): void {
    if (this.#cancelFlush !== null) return
    if (document.visibilityState === 'visible') {
      const frame = requestAnimationFrame(this.#flush)
      this.#cancelFlush = () => cancelAnimationFrame(frame)
    } else {
      const timer = setTimeout(this.#flush, HIDDEN_FLUSH_MS)
      this.#cancelFlush = () => clearTimeout(timer)
    }
  }

  readonly #flush = (): void => {
    this.#cancelFlush?.()
    this.#cancelFlush = null
    const held = this.#ports.readSnapshot()
    if (held === undefined || this.#buffer.size === 0) return
    const { snapshot, unknownStudent, otherRoster } = patchSnapshot(held, this.#buffer.take())
    this.#ports.writeSnapshot(snapshot)
    if (unknownStudent || (otherRoster && performance.now() >= this.#different.from)) this.#refetchSoon()
  }

  /** After a random part of the pause, so that the dashboards of a course do not all fetch at once. */
  #refetchSoon(): void {
    this.#refetchTimer ??= setTimeout(() => {
      this.#refetchTimer = undefined
      void this.#refetch()
    }, Math.random() * REFETCH_PAUSE_MS)
  }

  async #refetch(): Promise<void> {
    try {
      await this.#ports.fetchSnapshot()
    } catch {
      // The next publication of that student, or of the counters, causes another fetch.
      return
    }
    const held = this.#ports.readSnapshot()
    if (held === undefined) return
    const before = this.#different.pauseMs
    const pauseMs = rosterDiffers(held) ? Math.min(DIFFERENT_PAUSE_MAX_MS, Math.max(DIFFERENT_PAUSE_MS, 2 * before)) : 0
    this.#different = { from: performance.now() + pauseMs, pauseMs }
  }
}
