import { afterEach, describe, expect, it } from 'vitest'

import { leaveForHub, returnFromHub } from './hub-sign-in'
import { readMark } from './sign-in-mark'

const RETURN_KEY = 'cell-monitor.return-to'

afterEach(() => {
  history.replaceState(null, '', '/')
  sessionStorage.clear()
  localStorage.clear()
})

describe('the way back from JupyterHub', () => {
  it('leads to the page that was left, once', () => {
    history.replaceState(null, '', '/courses/c1?sort=name')
    leaveForHub()
    history.replaceState(null, '', '/')
    const entries = history.length
    expect(returnFromHub()).toBeNull()
    expect(location.href).toMatch(/\/courses\/c1\?sort=name$/)
    expect(history.length).toBe(entries)
    history.replaceState(null, '', '/')
    returnFromHub()
    expect(location.pathname).toBe('/')
  })

  it('lets the page ask whether somebody is signed in', () => {
    expect(readMark()).toBeNull()
    leaveForHub()
    expect(readMark()).not.toBeNull()
  })

  it.each([
    ['hub_sign_in_invalid', 'hub-invalid'],
    ['hub_sign_in_refused', 'hub-refused'],
    ['hub_unavailable', 'hub-unavailable'],
    ['database_unavailable', 'hub-unavailable'],
  ])('says why it failed, and removes that from the address: %s', (code, reason) => {
    history.replaceState(null, '', '/courses')
    leaveForHub()
    history.replaceState(null, '', `/#sign-in-failed=${code}`)
    expect(returnFromHub()).toBe(reason)
    expect(location.pathname + location.hash).toBe('/courses')
    expect(returnFromHub()).toBeNull()
  })

  it.each(['//evil.example/', '/\\evil.example/', 'https://evil.example/', 'javascript:alert(1)', ''])(
    'stays on this origin: %j',
    (page) => {
      sessionStorage.setItem(RETURN_KEY, page)
      returnFromHub()
      expect(location.href).toBe(`${location.origin}/`)
    },
  )

  it.each(['#sign-in-failed=', '#sign-in-failed=<b>', '#other'])('says nothing for %j', (hash) => {
    history.replaceState(null, '', `/${hash}`)
    expect(returnFromHub()).toBeNull()
  })
})
