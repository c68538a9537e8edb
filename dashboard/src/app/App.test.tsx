import { act, screen, waitFor, within } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import { beforeEach, describe, expect, it } from 'vitest'

import { fault, FakeApi, renderApp } from '../testing/app'
import { installFakeSockets } from '../testing/sockets'

let api: FakeApi

beforeEach(() => {
  installFakeSockets()
  api = new FakeApi()
})

describe('a link that was refused to somebody who is signed in', () => {
  it('is not passed over in silence, and its notice can be closed', async () => {
    api.on('POST auth/link', () => ({ status: 401, body: fault('sign_in_link_ended_password_reset') }))
    const user = userEvent.setup()
    renderApp('/courses', 'en', '0123456789abcdef_secret')
    const notice = await screen.findByRole('alert')
    expect(notice).toHaveTextContent('stay signed in as the person whose name is above')
    expect(notice).toHaveTextContent('This link was ended before anybody used it, by a reset of the password')
    expect(await screen.findByRole('link', { name: /signed in as Mari Aoki/u })).toBeVisible()
    await user.click(within(notice).getByRole('button', { name: 'Close' }))
    expect(screen.queryByRole('alert')).toBeNull()
  })
})

describe('a link of another person than the one who is signed in', () => {
  const me = (name: string) => ({ person_id: name, username: name, display_name: name, is_admin: false, courses: [] })
  let used: number

  beforeEach(() => {
    used = 0
    let present = 'Mari Aoki'
    api.on('GET me', () => ({ body: me(present) }))
    api.on('POST auth/link', () => {
      if (api.signedIn) return { status: 409, body: fault('sign_in_link_of_another') }
      used += 1
      present = 'Eve Other'
      api.signedIn = true
      return { body: { access_token: 'token-of-eve', token_type: 'Bearer', expires_in: 900 } }
    })
    api.on('POST auth/logout', () => {
      api.signedIn = false
      return { status: 204 }
    })
  })

  it('signs nobody out and nobody in by being opened', async () => {
    const user = userEvent.setup()
    renderApp('/courses', 'en', '0123456789abcdef_secret')
    const notice = await screen.findByRole('alert')
    expect(notice).toHaveTextContent('The link that you opened signs in somebody else.')
    expect(await screen.findByRole('link', { name: /signed in as Mari Aoki/u })).toBeVisible()
    await user.click(within(notice).getByRole('button', { name: 'Close' }))
    expect(screen.queryByRole('alert')).toBeNull()
    expect([used, api.calls.includes('POST auth/logout')]).toEqual([0, false])
  })

  it('is used once its reader wants that', async () => {
    const user = userEvent.setup()
    renderApp('/courses', 'en', '0123456789abcdef_secret')
    await user.click(await screen.findByRole('button', { name: 'Sign out and use the link' }))
    expect(await screen.findByRole('link', { name: /signed in as Eve Other/u })).toBeVisible()
    expect(screen.queryByRole('alert')).toBeNull()
    expect(used).toBe(1)
  })
})

