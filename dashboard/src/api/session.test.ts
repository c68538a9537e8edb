import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

import { fault, FakeApi, type Answer } from '../testing/app'
import { ApiClient, ApiError, UnreachableError } from './client'
import { Session } from './session'
import { readMark, removeMark } from './sign-in-mark'

let api: FakeApi

beforeEach(() => {
  vi.useFakeTimers()
  api = new FakeApi()
})

afterEach(() => {
  vi.useRealTimers()
})

let issued = 0
const token = (expires = 600): Answer => ({
  body: { access_token: `t${(issued += 1)}`, token_type: 'bearer', expires_in: expires },
})
const refreshes = () => api.calls.filter((call) => call === 'POST auth/refresh').length

describe('session', () => {
  it('signs in without a password while the cookie is valid', async () => {
    const session = new Session()
    await session.start()
    expect(session.state()).toEqual({ status: 'signed-in' })
    expect(session.token()).toBe('token')
  })

  it('shows the sign-in form without a message about expiry when there is no valid cookie', async () => {
    api.signedIn = false
    const session = new Session()
    await session.start()
    expect(session.state()).toEqual({ status: 'signed-out', reason: 'none' })
  })

  it('says that a sign-in has ended because no page was open for some time', async () => {
    api.on('POST auth/refresh', () => ({ status: 401, body: fault('sign_in_idle') }))
    const session = new Session()
    await session.start()
    expect(session.state()).toEqual({ status: 'signed-out', reason: 'idle' })
  })

  it('signs in with the link that the page was opened with, and posts it once', async () => {
    api.signedIn = false
    api.on('POST auth/link', () => token())
    const session = new Session('0123456789abcdef_secret')
    await session.start()
    expect(session.state()).toEqual({ status: 'signed-in' })
    expect(api.calls).toEqual(['POST auth/link'])
  })

  it.each([
    ['sign_in_link_used', 'link-used'],
    ['sign_in_link_ended', 'link-ended'],
    ['sign_in_link_ended_password_changed', 'link-ended-changed'],
    ['sign_in_link_ended_password_reset', 'link-ended-reset'],
    ['sign_in_link_ended_signed_out', 'link-ended-signed-out'],
    ['sign_in_link_expired', 'link-expired'],
    ['a_code_of_a_newer_server', 'link-invalid'],
    ['invalid_sign_in_link', 'link-invalid'],
  ])('says that a link was refused: %s', async (type, reason) => {
    api.signedIn = false
    api.on('POST auth/link', () => ({ status: 401, body: fault(type) }))
    const session = new Session('0123456789abcdef_secret')
    await session.start()
    expect(session.state()).toEqual({ status: 'signed-out', reason })
  })

  it.each([
    { status: 200, body: {} },
    { status: 401, body: { message: 'blocked' } },
    { status: 403, body: '<html>Sign in at the campus network</html>' },
  ])("does not end or begin because of a proxy's answer: $status", async (foreign) => {
    api.on('POST auth/refresh', () => foreign)
    const session = new Session()
    await session.start()
    expect(session.state()).toEqual({ status: 'unreachable' })
    expect(session.token()).toBeNull()
    api.on('POST auth/refresh', () => token())
    await session.start()
    expect(session.state()).toEqual({ status: 'signed-in' })
    api.on('POST auth/refresh', () => foreign)
    await expect(session.renew(session.token() ?? '')).resolves.toBeNull()
    expect(session.state()).toEqual({ status: 'signed-in' })
  })

  it('says that a sign-in with JupyterHub failed, and not after a sign-in that came later', async () => {
    api.signedIn = false
    const session = new Session(null, 'hub-refused')
    await session.start()
    expect(session.state()).toEqual({ status: 'signed-out', reason: 'hub-refused' })
    api.signedIn = true
    await session.signIn('mari', 'secret')
    await session.signOut()
    expect(session.state()).toEqual({ status: 'signed-out', reason: 'signed-out' })
  })

  it.each(['sign_in_link_used', 'sign_in_link_ended', 'sign_in_link_expired'])(
    'stays signed in when a refused link is opened in the same browser, and says that it was refused: %s',
    async (type) => {
      api.on('POST auth/link', () => ({ status: 401, body: fault(type) }))
      const session = new Session('0123456789abcdef_secret')
      await session.start()
      expect(session.state()).toEqual({ status: 'signed-in' })
      expect(session.refusal()).toBe(type.replace('sign_in_', '').replaceAll('_', '-'))
      session.dismissRefusal()
      expect(session.refusal()).toBeNull()
    },
  )

  it('does not call a link refused in a page in which somebody signed in later', async () => {
    api.signedIn = false
    api.on('POST auth/link', () => ({ status: 401, body: fault('sign_in_link_used') }))
    const session = new Session('0123456789abcdef_secret')
    await session.start()
    expect(session.refusal()).toBeNull()
    await session.signIn('mari', 'secret')
    expect(session.refusal()).toBeNull()
  })

  it('says of a refused link what is the matter with it, also where an earlier sign-in was idle for too long', async () => {
    api.on('POST auth/link', () => ({ status: 401, body: fault('sign_in_link_used') }))
    api.on('POST auth/refresh', () => ({ status: 401, body: fault('sign_in_idle') }))
    const session = new Session('0123456789abcdef_secret')
    await session.start()
    expect(session.state()).toEqual({ status: 'signed-out', reason: 'link-used' })
  })

  it('signs in both of two tabs in which one link was opened at the same time', async () => {
    api.signedIn = false
    removeMark(readMark())
    let used = false
    let answerFirst: (value: Answer) => void = () => undefined
    api.on('POST auth/link', () => {
      if (used) return { status: 401, body: fault('sign_in_link_used') }
      used = true
      return new Promise<Answer>((resolve) => (answerFirst = resolve))
    })
    const [first, second] = [new Session('0123456789abcdef_secret'), new Session('0123456789abcdef_secret')]
    const starting = first.start()
    await second.start()
    expect(second.state()).toEqual({ status: 'signed-out', reason: 'link-used' })
    // The browser has the cookie from now on.
    api.signedIn = true
    answerFirst(token())
    await starting
    vi.useRealTimers()
    await vi.waitFor(() => expect(second.state()).toEqual({ status: 'signed-in' }))
    expect(first.state()).toEqual({ status: 'signed-in' })
    // It was this link that signed the person in.
    expect(second.refusal()).toBeNull()
  })

  it('keeps the link while the server does not answer', async () => {
    api.on('POST auth/link', () => ({ status: 503, body: fault('database_unavailable') }))
    const session = new Session('0123456789abcdef_secret')
    await session.start()
    expect(session.state()).toEqual({ status: 'unreachable' })
    api.on('POST auth/link', () => token())
    await session.start()
    expect(session.state()).toEqual({ status: 'signed-in' })
  })

  it('renews before the token expires, and passes the new token to its listeners', async () => {
    api.on('POST auth/refresh', () => token(600))
    const session = new Session()
    const tokens: string[] = []
    session.onToken((value) => tokens.push(value))
    await session.start()
    await vi.advanceTimersByTimeAsync(460_000)
    expect(tokens).toHaveLength(2)
    expect(session.remainingMs()).toBeGreaterThan(500_000)
  })

  it('reports that the sign-in has expired when it cannot be renewed', async () => {
    const session = new Session()
    await session.start()
    api.signedIn = false
    await vi.advanceTimersByTimeAsync(460_000)
    expect(session.state()).toEqual({ status: 'signed-out', reason: 'expired' })
    expect(session.token()).toBeNull()
  })

  it('stays signed in while the server is unreachable, and retries', async () => {
    const session = new Session()
    await session.start()
    api.on('POST auth/refresh', () => ({ status: 503, body: fault('unavailable') }))
    await vi.advanceTimersByTimeAsync(460_000)
    expect(session.state()).toEqual({ status: 'signed-in' })
    const before = refreshes()
    await vi.advanceTimersByTimeAsync(11_000)
    expect(refreshes()).toBe(before + 2)
  })

  it('reports an unreachable server, not a signed-out person', async () => {
    api.on('POST auth/refresh', () => Promise.reject(new TypeError('network')))
    const session = new Session()
    await session.start()
    expect(session.state()).toEqual({ status: 'unreachable' })
    api.on('POST auth/refresh', () => token())
    await vi.advanceTimersByTimeAsync(5_000)
    expect(session.state()).toEqual({ status: 'signed-in' })
  })

  it('renews once for many concurrent requests', async () => {
    const session = new Session()
    await session.start()
    const before = refreshes()
    await Promise.all([session.renew('token'), session.renew('token'), session.fresh(900_000)])
    expect(refreshes()).toBe(before + 1)
  })

  it('stays signed out when a renewal that was in progress succeeds', async () => {
    const session = new Session()
    await session.start()
    let answer: (value: Answer) => void = () => undefined
    api.on('POST auth/refresh', () => new Promise<Answer>((resolve) => (answer = resolve)))
    const renewal = session.renew('token')
    await session.signOut()
    answer(token())
    await renewal
    expect(session.state()).toEqual({ status: 'signed-out', reason: 'signed-out' })
    expect(session.token()).toBeNull()
  })

  it('sends no refresh on a first visit, before any sign-in', async () => {
    localStorage.clear()
    api.signedIn = false
    const session = new Session()
    await session.start()
    expect(session.state()).toEqual({ status: 'signed-out', reason: 'none' })
    expect(api.calls).toEqual([])
  })

  it('is signed in in a new tab after a sign-in, and not after signing out', async () => {
    localStorage.clear()
    const session = new Session()
    await session.start()
    await session.signIn('mari', 'secret')
    const tab = new Session()
    await tab.start()
    expect(tab.state()).toEqual({ status: 'signed-in' })
    await session.signOut()
    const before = refreshes()
    const later = new Session()
    await later.start()
    expect(later.state()).toEqual({ status: 'signed-out', reason: 'none' })
    expect(refreshes()).toBe(before)
  })

  it('sends one refresh, not one a visit, after the sign-in has expired', async () => {
    api.signedIn = false
    await new Session().start()
    await new Session().start()
    expect(refreshes()).toBe(1)
  })

  it('sends another refresh after an answer other than 401', async () => {
    api.on('POST auth/refresh', () => ({ status: 503, body: fault('unavailable') }))
    await new Session().start()
    await new Session().start()
    expect(refreshes()).toBe(2)
  })

  it('sends a refresh where the browser forbids local storage', async () => {
    vi.spyOn(Storage.prototype, 'getItem').mockImplementation(() => {
      throw new DOMException('storage is forbidden', 'SecurityError')
    })
    const session = new Session()
    await session.start()
    expect(session.state()).toEqual({ status: 'signed-in' })
  })

  it('keeps the sign-in of one tab when another gets a 401 at the same time', async () => {
    let refuse: (value: Answer) => void = () => undefined
    api.on('POST auth/refresh', () => new Promise<Answer>((resolve) => (refuse = resolve)))
    const slow = new Session()
    const started = slow.start()
    await new Session().signIn('mari', 'secret')
    refuse({ status: 401, body: fault('not_authenticated') })
    await started
    api.on('POST auth/refresh', () => token())
    const reloaded = new Session()
    await reloaded.start()
    expect(reloaded.state()).toEqual({ status: 'signed-in' })
  })

  it('discards the token on signing out even if the server is unreachable', async () => {
    const session = new Session()
    await session.start()
    api.on('POST auth/logout', () => Promise.reject(new TypeError('network')))
    await session.signOut()
    expect(session.token()).toBeNull()
  })
})

