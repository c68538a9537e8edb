/**
 * The WebSocket client as a pure state machine: what it knows, what happened, what to do. No timer, socket or clock in
 * here; `client.ts` carries the effects out.
 */

import { closeCodes, comesBack, type ClientFrame, type Position, type Publication, type ServerFrame } from './protocol'

export type Phase =
  /** Not started, or stopped for good. */
  | 'idle'
  /** Getting a token and opening the socket. */
  | 'opening'
  /** `connect` is sent. */
  | 'joining'
  /** `subscribe` is sent. */
  | 'subscribing'
  | 'live'
  /** The history no longer holds what we missed: a new snapshot is on its way. */
  | 'resyncing'
  /** The next try is due when the retry timer fires. */
  | 'waiting'
  /** The gateway does not want us back. */
  | 'refused'

export interface LiveState {
  phase: Phase
  channel: string
  position: Position | null
  /** It has been live at least once since it was started. */
  everLive: boolean
  /** The browser says there is no network. Tries go on all the same: a server on this very machine needs none. */
  offline: boolean
  /** Tries since it was last live. */
  attempt: number
  /** Snapshots in a row that were too old when they arrived. */
  resyncs: number
  /** Id of the request whose reply is awaited. */
  awaiting: number | null
  nextId: number
  pingMs: number
  /** When the newest frame came on this socket, or the socket was asked for. */
  lastFrameAt: number
  /** Until when the page is known to have shown everything; null before the first snapshot. */
  verifiedAt: number | null
  /** The gateway has missed a heartbeat, but the socket is still open. */
  late: boolean
  /** From the `disconnect` frame that announces a close. */
  announced: { code: number; afterMs: number | null } | null
  /** Why the gateway refused: a close code, or the type of an error reply. */
  refusal: string | null
  /** A token that came while joining and must follow as a `refresh`. */
  heldToken: string | null
}

export type LiveInput =
  | { type: 'start'; position: Position }
  | { type: 'opened'; token: string }
  | { type: 'frame'; frame: ServerFrame | null }
  | { type: 'closed'; code: number }
  | { type: 'timer'; timer: TimerName }
  | { type: 'token'; token: string }
  | { type: 'snapshot'; position: Position }
  | { type: 'snapshot-failed' }
  | { type: 'online' }
  | { type: 'offline' }
  /** The tab is shown again, or the machine woke up. */
  | { type: 'wake' }
  /** A person asked to try again. */
  | { type: 'retry' }
  | { type: 'stop' }

export type TimerName = 'reply' | 'watch' | 'retry'

export type LiveEffect =
  | { type: 'open' }
  | { type: 'send'; frame: ClientFrame }
  | { type: 'close' }
  | { type: 'timer'; timer: TimerName; ms: number }
  | { type: 'clear'; timer: TimerName }
  | { type: 'fetch-snapshot' }
  | { type: 'deliver'; publications: Publication[] }

export interface Surroundings {
  now: number
  /** In [0, 1). */
  random: number
}

export type Step = readonly [LiveState, readonly LiveEffect[]]

const REPLY_MS = 10_000
const SNAPSHOT_MS = 25_000
const DEAD_MS = 40_000
/** A heartbeat may be this much later than promised before the page says so. */
const GRACE_MS = 3_000
const BACKOFF_BASE_MS = 500
const BACKOFF_CAP_MS = 30_000
const MIN_DELAY_MS = 100

export function initialState(channel: string): LiveState {
  return {
    phase: 'idle',
    channel,
    position: null,
    everLive: false,
    offline: false,
    attempt: 0,
    resyncs: 0,
    awaiting: null,
    nextId: 1,
    pingMs: 25_000,
    lastFrameAt: 0,
    verifiedAt: null,
    late: false,
    announced: null,
    refusal: null,
    heldToken: null,
  }
}