describe('sign-in', () => {
  beforeEach(() => {
    api.signedIn = false
  })

  it('shows the page of the address after signing in', async () => {
    const user = userEvent.setup()
    renderApp('/courses/c1')
    expect(await screen.findByLabelText('User name')).toHaveFocus()
    await user.keyboard('mari{Tab}secret{Enter}')
    expect(await screen.findByRole('heading', { level: 1, name: 'Programming' })).toBeVisible()
  })

  it('explains what is wrong and marks the field', async () => {
    const user = userEvent.setup()
    renderApp('/')
    const submit = await screen.findByRole('button', { name: 'Sign in' })
    await user.click(submit)
    expect(screen.getByRole('alert')).toHaveTextContent('Enter your user name and your password.')
    expect(screen.getByLabelText('User name')).toHaveFocus()
    api.on('POST auth/login', () => ({ status: 401, body: fault('invalid_credentials') }))
    await user.type(screen.getByLabelText('User name'), 'mari')
    await user.type(screen.getByLabelText('Password'), 'wrong')
    await user.click(submit)
    expect(await screen.findByText('User name or password is wrong.')).toBeVisible()
    expect(screen.getByLabelText('Password')).toHaveFocus()
    const detail = [{ type: 'string_too_long', msg: 'String should have at most 150 characters', loc: ['body', 'username'] }]
    api.on('POST auth/login', () => ({ status: 422, body: { detail } }))
    await user.click(submit)
    expect(await screen.findByText(/^Sign-in failed: This cannot be used as it was entered: User name/u)).toBeVisible()
    api.on('POST auth/login', () => ({
      status: 429,
      body: fault('rate_limited'),
      headers: { 'Retry-After': '120' },
    }))
    await user.click(submit)
    expect(await screen.findByText('Too many attempts. Wait 2 min and try again.')).toBeVisible()
  })

  it('is translated into Japanese', async () => {
    const user = userEvent.setup()
    renderApp('/', 'ja')
    await user.click(await screen.findByRole('button', { name: 'サインイン' }))
    expect(screen.getByRole('alert')).toHaveTextContent('ユーザー名とパスワードを入力してください。')
  })
})

describe('the ways to sign in', () => {
  const offer = (...kinds: string[]) =>
    api.on('GET config', () => ({
      body: { gateway_url: '/ws', version: '1.2.3', sign_in: kinds.map((kind) => ({ kind })) },
    }))

  beforeEach(() => {
    api.signedIn = false
  })

  it('that this page does not know are left out', async () => {
    offer('retina-scan', 'password')
    renderApp('/')
    expect(await screen.findByLabelText('Password')).toBeVisible()
    expect(screen.getAllByRole('button', { name: 'Sign in' })).toHaveLength(1)
    expect(screen.queryByText(/retina/u)).toBeNull()
  })

  it.each([[[]], [['retina-scan']]])('are missing: the page says what to do (%j)', async (kinds: string[]) => {
    offer(...kinds)
    renderApp('/')
    expect(await screen.findByRole('alert')).toHaveTextContent(/no way to sign in.*Reload the page.*set up Cell Monitor/u)
    expect(screen.queryByLabelText('Password')).toBeNull()
  })

  it('with JupyterHub comes first where the server offers it, and not elsewhere', async () => {
    const user = userEvent.setup()
    offer('jupyterhub', 'password')
    const { unmount } = renderApp('/courses/c1')
    const link = await screen.findByRole('link', { name: 'Sign in with JupyterHub' })
    expect(link).toHaveAttribute('href', '/api/v1/auth/hub/start')
    expect(screen.getByLabelText('User name')).not.toHaveFocus()
    await user.click(screen.getByRole('button', { name: '日本語' }))
    expect(await screen.findByRole('link', { name: 'JupyterHub でサインイン' })).toBeVisible()
    unmount()
    offer('password')
    renderApp('/courses/c1', 'en')
    expect(await screen.findByLabelText('User name')).toHaveFocus()
    expect(screen.queryByRole('link', { name: 'Sign in with JupyterHub' })).toBeNull()
  })

  it('with OpenID Connect show the name that is configured, or a general one', async () => {
    const user = userEvent.setup()
    const shown = (label: string | null) =>
      api.on('GET config', () => ({
        body: {
          gateway_url: '/ws',
          version: '1.2.3',
          sign_in: [{ kind: 'oidc', ...(label === null ? {} : { label }) }, { kind: 'password' }],
        },
      }))
    shown('Example University')
    const { unmount } = renderApp('/courses/c1', 'en')
    const link = await screen.findByRole('link', { name: 'Sign in with Example University' })
    expect(link).toHaveAttribute('href', '/api/v1/auth/oidc/start')
    await user.click(screen.getByRole('button', { name: '日本語' }))
    expect(await screen.findByRole('link', { name: 'Example University でサインイン' })).toBeVisible()
    unmount()
    shown(null)
    renderApp('/courses/c1', 'en')
    expect(await screen.findByRole('link', { name: "Sign in with your organisation's account" })).toBeVisible()
  })

  it('cannot be learned: the page asks again', async () => {
    const user = userEvent.setup()
    api.on('GET config', () => ({ status: 503, body: fault('unavailable') }))
    renderApp('/')
    await screen.findByRole('alert')
    expect(screen.queryByLabelText('Password')).toBeNull()
    offer('password')
    await user.click(screen.getByRole('button', { name: 'Try again' }))
    expect(await screen.findByLabelText('User name')).toHaveFocus()
  })
})

