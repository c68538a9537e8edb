// Hazard: somebody who left a computer signed in cannot end that, or a failure to do so is not reported.
import { screen } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import { beforeEach, describe, expect, it } from 'vitest'

import { fault, FakeApi, renderApp } from '../../testing/app'

let api: FakeApi

beforeEach(() => {
  api = new FakeApi()
})

describe('the own account', () => {
  it('is reached from the name at the top, and signs out everywhere', async () => {
    api.on('POST auth/logout-everywhere', () => {
      api.signedIn = false
      return { status: 204 }
    })
    const user = userEvent.setup()
    renderApp('/courses')
    await user.click(await screen.findByRole('link', { name: 'Your account, signed in as Mari Aoki' }))
    expect(await screen.findByRole('heading', { level: 1, name: 'Your account' })).toBeVisible()
    expect(screen.getByText('User name: mari')).toBeVisible()
    await user.click(screen.getByRole('button', { name: 'Sign out everywhere' }))
    expect(await screen.findByText('You are signed out.')).toBeVisible()
    expect(api.calls).toContain('POST auth/logout-everywhere')
    expect(api.calls).not.toContain('POST auth/logout')
  })

  it('says when the server did not do it, and stays signed in', async () => {
    api.on('POST auth/logout-everywhere', () => ({ status: 503, body: fault('database_unavailable') }))
    const user = userEvent.setup()
    renderApp('/account', 'ja')
    await user.click(await screen.findByRole('button', { name: 'すべての端末からサインアウト' }))
    expect(await screen.findByRole('alert')).toHaveTextContent('503')
    expect(screen.getByRole('heading', { level: 1, name: 'アカウント' })).toBeVisible()
  })
})
