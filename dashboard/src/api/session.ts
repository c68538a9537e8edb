import { ApiError, send, UnreachableError, type RequestOptions, type TokenSource } from './client'
import type { ProviderFailure } from './provider-sign-in'
import { readMark, removeMark, setMark } from './sign-in-mark'
import type { TokenAnswer } from './types'

export type SessionState =
  | { status: 'starting' }
  /** The server did not answer whether the sign-in is still valid. */
  | { status: 'unreachable' }
  | { status: 'signed-out'; reason: SignedOutReason }
  | { status: 'signed-in' }

/** The codes of `POST auth/link`; any other one of the server says that the link is not valid. */
const LINK_FAILURES = new Map<string, LinkFailure>([
  ['sign_in_link_used', 'link-used'],
  ['sign_in_link_ended', 'link-ended'],
  ['sign_in_link_ended_password_changed', 'link-ended-changed'],
  ['sign_in_link_ended_password_reset', 'link-ended-reset'],
  ['sign_in_link_ended_signed_out', 'link-ended-signed-out'],
  ['sign_in_link_expired', 'link-expired'],
])

type LinkFailure =
  | 'link-used'
  | 'link-ended'
  | 'link-ended-changed'
  | 'link-ended-reset'
  | 'link-ended-signed-out'
  | 'link-expired'
  | 'link-invalid'
  /** Somebody else is signed in. The link is held: it can be used after signing out. */
  | 'link-of-another'

/**
 * `link-…`: the page was opened with a link that signs in once, which was refused. `idle`: no page used the sign-in for too
 * long. `ProviderFailure`: the browser came back from another site's sign-in, and that did not sign anybody in.
 */
export type SignedOutReason = 'none' | 'expired' | 'idle' | 'signed-out' | LinkFailure | ProviderFailure

/** Of `SignedOutReason`: what the page was opened with signed nobody in. */
export type Refusal = LinkFailure | ProviderFailure

type Listener = () => void

/** Renew after this share of a token's lifetime, and at least one minute before it expires. */
const RENEW_SHARE = 0.75
const RENEW_MARGIN_MS = 60_000
const RETRY_MS = 5_000
const LOCK = 'cell-monitor-refresh'
const CHANNEL = 'cell-monitor-session'

/** Send a request that a token answers. Throws ApiError or UnreachableError. */
async function askToken(path: string, options: RequestOptions): Promise<TokenAnswer> {
  const answer = (await send(path, options)) as Partial<TokenAnswer> | null
  if (typeof answer?.access_token !== 'string' || typeof answer.expires_in !== 'number') {
    throw new UnreachableError('the answer to the sign-in is not from the API')
  }
  return answer as TokenAnswer
}

/**
 * The sign-in of this browser tab. The access token is kept in memory only; after a reload the HttpOnly cookie remains,
 * which `auth/refresh` reads. Tabs renew one after the other and sign out together.
 */
export class Session implements TokenSource {
  #state: SessionState = { status: 'starting' }
  #token: string | null = null
  #expiresAt = 0
  #timer: ReturnType<typeof setTimeout> | undefined
  #renewing: Promise<string | null> | null = null
  /** Incremented by every sign-in and sign-out, so that an answer to an earlier request cannot undo either. */
  #generation = 0
  readonly #listeners = new Set<Listener>()
  readonly #tokenListeners = new Set<(token: string) => void>()
  readonly #tabs: BroadcastChannel | null

  /** The secret of the link that the page was opened with, until the server has answered. */
  #link: string | null
  /** Why the way to sign in that the page was opened with has failed. */
  #refused: Refusal | null