const clearAll: LiveEffect[] = [
  { type: 'clear', timer: 'reply' },
  { type: 'clear', timer: 'watch' },
  { type: 'clear', timer: 'retry' },
]

/** Full jitter: anything between almost nothing and the doubled ceiling, so that a class of browsers comes back spread. */
export function backoffMs(attempt: number, random: number): number {
  const ceiling = Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** Math.min(attempt, 10))
  return Math.max(MIN_DELAY_MS, Math.round(random * ceiling))
}

const fetchSnapshot: LiveEffect[] = [
  { type: 'timer', timer: 'reply', ms: SNAPSHOT_MS },
  { type: 'fetch-snapshot' },
]

function deadMs(state: LiveState): number {
  return Math.max(DEAD_MS, Math.round(state.pingMs * 1.5))
}

function open(state: LiveState, now: number): Step {
  const next: LiveState = {
    ...state,
    phase: 'opening',
    awaiting: null,
    late: false,
    announced: null,
    refusal: null,
    heldToken: null,
    lastFrameAt: now,
  }
  // A connect that hangs in the network would otherwise hang for minutes.
  return [next, [...clearAll, { type: 'timer', timer: 'reply', ms: REPLY_MS }, { type: 'open' }]]
}

/** Drop the socket, if any, and come back after a while. */
function comeBack(state: LiveState, random: number, hintMs: number | null = null): Step {
  const ms = hintMs === null ? backoffMs(state.attempt, random) : hintMs + Math.round(random * 250)
  const next: LiveState = {
    ...state,
    phase: 'waiting',
    attempt: state.attempt + 1,
    awaiting: null,
    late: false,
    announced: null,
    heldToken: null,
  }
  return [next, [...clearAll, { type: 'close' }, { type: 'timer', timer: 'retry', ms }]]
}

function refuse(state: LiveState, refusal: string): Step {
  return [{ ...state, phase: 'refused', awaiting: null, late: false, refusal }, [...clearAll, { type: 'close' }]]
}

function request(state: LiveState, phase: Phase, frame: (id: number) => ClientFrame): Step {
  const id = state.nextId
  return [
    { ...state, phase, awaiting: id, nextId: id + 1 },
    [
      { type: 'send', frame: frame(id) },
      { type: 'timer', timer: 'reply', ms: REPLY_MS },
    ],
  ]
}

function subscribe(state: LiveState): Step {
  const { channel, position } = state
  return request(state, 'subscribing', (id) =>
    position === null
      ? { type: 'subscribe', id, channel }
      : { type: 'subscribe', id, channel, epoch: position.epoch, offset: position.offset },
  )
}

/** Publications follow one another without a gap, or something is missing. Null says it is. */
function follow(position: Position, publications: readonly Publication[]): [Position, Publication[]] | null {
  let { offset } = position
  const fresh: Publication[] = []
  for (const publication of publications) {
    if (publication.epoch !== position.epoch || publication.offset > offset + 1) return null
    if (publication.offset <= offset) continue
    offset = publication.offset
    fresh.push(publication)
  }
  return [{ epoch: position.epoch, offset }, fresh]
}

