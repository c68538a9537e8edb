import { afterEach, describe, expect, it } from 'vitest'

import { leaveForProvider, returnFromProvider } from './provider-sign-in'
import { readMark } from './sign-in-mark'

const RETURN_KEY = 'cell-monitor.return-to'

afterEach(() => {
  history.replaceState(null, '', '/')
  sessionStorage.clear()
  localStorage.clear()
})

describe('the way back from a sign-in at another site', () => {
  it('leads to the page that was left, once', () => {
    history.replaceState(null, '', '/courses/c1?sort=name')
    leaveForProvider()
    history.replaceState(null, '', '/')
    const entries = history.length
    expect(returnFromProvider()).toBeNull()
    expect(location.href).toMatch(/\/courses\/c1\?sort=name$/)
    expect(history.length).toBe(entries)
    history.replaceState(null, '', '/')
    returnFromProvider()
    expect(location.pathname).toBe('/')
  })

  it('lets the page ask whether somebody is signed in', () => {
    expect(readMark()).toBeNull()
    leaveForProvider()
    expect(readMark()).not.toBeNull()
  })

  it.each([
    ['hub_sign_in_invalid', 'hub-invalid'],
    ['hub_sign_in_refused', 'hub-refused'],
    ['hub_unavailable', 'hub-unavailable'],
    ['oidc_sign_in_invalid', 'oidc-invalid'],
    ['oidc_sign_in_refused', 'oidc-refused'],
    ['oidc_token_expired', 'oidc-expired'],
    ['oidc_token_unverified', 'oidc-unverified'],
    ['oidc_unavailable', 'oidc-unavailable'],
    ['database_unavailable', 'database-unavailable'],
    ['of_a_newer_server', 'provider-other'],
    ['constructor', 'provider-other'],
  ])('says why it failed, and removes that from the address: %s', (code, reason) => {
    history.replaceState(null, '', '/courses')
    leaveForProvider()
    history.replaceState(null, '', `/#sign-in-failed=${code}`)
    expect(returnFromProvider()).toBe(reason)
    expect(location.pathname + location.hash).toBe('/courses')
    expect(returnFromProvider()).toBeNull()
  })

  it.each(['//evil.example/', '/\\evil.example/', 'https://evil.example/', 'javascript:alert(1)', ''])(
    'stays on this origin: %j',
    (page) => {
      sessionStorage.setItem(RETURN_KEY, page)
      returnFromProvider()
      expect(location.href).toBe(`${location.origin}/`)
    },
  )

  it.each(['#sign-in-failed=', '#sign-in-failed=<b>', '#other'])('says nothing for %j', (hash) => {
    history.replaceState(null, '', `/${hash}`)
    expect(returnFromProvider()).toBeNull()
  })
})