  constructor(link: string | null = null, providerFailure: ProviderFailure | null = null) {
    this.#link = link
    this.#refused = providerFailure
    this.#tabs = typeof BroadcastChannel === 'undefined' ? null : new BroadcastChannel(CHANNEL)
    this.#tabs?.addEventListener('message', (message: MessageEvent<unknown>) => {
      if (message.data === 'signed-out') this.#end('signed-out')
      // As where a link was opened in two tabs: the one that came second has its cookie, too.
      if (message.data === 'signed-in' && this.#state.status === 'signed-out') {
        this.#refused = null
        void this.#renew()
      }
    })
  }

  readonly subscribe = (listener: Listener): (() => void) => {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Call `listener` with every new token; returns a function that stops that. */
  readonly onToken = (listener: (token: string) => void): (() => void) => {
    this.#tokenListeners.add(listener)
    return () => this.#tokenListeners.delete(listener)
  }

  readonly state = (): SessionState => this.#state

  /** Why the way to sign in that the page was opened with has failed, although somebody is signed in; else null. */
  readonly refusal = (): Refusal | null => (this.#state.status === 'signed-in' ? this.#refused : null)

  /** The person has read it. */
  dismissRefusal(): void {
    this.#refused = null
    this.#link = null
    for (const listener of this.#listeners) listener()
  }

  token(): string | null {
    return this.#token
  }

  /** Milliseconds until the current token expires. */
  remainingMs(now = Date.now()): number {
    return this.#token === null ? 0 : this.#expiresAt - now
  }

  /**
   * Use the link that the page was opened with. Without one, or when it is refused, renew the sign-in from the cookie,
   * unless no person has signed in with this browser. Called when the page loads, and again from the "unreachable" page.
   */
  async start(): Promise<void> {
    if (this.#link !== null && !(await this.#useLink(this.#link))) return
    if (this.#state.status === 'signed-in') return
    if (readMark() === null && this.#refused !== 'link-of-another') {
      this.#end('none')
      return
    }
    await this.#renew()
  }

  /** Throws ApiError (401 invalid_credentials, 429 rate_limited) or UnreachableError. */
  async signIn(username: string, password: string): Promise<void> {
    const answer = await askToken('auth/login', { method: 'POST', body: { username, password } })
    this.#begin(answer)
  }

  /** Sign out, and in with the link that was held because another person was signed in. */
  async changePerson(): Promise<void> {
    await this.signOut()
    await this.start()
  }

  /** Return false if the server did not answer for the link, which is then kept for the next `start`. */
  async #useLink(link: string): Promise<boolean> {
    let answer: TokenAnswer
    try {
      answer = await askToken('auth/link', { method: 'POST', body: { link } })
    } catch (error) {
      if (error instanceof ApiError && error.status === 409) {
        this.#refused = 'link-of-another'
        return true
      }
      if (error instanceof ApiError && error.status === 401) {
        this.#link = null
        this.#refused = LINK_FAILURES.get(error.type) ?? 'link-invalid'
        return true
      }
      this.#set({ status: 'unreachable' })
      return false
    }
    this.#link = null
    this.#begin(answer)
    return true
  }

  async signOut(): Promise<void> {
    this.#leave()
    try {
      await send('auth/logout', { method: 'POST' })
    } catch {
      // The token is removed from this page in any case; the cookie expires.
    }
  }

  /** Sign the person out in every browser. Throws ApiError or UnreachableError; this sign-in then goes on. */
  async signOutEverywhere(): Promise<void> {
    await send('auth/logout-everywhere', { method: 'POST' })
    this.#leave()
  }

  /**
   * Set the person's password; all their other sign-ins end, and this one goes on with a new token. `present` is null
   * where the server does not ask for the present password. Throws ApiError or UnreachableError.
   */
  async setPassword(present: string | null, next: string): Promise<void> {
    const body = { new: next, ...(present !== null && { present }) }
    let answer: TokenAnswer
    try {
      answer = await askToken('auth/password', { method: 'POST', body })
    } catch (error) {
      // Nobody is signed in any more: the page then shows the sign-in.
      if (error instanceof ApiError && error.status === 401) await this.#renew()
      throw error
    }
    this.#generation += 1
    setMark()
    this.#accept(answer)
  }

  async renew(rejected: string): Promise<string | null> {
    if (this.#token !== null && this.#token !== rejected) return this.#token
    return this.#renew()
  }

  /** Return a token that is valid for at least `forMs`; null when the sign-in has ended or the server does not answer. */
  async fresh(forMs: number): Promise<string | null> {
    return this.remainingMs() >= forMs ? this.#token : this.#renew()
  }

  /** Timers are suspended in hidden tabs and closed laptops: check again when the page becomes visible. */
  readonly wake = (): void => {
    if (this.#state.status === 'unreachable' || (this.#token !== null && this.remainingMs() < RENEW_MARGIN_MS)) {
      void this.#renew()
    }
  }

  #renew(): Promise<string | null> {
    this.#renewing ??= this.#locked(() => this.#ask()).finally(() => {
      this.#renewing = null
    })
    return this.#renewing
  }

  async #locked(work: () => Promise<string | null>): Promise<string | null> {
    // The refresh cookie may change with each use: two tabs that renew at once would sign one of them out.
    const locks = (globalThis.navigator as Partial<Navigator>).locks
    return locks === undefined ? work() : locks.request(LOCK, work)
  }

  async #ask(): Promise<string | null> {
    const generation = this.#generation
    const mark = readMark()
    try {
      const answer = await askToken('auth/refresh', { method: 'POST' })
      if (generation !== this.#generation) return this.#token
      this.#accept(answer)
      return this.#token
    } catch (error) {
      if (generation !== this.#generation) return this.#token
      if (error instanceof ApiError && (error.status === 401 || error.status === 403)) {
        removeMark(mark)
        if (error.type === 'sign_in_idle') this.#end('idle')
        else this.#end(this.#token === null ? 'none' : 'expired')
        return null
      }
      if (this.#token === null) this.#set({ status: 'unreachable' })
      this.#schedule(RETRY_MS)
      return null
    }
  }

  /** Somebody signed in on this page, so that nothing that failed before matters any more. */
  #begin(answer: TokenAnswer): void {
    this.#generation += 1
    this.#refused = null
    setMark()
    this.#accept(answer)
    this.#tabs?.postMessage('signed-in')
  }

  #accept(answer: TokenAnswer): void {
    this.#token = answer.access_token
    const lifeMs = answer.expires_in * 1000
    this.#expiresAt = Date.now() + lifeMs
    const marginMs = Math.min(RENEW_MARGIN_MS, lifeMs / 4)
    this.#schedule(Math.max(1000, Math.min(lifeMs * RENEW_SHARE, lifeMs - marginMs)))
    this.#set({ status: 'signed-in' })
    for (const listener of this.#tokenListeners) listener(answer.access_token)
  }

  /** The person is signed out in all tabs of this browser. */
  #leave(): void {
    removeMark(readMark())
    this.#end('signed-out')
    this.#tabs?.postMessage('signed-out')
  }

  #end(reason: 'none' | 'expired' | 'idle' | 'signed-out'): void {
    // Of a page that has shown nothing yet what it was opened with is said first.
    const first = this.#token === null && (reason === 'none' || reason === 'idle')
    this.#generation += 1
    this.#token = null
    clearTimeout(this.#timer)
    this.#set({ status: 'signed-out', reason: first ? (this.#refused ?? reason) : reason })
  }

  #schedule(delayMs: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => void this.#renew(), delayMs)
  }

  #set(state: SessionState): void {
    if (state.status === this.#state.status && state.status === 'signed-in') return
    this.#state = state
    for (const listener of this.#listeners) listener()
  }
}
