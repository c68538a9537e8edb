/**
 * The WebSocket protocol `cell-monitor.v1`: frames, close codes, and a reader that validates every field it uses.
 * Of a kind of publication that it does not know it keeps the offset.
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
  | {
      type: 'connected'
      id: number
      ping_interval_s: number
      expires_at: string
      /** Whether this gateway sends watermarks; those of earlier releases do not. */
      watermarks: boolean
    }
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
  | { type: 'watermark'; channel: string; epoch: string; offset: number; at: number; published_at: number }
  | { type: 'disconnect'; code: number; reason: string; reconnect_after_ms: number | null }
  | { type: 'error'; id: number | null; error: { type: string; msg: string } }
  | { type: 'other' }

export type ClientFrame =
  | { type: 'connect'; id: number; token: string }
  | { type: 'subscribe'; id: number; channel: string; epoch?: string; offset?: number }
  | { type: 'refresh'; id: number; token: string }
  | { type: 'pong' }

/** Close codes by name; a client reconnects after 3000–3499 and not after 3500–3999. */
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

/** Whether to reconnect after a close with `code`; after a network failure (1006 …) always. */
export function reconnectsAfter(code: number): boolean {
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
  // The fields beyond key and version are not validated; the page shows them as text only.
  return { ...numbered, kind, state: state as never }
}

/** Read all of them or none: with one left out the list would have an unnoticed gap. */
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

/** Read one frame; null if it violates the protocol, after which the connection is to be closed. */
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
        watermarks: frame['watermarks'] === true,
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
    case 'watermark': {
      const { channel, epoch, offset, at, published_at: publishedAt } = frame
      if (!isText(channel) || !isText(epoch) || !isCount(offset) || !isCount(at) || !isCount(publishedAt)) return null
      return { type: 'watermark', channel, epoch, offset, at, published_at: publishedAt }
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
 * Return the WebSocket's address from the `gateway_url` of `GET config`. A bare origin gets the gateway's path; a relative
 * one is resolved against the page's own address, for a reverse proxy in front of both.
 */
export function socketUrl(gatewayUrl: string, page: string): string {
  const url = new URL(gatewayUrl === '' ? '/ws' : gatewayUrl, page)
  if (url.protocol === 'http:') url.protocol = 'ws:'
  else if (url.protocol === 'https:') url.protocol = 'wss:'
  if (url.pathname === '/') url.pathname = '/ws'
  url.hash = ''
  return url.href
}