describe('pages', () => {
  it('list the courses with their open help requests', async () => {
    renderApp('/')
    const link = await screen.findByRole('link', { name: 'Programming' })
    expect(link).toHaveAttribute('href', '/courses/c1')
    expect(screen.getByText('2 need help')).toBeVisible()
    expect(screen.getByText('Instructor')).toBeVisible()
  })

  it('explain that there are no courses', async () => {
    api.on('GET courses', () => ({ body: { courses: [] } }))
    renderApp('/courses')
    expect(await screen.findByText(/not on the staff of any course/u)).toBeVisible()
  })

  it('report an unknown address', async () => {
    renderApp('/nowhere')
    expect(await screen.findByRole('heading', { name: 'Page not found' })).toBeVisible()
  })

  it('show the same page again after an expired sign-in is renewed', async () => {
    const user = userEvent.setup()
    const { services } = renderApp('/courses')
    await screen.findByRole('link', { name: 'Programming' })
    api.signedIn = false
    await act(() => services.session.renew('token'))
    expect(await screen.findByText(/Your sign-in has ended/u)).toBeVisible()
    expect(screen.queryByRole('link', { name: 'Programming' })).toBeNull()
    await user.type(await screen.findByLabelText('User name'), 'mari')
    await user.type(screen.getByLabelText('Password'), 'secret{Enter}')
    expect(await screen.findByRole('link', { name: 'Programming' })).toBeVisible()
  })

  it('show the next person nothing of the one before', async () => {
    const user = userEvent.setup()
    const { services } = renderApp('/courses')
    await screen.findByRole('link', { name: 'Programming' })
    await user.click(screen.getByRole('button', { name: 'Sign out' }))
    expect(await screen.findByText('You are signed out.')).toBeVisible()
    await waitFor(() => expect(services.client.getQueryData(['courses'])).toBeUndefined())
    expect(services.client.getQueryData(['me'])).toBeUndefined()
  })

  it('report that the server is unreachable instead of showing the sign-in form', async () => {
    api.on('POST auth/refresh', () => Promise.reject(new TypeError('network')))
    renderApp('/')
    expect(await screen.findByRole('heading', { name: 'The server does not answer' })).toBeVisible()
  })
})

describe('preferences', () => {
  it('set language and theme, and are stored', async () => {
    const user = userEvent.setup()
    renderApp('/courses')
    await screen.findByRole('link', { name: 'Programming' })
    await user.click(screen.getByRole('button', { name: '日本語' }))
    expect(await screen.findByRole('heading', { name: '授業一覧' })).toBeVisible()
    expect(document.documentElement.lang).toBe('ja')
    expect(screen.getByRole('button', { name: '日本語' })).toHaveAttribute('aria-pressed', 'true')
    await user.click(screen.getByRole('button', { name: 'ダークテーマに切り替える' }))
    expect(document.documentElement.dataset['theme']).toBe('dark')
    expect(localStorage.getItem('cell-monitor.language')).toBe('ja')
    expect(localStorage.getItem('cell-monitor.theme')).toBe('dark')
  })

  it('have a link that skips the header', async () => {
    renderApp('/courses')
    await screen.findByRole('link', { name: 'Programming' })
    expect(screen.getByRole('link', { name: 'Skip to content' })).toHaveAttribute('href', '#main')
    expect(screen.getByRole('main')).toHaveAttribute('id', 'main')
    expect(screen.getByRole('banner')).toBeVisible()
    expect(screen.getByRole('contentinfo')).toBeVisible()
  })
})