function onFrame(state: LiveState, frame: ServerFrame | null, { now, random }: Surroundings): Step {
  if (frame === null) return comeBack(state, random)
  const wasLate = state.late
  const heard: LiveState = {
    ...state,
    lastFrameAt: now,
    late: false,
    verifiedAt: state.phase === 'live' ? now : state.verifiedAt,
  }
  const rearmed: LiveEffect[] = wasLate ? [{ type: 'timer', timer: 'watch', ms: heard.pingMs + GRACE_MS }] : []
  switch (frame.type) {
    case 'ping':
      return [heard, [...rearmed, { type: 'send', frame: { type: 'pong' } }]]
    case 'connected': {
      if (heard.phase !== 'joining' || frame.id !== heard.awaiting) return [heard, rearmed]
      const [next, effects] = subscribe({ ...heard, pingMs: frame.ping_interval_s * 1000, heldToken: null })
      const watch: LiveEffect = { type: 'timer', timer: 'watch', ms: next.pingMs + GRACE_MS }
      if (heard.heldToken === null) return [next, [watch, ...effects]]
      const token = heard.heldToken
      const id = next.nextId
      return [{ ...next, nextId: id + 1 }, [watch, ...effects, { type: 'send', frame: { type: 'refresh', id, token } }]]
    }
    case 'subscribed': {
      if (heard.phase !== 'subscribing' || frame.id !== heard.awaiting) return [heard, rearmed]
      const { position } = heard
      const followed = frame.recovered && position !== null ? follow(position, frame.publications) : null
      const complete =
        followed !== null && followed[0].epoch === frame.epoch && followed[0].offset === frame.offset ? followed : null
      if (complete === null) {
        const resyncing: LiveState = { ...heard, phase: 'resyncing', awaiting: null, resyncs: heard.resyncs + 1 }
        if (resyncing.resyncs <= 2) return [resyncing, [...rearmed, ...fetchSnapshot]]
        // Snapshots that are always too old would turn into a flood of requests: wait longer each time.
        const ms = backoffMs(resyncing.resyncs, random)
        return [resyncing, [...rearmed, { type: 'clear', timer: 'reply' }, { type: 'timer', timer: 'retry', ms }]]
      }
      const live: LiveState = {
        ...heard,
        phase: 'live',
        awaiting: null,
        position: complete[0],
        everLive: true,
        offline: false,
        attempt: 0,
        resyncs: 0,
        verifiedAt: now,
      }
      const deliver: LiveEffect[] = complete[1].length > 0 ? [{ type: 'deliver', publications: complete[1] }] : []
      return [live, [...rearmed, { type: 'clear', timer: 'reply' }, ...deliver]]
    }
    case 'publications': {
      if (heard.phase !== 'live' || frame.channel !== heard.channel || heard.position === null) return [heard, rearmed]
      const followed = follow(heard.position, frame.publications)
      // The position stays where it was: coming back, the gateway fills the gap or says that it cannot.
      if (followed === null) return comeBack({ ...heard, verifiedAt: state.verifiedAt }, random, 0)
      const [position, publications] = followed
      if (publications.length === 0) return [heard, rearmed]
      return [{ ...heard, position }, [...rearmed, { type: 'deliver', publications }]]
    }
    case 'disconnect':
      return [{ ...heard, announced: { code: frame.code, afterMs: frame.reconnect_after_ms } }, rearmed]
    case 'error': {
      // The reply to a refresh: the token in use runs on until it expires, then the gateway closes with 3005.
      if (frame.id === null || frame.id !== heard.awaiting) return [heard, rearmed]
      if (frame.error.type === 'permission_denied') return refuse(heard, String(closeCodes.permissionDenied))
      return comeBack(heard, random)
    }
    case 'refreshed':
    case 'other':
      return [heard, rearmed]
  }
}

function onTimer(state: LiveState, timer: TimerName, { now, random }: Surroundings): Step {
  switch (timer) {
    case 'retry':
      if (state.phase === 'resyncing') return [state, fetchSnapshot]
      return state.phase === 'waiting' ? open(state, now) : [state, []]
    case 'reply':
      return ['opening', 'joining', 'subscribing', 'resyncing'].includes(state.phase)
        ? comeBack(state, random)
        : [state, []]
    case 'watch': {
      if (!isJoined(state)) return [state, []]
      const silentMs = now - state.lastFrameAt
      if (silentMs >= deadMs(state)) return comeBack(state, random, 0)
      const lateMs = state.pingMs + GRACE_MS
      if (silentMs >= lateMs) {
        return [{ ...state, late: true }, [{ type: 'timer', timer: 'watch', ms: deadMs(state) - silentMs }]]
      }
      return [state, [{ type: 'timer', timer: 'watch', ms: lateMs - silentMs }]]
    }
  }
}

