/**
 * The WebSocket protocol `cell-monitor.v1`: frames, close codes, and a reader that believes nothing.
 * What it cannot read it drops; what it does not know but can number (a new kind of publication) it keeps the number of.
 */

import type { CourseState, HelpState, StudentState } from '../api/types'

export const SUBPROTOCOL = 'cell-monitor.v1'

export interface Position {
  epoch: string
  offset: number
}

interface Numbered extends Position {
  channel: string
}

export type Publication =
  | (Numbered & { kind: 'student'; state: StudentState })
  | (Numbered & { kind: 'help'; state: HelpState })
  | (Numbered & { kind: 'course'; state: CourseState })
  | (Numbered & { kind: 'other' })

export type ServerFrame =
  | { type: 'connected'; id: number; ping_interval_s: number; expires_at: string }
  | {
      type: 'subscribed'
      id: number
      channel: string
      epoch: string
      offset: number
      recovered: boolean
      publications: Publication[]
    }
  | { type: 'refreshed'; id: number }
  | { type: 'ping' }
  | { type: 'publications'; channel: string; publications: Publication[] }
  | { type: 'disconnect'; code: number; reason: string; reconnect_after_ms: number | null }
  | { type: 'error'; id: number | null; error: { type: string; msg: string } }
  | { type: 'other' }

export type ClientFrame =
  | { type: 'connect'; id: number; token: string }
  | { type: 'subscribe'; id: number; channel: string; epoch?: string; offset?: number }
  | { type: 'refresh'; id: number; token: string }
  | { type: 'pong' }

/** Close codes by name; 3000–3499 ask the client to come back, 3500–3999 not to. */
export const closeCodes = {
  shutdown: 3001,
  expired: 3005,
  slow: 3008,
  insufficientState: 3010,
  noPong: 3012,
  tooManyRequests: 3013,
  invalidToken: 3500,
  badRequest: 3501,
  stale: 3502,
  permissionDenied: 3507,
} as const

/** Whether the gateway wants the client back after closing with `code`. A line that just broke (1006 …) always does. */
export function comesBack(code: number): boolean {
  return code < 3500 || code > 3999
}

type Fields = Record<string, unknown>

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function isText(value: unknown): value is string {
  return typeof value === 'string'
}

const keyOfKind = { student: 'student_id', help: 'request_id', course: 'course_id' } as const

function readPublication(value: unknown): Publication | null {
  if (!isFields(value)) return null
  const { channel, epoch, offset, kind, state } = value
  if (!isText(channel) || !isText(epoch) || !isCount(offset)) return null
  const numbered = { channel, epoch, offset }
  if (kind !== 'student' && kind !== 'help' && kind !== 'course') return { ...numbered, kind: 'other' }
  if (!isFields(state) || !isText(state[keyOfKind[kind]]) || !isCount(state['version'])) return null
  // The fields beyond key and version are the gateway's word; the page shows them as text only.
  return { ...numbered, kind, state: state as never }
}

/** All of them or none: a list with a hole in it is not a list of what happened. */
function readPublications(value: unknown): Publication[] | null {
  if (!Array.isArray(value)) return null
  const publications: Publication[] = []
  for (const item of value) {
    const publication = readPublication(item)
    if (publication === null) return null
    publications.push(publication)
  }
  return publications
}

/** Read one frame. Null means it breaks the protocol: the connection cannot be trusted any more. */
export function readFrame(text: unknown): ServerFrame | null {
  if (!isText(text)) return null
  let frame: unknown
  try {
    frame = JSON.parse(text)
  } catch {
    return null
  }
  if (!isFields(frame) || !isText(frame['type'])) return null
  switch (frame['type']) {
    case 'ping':
      return { type: 'ping' }
    case 'connected': {
      const { id, ping_interval_s: ping, expires_at: expires } = frame
      if (!isCount(id)) return null
      return {
        type: 'connected',
        id,
        ping_interval_s: typeof ping === 'number' && ping > 0 ? ping : 25,
        expires_at: isText(expires) ? expires : '',
      }
    }
    case 'subscribed': {
      const { id, channel, epoch, offset, recovered } = frame
      const publications = readPublications(frame['publications'] ?? [])
      if (!isCount(id) || !isText(channel) || !isText(epoch) || !isCount(offset) || publications === null) return null
      return { type: 'subscribed', id, channel, epoch, offset, recovered: recovered === true, publications }
    }
    case 'refreshed':
      return isCount(frame['id']) ? { type: 'refreshed', id: frame['id'] } : null
    case 'publications': {
      const publications = readPublications(frame['publications'])
      if (!isText(frame['channel']) || publications === null) return null
      return { type: 'publications', channel: frame['channel'], publications }
    }
    case 'disconnect': {
      const { code, reason, reconnect_after_ms: after } = frame
      if (!isCount(code)) return null
      return {
        type: 'disconnect',
        code,
        reason: isText(reason) ? reason : '',
        reconnect_after_ms: isCount(after) ? after : null,
      }
    }
    case 'error': {
      const error = isFields(frame['error']) ? frame['error'] : {}
      return {
        type: 'error',
        id: isCount(frame['id']) ? frame['id'] : null,
        error: {
          type: isText(error['type']) ? error['type'] : 'unknown',
          msg: isText(error['msg']) ? error['msg'] : '',
        },
      }
    }
    default:
      return { type: 'other' }
  }
}

/**
 * Where to open the WebSocket, from what `GET config` says. A bare address gets the gateway's path; a relative one is
 * taken from the page's own address, which is how a reverse proxy in front of both is configured.
 */
export function socketUrl(gatewayUrl: string, page: string): string {
  const url = new URL(gatewayUrl === '' ? '/ws' : gatewayUrl, page)
  if (url.protocol === 'http:') url.protocol = 'ws:'
  else if (url.protocol === 'https:') url.protocol = 'wss:'
  if (url.pathname === '/') url.pathname = '/ws'
  url.hash = ''
  return url.href
}
