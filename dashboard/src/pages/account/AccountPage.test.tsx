// Hazards: somebody who left a computer signed in cannot end that, or a failure to do so is not reported; a person cannot
// choose their own password, or does not see why.
import { screen, waitFor } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import { beforeEach, describe, expect, it } from 'vitest'

import { fault, FakeApi, renderApp } from '../../testing/app'

let api: FakeApi

const state = (change: string, hasPassword: boolean) => ({
  body: { has_password: hasPassword, change, min_chars: 12, max_chars: 128 },
})

beforeEach(() => {
  api = new FakeApi()
  api.on('GET auth/password', () => state('present_password', true))
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

describe('the own password', () => {
  const token = { body: { access_token: 'token-2', token_type: 'bearer', expires_in: 600 } }

  it('is chosen without a present one after a sign-in with a link, and what else has ended is said', async () => {
    let change = 'link'
    api.on('GET auth/password', () => state(change, change !== 'link'))
    api.on('POST auth/password', (body) => {
      expect(body).toEqual({ new: 'seven purple lamps' })
      change = 'present_password'
      return token
    })
    const user = userEvent.setup()
    const { services } = renderApp('/account')
    const field = await screen.findByLabelText('New password')
    expect(field).toHaveAccessibleDescription(/At least 12 characters/)
    expect(field).toHaveAttribute('autocomplete', 'new-password')
    expect(screen.queryByLabelText('Present password')).toBeNull()
    await user.type(field, 'seven purple lamps')
    await user.click(screen.getByRole('button', { name: 'Set password' }))
    expect(await screen.findByText(/All your other sign-ins and unused links have ended/)).toBeVisible()
    expect(await screen.findByLabelText('Present password')).toBeVisible()
    expect(screen.getByLabelText('New password')).toHaveValue('')
    expect(services.session.token()).toBe('token-2')
  })

  it('is asked for on the first page of who signed in with a link and has none, and of nobody else', async () => {
    api.on('GET auth/password', () => state('link', false))
    const user = userEvent.setup()
    const { unmount } = renderApp('/courses')
    await user.click(await screen.findByRole('link', { name: 'Set password' }))
    expect(await screen.findByLabelText('New password')).toBeVisible()
    unmount()
    for (const [change, hasPassword] of [['link', true], ['installation', true], ['elsewhere', false]] as const) {
      api.calls.length = 0
      api.on('GET auth/password', () => state(change, hasPassword))
      const page = renderApp('/courses')
      await screen.findByRole('link', { name: 'Programming' })
      await waitFor(() => expect(page.services.client.getQueryData(['password'])).toMatchObject({ change }))
      expect(screen.queryByRole('link', { name: 'Set password' })).toBeNull()
      page.unmount()
    }
  })

  it('is changed with the present one only, and the field to correct gets the focus and the reason', async () => {
    let answer: () => { status?: number; body: unknown; headers?: Record<string, string> } = () => ({
      status: 403,
      body: fault('present_password_wrong'),
    })
    api.on('POST auth/password', () => answer())
    const user = userEvent.setup()
    renderApp('/account')
    const present = await screen.findByLabelText('Present password')
    const next = screen.getByLabelText('New password')
    const submit = screen.getByRole('button', { name: 'Change password' })
    await user.type(next, 'seven purple lamps')
    await user.click(submit)
    expect(screen.getByRole('alert')).toHaveTextContent('Enter your present password.')
    expect(present).toHaveFocus()
    expect(api.calls).not.toContain('POST auth/password')

    await user.type(present, 'guessed')
    await user.click(submit)
    expect(await screen.findByText(/ask the person who runs Cell Monitor for a link/)).toBeVisible()
    expect(present).toHaveFocus()
    expect(present).toHaveAttribute('aria-invalid', 'true')
    expect(present).toHaveAccessibleDescription(/not your present password/)

    answer = () => ({ status: 422, body: fault('password_common') })
    await user.click(submit)
    expect(await screen.findByText(/a common one/)).toBeVisible()
    expect(next).toHaveFocus()
    expect(next).toHaveAccessibleDescription(/a common one/)
    expect(present).toHaveAttribute('aria-invalid', 'false')

    answer = () => ({ status: 429, body: fault('rate_limited'), headers: { 'Retry-After': '90' } })
    await user.click(submit)
    expect(await screen.findByText(/Too many attempts\. Wait .*90|Too many attempts\. Wait 1/)).toBeVisible()

    answer = () => token
    await user.click(submit)
    expect(await screen.findByText(/Your new password is set/)).toBeVisible()
    expect(screen.queryByRole('alert')).toBeNull()
  })

  it('is not sent while it is too short, counted in composed characters', async () => {
    api.on('GET auth/password', () => state('link', false))
    const user = userEvent.setup()
    renderApp('/account', 'ja')
    await user.type(await screen.findByLabelText('新しいパスワード'), 'e\u0301'.repeat(11))
    await user.click(screen.getByRole('button', { name: 'パスワードを設定' }))
    expect(screen.getByRole('alert')).toHaveTextContent('12 文字以上')
    expect(api.calls).not.toContain('POST auth/password')
  })

  it.each([
    ['elsewhere', false, /through another service, such as JupyterHub/],
    ['link_needed', false, /ask the person who runs Cell Monitor for a new link/],
    ['installation', true, /instructor-password/],
  ])('cannot be changed here and says why: %s', async (change, hasPassword, text) => {
    api.on('GET auth/password', () => state(change, hasPassword))
    renderApp('/account')
    expect(await screen.findByText(text)).toBeVisible()
    expect(screen.queryByLabelText('New password')).toBeNull()
  })

  it('shows the sign-in when the sign-in has ended meanwhile', async () => {
    api.on('GET auth/password', () => state('link', false))
    api.on('POST auth/password', () => {
      api.signedIn = false
      return { status: 401, body: fault('not_authenticated') }
    })
    const user = userEvent.setup()
    renderApp('/account')
    await user.type(await screen.findByLabelText('New password'), 'seven purple lamps')
    await user.click(screen.getByRole('button', { name: 'Set password' }))
    expect(await screen.findByText('Your sign-in has ended. Sign in again to go on where you were.')).toBeVisible()
  })
})
