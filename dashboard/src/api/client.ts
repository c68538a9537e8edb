import type { ErrorBody, ErrorDetail } from './types'

/** The server answered with an error; `type` is its stable code. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  constructor(
    readonly status: number,
    readonly type: string,
    message: string,
    /** Seconds of the answer's Retry-After header, if it had one. */
    readonly retryAfterS: number | null = null,
    /** All that is wrong; the first is that of `type`. */
    readonly details: readonly ErrorDetail[] = [],
  ) {
    super(message)
  }
}

/** No answer of the API: no network, no server, a timeout, or a proxy that answered in its place. */
export class UnreachableError extends Error {
  override readonly name = 'UnreachableError'
}

/**
 * Whether a change may have taken effect although its request failed: there was no answer of the API, or the API failed
 * while it worked. Any other error is a refusal, which changed nothing.
 */
export function isOutcomeUnknown(error: unknown): boolean {
  return !(error instanceof ApiError) || error.status >= 500
}

/** Gives the access token; `renew` returns a new one, or null when the sign-in has ended. */
export interface TokenSource {
  token(): string | null
  renew(rejected: string): Promise<string | null>
}

export interface RequestOptions {
  method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  body?: unknown
  signal?: AbortSignal | undefined
}

const TIMEOUT_MS = 20_000

const FOREIGN = 'the answer is not from the API'

/** The error that an answer is. Without a code in the API's form it is a proxy's, which says nothing of a person's rights. */
function errorFrom(response: Response, body: unknown): Error {
  const detail = (body as Partial<ErrorBody> | null)?.detail
  const first = Array.isArray(detail) ? detail[0] : undefined
  if (typeof first?.type !== 'string') return new UnreachableError(`${FOREIGN}: HTTP ${response.status}`)
  const retryAfter = Number(response.headers.get('Retry-After') ?? Number.NaN)
  return new ApiError(
    response.status,
    first.type,
    typeof first.msg === 'string' ? first.msg : response.statusText,
    Number.isFinite(retryAfter) ? retryAfter : null,
    detail,
  )
}

/** Send one request. Throws ApiError or UnreachableError; the caller's own abort is passed on. */
export async function send(path: string, options: RequestOptions = {}, token: string | null = null): Promise<unknown> {
  const timeout = AbortSignal.timeout(TIMEOUT_MS)
  const signal = options.signal ? AbortSignal.any([options.signal, timeout]) : timeout
  const headers = new Headers({ Accept: 'application/json' })
  if (token !== null) headers.set('Authorization', `Bearer ${token}`)
  const init: RequestInit = { method: options.method ?? 'GET', headers, signal, credentials: 'same-origin' }
  if (options.body !== undefined) {
    headers.set('Content-Type', 'application/json')
    init.body = JSON.stringify(options.body)
  }
  let response: Response
  let text: string
  try {
    response = await fetch(`/api/v1/${path}`, init)
    text = await response.text()
  } catch (cause) {
    if (options.signal?.aborted === true) throw cause
    throw new UnreachableError('no answer from the server', { cause })
  }
  let body: unknown = null
  if (response.status !== 204) {
    try {
      body = JSON.parse(text)
    } catch (cause) {
      // A proxy's page, or the dashboard's own page instead of the API.
      throw new UnreachableError(`${FOREIGN}: HTTP ${response.status}`, { cause })
    }
  }
  if (!response.ok) throw errorFrom(response, body)
  return body
}

/** Requests of a signed-in person: an expired token is renewed and the request repeated once. */
export class ApiClient {
  readonly #tokens: TokenSource

  constructor(tokens: TokenSource) {
    this.#tokens = tokens
  }

  async request<Answer>(path: string, options: RequestOptions = {}): Promise<Answer> {
    const token = this.#tokens.token()
    try {
      return (await send(path, options, token)) as Answer
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401 || token === null) throw error
      const renewed = await this.#tokens.renew(token)
      if (renewed === null) throw error
      return (await send(path, options, renewed)) as Answer
    }
  }
}