describe('requests', () => {
  const client = async () => {
    const session = new Session()
    await session.start()
    return new ApiClient(session)
  }

  it('renew an expired token and are repeated once', async () => {
    const requests = await client()
    api.on('POST auth/refresh', () => token())
    let first = true
    api.on('GET me', () => {
      if (!first) return { body: { username: 'mari' } }
      first = false
      return { status: 401, body: fault('token_expired') }
    })
    await expect(requests.request('me')).resolves.toEqual({ username: 'mari' })
    api.on('GET me', () => ({ status: 401, body: fault('token_expired') }))
    const before = api.calls.filter((call) => call === 'GET me').length
    await expect(requests.request('me')).rejects.toThrow(ApiError)
    expect(api.calls.filter((call) => call === 'GET me').length).toBe(before + 2)
  })

  it('name the error, and distinguish an error answer from no answer', async () => {
    const requests = await client()
    api.on('GET me', () => ({ status: 429, body: fault('rate_limited', 'slow down'), headers: { 'Retry-After': '7' } }))
    await expect(requests.request('me')).rejects.toMatchObject({
      status: 429,
      type: 'rate_limited',
      message: 'slow down',
      retryAfterS: 7,
    })
    api.on('GET me', () => Promise.reject(new TypeError('network')))
    await expect(requests.request('me')).rejects.toThrow(UnreachableError)
  })

  it.each([200, 400, 401, 403, 404, 413, 422, 429, 500, 502])(
    "treat a proxy's %i instead of the API's as no answer",
    async (status) => {
      const requests = new ApiClient({ token: () => 't', renew: () => Promise.resolve(null) })
      for (const page of ['<!doctype html>', '', '{"message": "no"}', '{"detail": "Forbidden"}']) {
        if (status === 200 && page.startsWith('{')) continue
        vi.stubGlobal('fetch', () => Promise.resolve(new Response(page, { status })))
        await expect(requests.request('me')).rejects.toThrow(UnreachableError)
      }
    },
  )
})
