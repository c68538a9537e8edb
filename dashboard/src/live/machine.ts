/**
 * The WebSocket client as a pure state machine: (state, input) → (state, effects). It has no timer, socket or clock;
 * `client.ts` carries the effects out.
 */

import { delayMs, LIVE_MS, unproven, withWatermark, type Freshness } from './freshness'
import { closeCodes, reconnectsAfter, type ClientFrame, type Position, type Publication, type ServerFrame } from './protocol'
import { receivedAt, silentMs, type Received } from './silence'

export type Phase =
  /** Not started, or stopped. */
  | 'idle'
  /** Getting a token and opening the socket. */
  | 'opening'
  /** `connect` is sent. */
  | 'joining'
  /** `subscribe` is sent. */
  | 'subscribing'
  | 'live'
  /** The history lacks missed publications: a new snapshot is being fetched. */
  | 'resyncing'
  /** The next attempt starts when the retry timer fires. */
  | 'waiting'
  /** The gateway closed with a code after which clients do not reconnect. */
  | 'refused'

export interface LiveState {
  phase: Phase
  channel: string
  position: Position | null
  /** It has been live at least once since it was started. */
  everLive: boolean
  /** The browser reports no network. Attempts continue: a server on the same machine needs none. */
  offline: boolean
  /** Attempts since it was last live. */
  attempt: number
  /** Snapshots in a row that were too old when they arrived. */
  resyncs: number
  /** Id of the request whose reply is awaited. */
  awaiting: number | null
  nextId: number
  pingMs: number
  /** When the newest frame arrived on this socket, or else when it was opened. */
  lastFrame: Received
  /** The last time at which the page was known to be complete, by the monotonic clock; null before the first snapshot. */
  verifiedAt: number | null
  /** A ping is overdue, but the socket is still open. */
  late: boolean
  /** The gateway sends watermarks: without a recent one the page is not live. */
  watermarks: boolean
  freshness: Freshness
  /** No watermark has arrived since it subscribed. */
  unconfirmed: boolean
  /** The newest watermark is too old, or none arrived in time. */
  delayed: boolean
  /** From the `disconnect` frame that announces a close. */
  announced: { code: number; afterMs: number | null } | null
  /** Why the gateway refused: a close code, or the type of an error reply. */
  refusal: string | null
  /** A token that arrived while joining, to be sent as a `refresh`. */
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
  /** The tab is shown again, or the machine resumed. */
  | { type: 'wake' }
  /** A person pressed "connect again". */
  | { type: 'retry' }
  | { type: 'stop' }

export type TimerName = 'reply' | 'watch' | 'retry' | 'fresh'

export type LiveEffect =
  | { type: 'open' }
  | { type: 'send'; frame: ClientFrame }
  | { type: 'close' }
  | { type: 'timer'; timer: TimerName; ms: number }
  | { type: 'clear'; timer: TimerName }
  | { type: 'fetch-snapshot' }
  | { type: 'deliver'; publications: Publication[] }

export interface Environment {
  now: number
  /** Milliseconds of a clock that is never set. */
  monotonic: number
  /** In [0, 1). */
  random: number
}

export type Step = readonly [LiveState, readonly LiveEffect[]]

const REPLY_MS = 10_000
const SNAPSHOT_MS = 25_000
const DEAD_MS = 40_000
/** How much later than its interval a ping may arrive before the page shows it. */
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
    lastFrame: { at: 0, tick: 0 },
    verifiedAt: null,
    late: false,
    watermarks: false,
    freshness: unproven,
    unconfirmed: false,
    delayed: false,
    announced: null,
    refusal: null,
    heldToken: null,
  }
}

const clearAll: LiveEffect[] = [
  { type: 'clear', timer: 'reply' },
  { type: 'clear', timer: 'watch' },
  { type: 'clear', timer: 'retry' },
  { type: 'clear', timer: 'fresh' },
]

/** Full jitter: a random delay up to a ceiling that doubles, so that many browsers do not reconnect at once. */
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

function open(state: LiveState, environment: Environment): Step {
  const next: LiveState = {
    ...state,
    phase: 'opening',
    awaiting: null,
    late: false,
    delayed: false,
    announced: null,
    refusal: null,
    heldToken: null,
    lastFrame: receivedAt(environment),
  }
  // Without a timer a connection attempt could take minutes to fail.
  return [next, [...clearAll, { type: 'timer', timer: 'reply', ms: REPLY_MS }, { type: 'open' }]]
}

