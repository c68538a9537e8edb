import { afterEach, describe, expect, it } from 'vitest'

import { takeSignInLink } from './sign-in-link'

afterEach(() => {
  history.replaceState(null, '', '/')
})

describe('the link in the address', () => {
  it('is removed from the address and from the history', () => {
    history.replaceState(null, '', '/courses/c1?sort=name#sign-in=0123456789abcdef_Se-cret')
    const entries = history.length
    expect(takeSignInLink()).toBe('0123456789abcdef_Se-cret')
    expect(location.href).toMatch(/\/courses\/c1\?sort=name$/)
    expect(history.length).toBe(entries)
    expect(takeSignInLink()).toBeNull()
  })

  it.each(['', '#sign-in=', '#sign-in=a b', '#other', `#sign-in=${'x'.repeat(201)}`])('is none in %j', (hash) => {
    history.replaceState(null, '', `/courses${hash}`)
    expect(takeSignInLink()).toBeNull()
  })
})