function isJoined(state: LiveState): boolean {
  return state.phase === 'subscribing' || state.phase === 'live' || state.phase === 'resyncing'
}

export function step(state: LiveState, input: LiveInput, around: Surroundings): Step {
  const { now, random } = around
  if (input.type === 'stop') return [{ ...state, phase: 'idle', awaiting: null }, [...clearAll, { type: 'close' }]]
  if (state.phase === 'idle') {
    return input.type === 'start' ? open({ ...state, position: input.position, verifiedAt: now }, now) : [state, []]
  }
  switch (input.type) {
    case 'start':
      return [state, []]
    case 'opened':
      if (state.phase !== 'opening') return [state, []]
      return request(state, 'joining', (id) => ({ type: 'connect', id, token: input.token }))
    case 'frame':
      return state.phase === 'joining' || isJoined(state) ? onFrame(state, input.frame, around) : [state, []]
    case 'closed': {
      if (state.phase === 'waiting' || state.phase === 'refused') return [state, []]
      const { announced } = state
      const code = input.code >= 3000 && input.code <= 3999 ? input.code : (announced?.code ?? input.code)
      return comesBack(code) ? comeBack(state, random, announced?.afterMs ?? null) : refuse(state, String(code))
    }
    case 'timer':
      return onTimer(state, input.timer, around)
    case 'token': {
      if (state.phase === 'joining') return [{ ...state, heldToken: input.token }, []]
      if (!isJoined(state)) return [state, []]
      const id = state.nextId
      return [
        { ...state, nextId: id + 1 },
        [{ type: 'send', frame: { type: 'refresh', id, token: input.token } }],
      ]
    }
    case 'snapshot':
      // While live the position runs ahead of any snapshot, and versions sort out what both bring.
      if (state.phase === 'resyncing') return subscribe({ ...state, position: input.position, verifiedAt: now })
      if (state.phase === 'waiting' || state.phase === 'opening' || state.phase === 'joining') {
        return [{ ...state, position: input.position, verifiedAt: now }, []]
      }
      return [state, []]
    case 'snapshot-failed':
      return state.phase === 'resyncing' ? comeBack(state, random) : [state, []]
    case 'offline':
      // A cut line is noticed here long before the heartbeat misses it.
      return state.phase === 'refused' ? [state, []] : comeBack({ ...state, offline: true }, random)
    case 'online':
      if (state.phase === 'waiting') return open({ ...state, offline: false, attempt: 0 }, now)
      return [{ ...state, offline: false }, []]
    case 'wake':
      if (state.phase === 'waiting') return open(state, now)
      // The watch timer may have slept with the tab.
      return isJoined(state) ? onTimer(state, 'watch', around) : [state, []]
    case 'retry':
      return state.phase === 'refused' || state.phase === 'waiting' ? open({ ...state, attempt: 0 }, now) : [state, []]
  }
}

/** What the page says about its own data. */
export type Connection =
  | { kind: 'connecting' }
  | { kind: 'live' }
  /** Not known to be complete; `since` is the last moment at which it was, milliseconds of this browser's clock. */
  | { kind: 'reconnecting' | 'silent' | 'offline' | 'refused'; since: number; refusal: string | null }

export function connectionOf(state: LiveState): Connection {
  const { verifiedAt: since, refusal } = state
  if (state.phase === 'live' && !state.late) return { kind: 'live' }
  const first = !state.everLive && !state.offline && state.attempt === 0 && state.phase !== 'refused'
  if (since === null || first) return { kind: 'connecting' }
  if (state.phase === 'live') return { kind: 'silent', since, refusal }
  if (state.phase === 'refused') return { kind: 'refused', since, refusal }
  return { kind: state.offline ? 'offline' : 'reconnecting', since, refusal }
}