/** Close the socket, if any, and reconnect later. */
function reconnectLater(state: LiveState, random: number, hintMs: number | null = null): Step {
  const ms = hintMs === null ? backoffMs(state.attempt, random) : hintMs + Math.round(random * 250)
  const next: LiveState = {
    ...state,
    phase: 'waiting',
    attempt: state.attempt + 1,
    awaiting: null,
    late: false,
    delayed: false,
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

/** Return the position after publications that follow without a gap, and the new ones; null where one is missing. */
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

/** Judge the newest watermark now; `effects` end with the timer for the moment at which it becomes too old. */
function judge(state: LiveState, { monotonic }: Environment, effects: readonly LiveEffect[]): Step {
  const ms = LIVE_MS - delayMs(state.freshness, monotonic)
  if (ms <= 0) return [{ ...state, delayed: true }, [...effects, { type: 'clear', timer: 'fresh' }]]
  return [{ ...state, delayed: false }, [...effects, { type: 'timer', timer: 'fresh', ms: Math.ceil(ms) }]]
}

function onFrame(state: LiveState, frame: ServerFrame | null, environment: Environment): Step {
  const { monotonic, random } = environment
  if (frame === null) return reconnectLater(state, random)
  const wasLate = state.late
  const received: LiveState = {
    ...state,
    lastFrame: receivedAt(environment),
    late: false,
    verifiedAt: state.phase === 'live' && !state.watermarks ? monotonic : state.verifiedAt,
  }
  const rearmed: LiveEffect[] = wasLate ? [{ type: 'timer', timer: 'watch', ms: received.pingMs + GRACE_MS }] : []
  switch (frame.type) {
    case 'ping':
      return [received, [...rearmed, { type: 'send', frame: { type: 'pong' } }]]
    case 'connected': {
      if (received.phase !== 'joining' || frame.id !== received.awaiting) return [received, rearmed]
      const { watermarks } = frame
      const [next, effects] = subscribe({ ...received, pingMs: frame.ping_interval_s * 1000, watermarks, heldToken: null })
      const watch: LiveEffect = { type: 'timer', timer: 'watch', ms: next.pingMs + GRACE_MS }
      if (received.heldToken === null) return [next, [watch, ...effects]]
      const token = received.heldToken
      const id = next.nextId
      return [{ ...next, nextId: id + 1 }, [watch, ...effects, { type: 'send', frame: { type: 'refresh', id, token } }]]
    }
    case 'subscribed': {
      if (received.phase !== 'subscribing' || frame.id !== received.awaiting) return [received, rearmed]
      const { position } = received
      const followed = frame.recovered && position !== null ? follow(position, frame.publications) : null
      const complete =
        followed !== null && followed[0].epoch === frame.epoch && followed[0].offset === frame.offset ? followed : null
      if (complete === null) {
        const resyncing: LiveState = { ...received, phase: 'resyncing', awaiting: null, resyncs: received.resyncs + 1 }
        if (resyncing.resyncs <= 2) return [resyncing, [...rearmed, ...fetchSnapshot]]
        // If snapshots are always too old, fetch them with growing delays.
        const ms = backoffMs(resyncing.resyncs, random)
        return [resyncing, [...rearmed, { type: 'clear', timer: 'reply' }, { type: 'timer', timer: 'retry', ms }]]
      }
      const live: LiveState = {
        ...received,
        phase: 'live',
        awaiting: null,
        position: complete[0],
        everLive: received.everLive || !received.watermarks,
        offline: false,
        attempt: 0,
        resyncs: 0,
        verifiedAt: received.watermarks ? received.verifiedAt : monotonic,
        unconfirmed: received.watermarks,
      }
      const deliver: LiveEffect[] = complete[1].length > 0 ? [{ type: 'deliver', publications: complete[1] }] : []
      const fresh: LiveEffect[] = live.unconfirmed ? [{ type: 'timer', timer: 'fresh', ms: LIVE_MS }] : []
      return [live, [...rearmed, { type: 'clear', timer: 'reply' }, ...deliver, ...fresh]]
    }
    case 'publications': {
      if (received.phase !== 'live' || frame.channel !== received.channel || received.position === null) return [received, rearmed]
      const followed = follow(received.position, frame.publications)
      // The position is unchanged: after reconnecting the gateway fills the gap or reports that it cannot.
      if (followed === null) return reconnectLater({ ...received, verifiedAt: state.verifiedAt }, random, 0)
      const [position, publications] = followed
      if (publications.length === 0) return [received, rearmed]
      return [{ ...received, position }, [...rearmed, { type: 'deliver', publications }]]
    }
    case 'watermark': {
      const { position } = received
      if (received.phase !== 'live' || frame.channel !== received.channel || position?.epoch !== frame.epoch) {
        return [received, rearmed]
      }
      // The gateway sends it after the publications that it counts: one is missing here.
      if (frame.offset > position.offset) return reconnectLater(received, random, 0)
      const mark = { epoch: frame.epoch, at: frame.at, publishedAt: frame.published_at }
      const freshness = withWatermark(received.freshness, mark, monotonic)
      const verifiedAt = monotonic - delayMs(freshness, monotonic)
      const proven: LiveState = { ...received, freshness, verifiedAt, everLive: true, unconfirmed: false }
      return judge(proven, environment, rearmed)
    }
    case 'disconnect':
      return [{ ...received, announced: { code: frame.code, afterMs: frame.reconnect_after_ms } }, rearmed]
    case 'error': {
      // The reply to a refresh: the current token is valid until it expires, then the gateway closes with 3005.
      if (frame.id === null || frame.id !== received.awaiting) return [received, rearmed]
      if (frame.error.type === 'permission_denied') return refuse(received, String(closeCodes.permissionDenied))
      return reconnectLater(received, random)
    }
    case 'refreshed':
    case 'other':
      return [received, rearmed]
  }
}

function onTimer(state: LiveState, timer: TimerName, environment: Environment): Step {
  const { random } = environment
  switch (timer) {
    case 'fresh':
      return state.phase === 'live' && state.watermarks ? judge(state, environment, []) : [state, []]
    case 'retry':
      if (state.phase === 'resyncing') return [state, fetchSnapshot]
      return state.phase === 'waiting' ? open(state, environment) : [state, []]
    case 'reply':
      return ['opening', 'joining', 'subscribing', 'resyncing'].includes(state.phase)
        ? reconnectLater(state, random)
        : [state, []]
    case 'watch': {
      if (!isJoined(state)) return [state, []]
      const silent = silentMs(state.lastFrame, environment)
      if (silent >= deadMs(state)) return reconnectLater(state, random, 0)
      const lateMs = state.pingMs + GRACE_MS
      if (silent >= lateMs) {
        return [{ ...state, late: true }, [{ type: 'timer', timer: 'watch', ms: deadMs(state) - silent }]]
      }
      return [state, [{ type: 'timer', timer: 'watch', ms: lateMs - silent }]]
    }
  }
}

/** The timers may have been suspended with the tab. */
function onWake(state: LiveState, environment: Environment): Step {
  if (!isJoined(state)) return [state, []]
  const [watched, effects] = onTimer(state, 'watch', environment)
  if (watched.phase !== 'live' || watched.unconfirmed) return [watched, effects]
  const [judged, more] = onTimer(watched, 'fresh', environment)
  return [judged, [...effects, ...more]]
}

function isJoined(state: LiveState): boolean {
  return state.phase === 'subscribing' || state.phase === 'live' || state.phase === 'resyncing'
}

export function step(state: LiveState, input: LiveInput, environment: Environment): Step {
  const { monotonic, random } = environment
  if (input.type === 'stop') return [{ ...state, phase: 'idle', awaiting: null }, [...clearAll, { type: 'close' }]]
  if (state.phase === 'idle') {
    return input.type === 'start' ? open({ ...state, position: input.position, verifiedAt: monotonic }, environment) : [state, []]
  }
  switch (input.type) {
    case 'start':
      return [state, []]
    case 'opened':
      if (state.phase !== 'opening') return [state, []]
      return request(state, 'joining', (id) => ({ type: 'connect', id, token: input.token }))
    case 'frame':
      return state.phase === 'joining' || isJoined(state) ? onFrame(state, input.frame, environment) : [state, []]
    case 'closed': {
      if (state.phase === 'waiting' || state.phase === 'refused') return [state, []]
      const { announced } = state
      const code = input.code >= 3000 && input.code <= 3999 ? input.code : (announced?.code ?? input.code)
      return reconnectsAfter(code) ? reconnectLater(state, random, announced?.afterMs ?? null) : refuse(state, String(code))
    }
    case 'timer':
      return onTimer(state, input.timer, environment)
    case 'token': {
      if (state.phase === 'joining') return [{ ...state, heldToken: input.token }, []]
      if (!isJoined(state)) return [state, []]
      const id = state.nextId
      return [
        { ...state, nextId: id + 1 },
        [{ type: 'send', frame: { type: 'refresh', id, token: input.token } }],
      ]
    }
    case 'snapshot': {
      // It holds what was committed, which may be long behind: only a watermark tells.
      const read = state.watermarks ? state.verifiedAt : monotonic
      // While live the position is ahead of any snapshot, and versions decide between the two.
      if (state.phase === 'resyncing') return subscribe({ ...state, position: input.position, verifiedAt: read })
      if (state.phase === 'waiting' || state.phase === 'opening' || state.phase === 'joining') {
        return [{ ...state, position: input.position, verifiedAt: read }, []]
      }
      return [state, []]
    }
    case 'snapshot-failed':
      return state.phase === 'resyncing' ? reconnectLater(state, random) : [state, []]
    case 'offline':
      // The browser reports this long before a ping is overdue.
      return state.phase === 'refused' ? [state, []] : reconnectLater({ ...state, offline: true }, random)
    case 'online':
      if (state.phase === 'waiting') return open({ ...state, offline: false, attempt: 0 }, environment)
      return [{ ...state, offline: false }, []]
    case 'wake':
      if (state.phase === 'waiting') return open(state, environment)
      return onWake(state, environment)
    case 'retry':
      return state.phase === 'refused' || state.phase === 'waiting' ? open({ ...state, attempt: 0 }, environment) : [state, []]
  }
}
