// Hazard: a key is made that may do more than the page says, is lost or shown again, or one that leaked cannot be revoked.
import { cleanup, screen, waitFor, within } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import { beforeEach, describe, expect, it } from 'vitest'

import type { ApiKey } from '../../api/types'
import { fault, FakeApi, renderApp } from '../../testing/app'
import { row } from '../../testing/course'

const FUTURE = '2999-01-01T00:00:00Z'
const TEXT = 'cm_0123456789abcdef_secret'

let api: FakeApi
let keys: ApiKey[]
let sent: unknown[]

const key = (name: string, changes: Partial<ApiKey> = {}): ApiKey => ({
  key_id: name.padEnd(16, '0'),
  name,
  person_id: null,
  username: null,
  scopes: ['events:write'],
  created_at: '2026-04-01T00:00:00Z',
  expires_at: FUTURE,
  revoked_at: null,
  last_used_at: null,
  ...changes,
})

beforeEach(() => {
  api = new FakeApi()
  sent = []
  keys = [
    key('lab 3', { username: 'tanaka', person_id: 'p7', scopes: ['events:write', 'people:act_as'] }),
    key('roster'),
    key('old', { expires_at: '2026-01-05T12:00:00Z' }),
    key('leaked', { revoked_at: '2026-02-05T12:00:00Z' }),
  ]
  api.on('GET api-keys', () => ({ body: { api_keys: keys } }))
  api.on('POST api-keys', (body) => {
    sent.push(body)
    const made = key('lab 4')
    keys = [made, ...keys]
    return { status: 201, body: { ...made, key: TEXT } }
  })
})

const make = () => screen.getByRole('button', { name: 'Make a key' })

describe('API keys', () => {
  it('says of each what it may do and as whom, and shows ended ones only on request', async () => {
    const user = userEvent.setup()
    renderApp('/keys')
    expect(await screen.findByRole('heading', { name: '2 keys work' })).toBeVisible()
    expect(row('lab 3')).toHaveTextContent('Send events, Send events for other people')
    expect(row('lab 3')).toHaveTextContent('tanaka')
    expect(row('roster')).toHaveTextContent('A program, as itself')
    expect(screen.queryByRole('row', { name: /leaked/u })).toBeNull()
    await user.click(screen.getByRole('checkbox', { name: 'Also show revoked keys and those that are over' }))
    expect(row('leaked')).toHaveTextContent('Revoked on Feb 5, 2026')
    expect(row('old')).toHaveTextContent('Over since Jan 5, 2026')
    expect(within(row('leaked')).queryByRole('button')).toBeNull()
  })

  it('shows a long list of them in parts, and finds each by its name, its id or its user name', async () => {
    keys = Array.from({ length: 201 }, (_, index) => key(`k${index}`, { key_id: `id-${index}`, username: `student-${index}` }))
    const user = userEvent.setup()
    renderApp('/keys')
    const rows = () => within(screen.getByRole('table')).getAllByRole('row').length - 1
    expect(await screen.findByText('Shown: 200 of 201')).toBeVisible()
    expect(rows()).toBe(200)
    await user.type(screen.getByRole('searchbox'), 'STUDENT-200')
    await waitFor(() => expect(rows()).toBe(1))
    expect(screen.getByRole('row', { name: /^k200/u })).toBeVisible()
    expect(screen.getByText('Shown: 1 of 1')).toBeVisible()
  })

  it('makes what was chosen and nothing more, and shows the key until it is kept, once', async () => {
    const user = userEvent.setup()
    renderApp('/keys')
    await user.type(await screen.findByRole('textbox', { name: /^Name/u }), ' lab 4 ')
    await user.click(screen.getByRole('checkbox', { name: 'Send events' }))
    await user.clear(screen.getByRole('spinbutton'))
    await user.type(screen.getByRole('spinbutton'), '90')
    await user.click(make())
    expect(await screen.findByRole('textbox', { name: 'Key' })).toHaveValue(TEXT)
    expect(sent).toEqual([{ name: 'lab 4', scopes: ['events:write'], expires_in_days: 90 }])
    expect(await screen.findByRole('heading', { name: '3 keys work' })).toBeVisible()
    await user.click(screen.getByRole('button', { name: 'I have kept it' }))
    expect(document.body.innerHTML).not.toContain(TEXT)
  })

  it('shows a key until it is kept, whatever is made or refused after it', async () => {
    const texts = [TEXT, `${TEXT}2`]
    api.on('POST api-keys', (body) => {
      sent.push(body)
      const text = texts.shift()
      return text === undefined
        ? { status: 404, body: fault('not_found') }
        : { status: 201, body: { ...key(`new ${sent.length}`), key: text } }
    })
    const user = userEvent.setup()
    renderApp('/keys')
    for (const name of ['first', 'second', 'third']) {
      const field = await screen.findByRole('textbox', { name: /^Name/u })
      await user.type(field, name)
      await user.click(screen.getByRole('checkbox', { name: 'Send events' }))
      await user.click(make())
      await waitFor(() => expect(sent).toContainEqual(expect.objectContaining({ name })))
      if (name !== 'third') await waitFor(() => expect(field).toHaveValue(''))
    }
    expect(await screen.findByRole('alert')).toBeVisible()
    const shown = () => screen.queryAllByRole('textbox', { name: 'Key' }).map((field) => (field as HTMLInputElement).value)
    expect(shown()).toEqual([`${TEXT}2`, TEXT])
    await user.click(screen.getAllByRole('button', { name: 'I have kept it' })[0]!)
    expect(shown()).toEqual([TEXT])
    expect(document.body.innerHTML).not.toContain(`${TEXT}2`)
  })

  it.each([
    ['no name', '', true, '90', 'Enter a name of 1 to 100 characters.'],
    ['nothing chosen', 'k', false, '90', 'Choose at least one thing that it may do.'],
    ['two years and a day', 'k', true, '731', 'Enter a whole number of days from 1 to 730.'],
    ['half a day', 'k', true, '0.5', 'Enter a whole number of days from 1 to 730.'],
  ])('asks for another entry and sends nothing: %s', async (_, name, chosen, days, message) => {
    const user = userEvent.setup()
    renderApp('/keys')
    const field = await screen.findByRole('textbox', { name: /^Name/u })
    if (name !== '') await user.type(field, name)
    if (chosen) await user.click(screen.getByRole('checkbox', { name: 'Send events' }))
    await user.clear(screen.getByRole('spinbutton'))
    await user.type(screen.getByRole('spinbutton'), days)
    await user.click(make())
    expect(await screen.findByRole('alert')).toHaveTextContent(message)
    expect(sent).toEqual([])
  })

  it('asks for another user name where nobody can have this one, and sends nothing', async () => {
    const user = userEvent.setup()
    renderApp('/keys', 'ja')
    await user.type(await screen.findByRole('textbox', { name: /^名前/u }), 'k')
    await user.click(screen.getByRole('textbox', { name: /ユーザー名/u }))
    await user.paste('x'.repeat(151))
    await user.click(screen.getByRole('checkbox', { name: 'イベントの送信' }))
    await user.click(screen.getByRole('button', { name: 'キーを作成' }))
    expect(await screen.findByRole('alert')).toHaveTextContent('ユーザー名が 150 文字を超えている')
    expect(sent).toEqual([])
  })

  it('says that nobody has a user name', async () => {
    api.on('POST api-keys', () => ({ status: 404, body: fault('not_found') }))
    const user = userEvent.setup()
    renderApp('/keys', 'ja')
    await user.type(await screen.findByRole('textbox', { name: /^名前/u }), 'k')
    await user.type(screen.getByRole('textbox', { name: /ユーザー名/u }), 'nobody')
    await user.click(screen.getByRole('checkbox', { name: 'イベントの送信' }))
    await user.click(screen.getByRole('button', { name: 'キーを作成' }))
    expect(await screen.findByRole('alert')).toHaveTextContent('このユーザー名の人はいません。')
  })

  it('shows a key that was made although the answer was lost, and does not say that none was', async () => {
    api.on('POST api-keys', () => {
      keys = [key('lab 4'), ...keys]
      return Promise.reject(new TypeError('network'))
    })
    const user = userEvent.setup()
    renderApp('/keys', 'ja')
    await user.type(await screen.findByRole('textbox', { name: /^名前/u }), 'lab 4')
    await user.click(screen.getByRole('checkbox', { name: 'イベントの送信' }))
    await user.click(screen.getByRole('button', { name: 'キーを作成' }))
    expect(await screen.findByRole('alert')).toHaveTextContent('反映されたかどうかわかりません')
    expect(await screen.findByRole('row', { name: /lab 4/u })).toBeVisible()
  })

  it('revokes after a second click', async () => {
    const user = userEvent.setup()
    let revoked = 0
    api.on('DELETE api-keys/roster0000000000', () => {
      revoked += 1
      keys = keys.map((each) => (each.name === 'roster' ? { ...each, revoked_at: '2026-04-01T00:00:00Z' } : each))
      return { status: 204 }
    })
    renderApp('/keys')
    await user.click(await screen.findByRole('button', { name: 'Revoke the key roster' }))
    expect(revoked).toBe(0)
    await user.click(screen.getByRole('button', { name: 'Revoke roster permanently' }))
    await waitFor(() => expect(screen.queryByRole('row', { name: /roster/u })).toBeNull())
    expect(revoked).toBe(1)
  })

  it('is for administrators of the site, who find it in their account', async () => {
    api.on('GET api-keys', () => ({ status: 403, body: fault('permission_denied') }))
    const { unmount } = renderApp('/keys')
    expect(await screen.findByRole('heading', { level: 1, name: 'Not for your role' })).toBeVisible()
    unmount()
    const user = userEvent.setup()
    api.on('GET api-keys', () => ({ body: { api_keys: keys } }))
    renderApp('/account')
    expect(await screen.findByText('User name: mari')).toBeVisible()
    expect(screen.queryByRole('link', { name: 'API keys' })).toBeNull()
    api.on('GET me', () => ({ body: { person_id: 'p1', username: 'mari', display_name: null, is_admin: true, courses: [] } }))
    cleanup()
    renderApp('/account')
    await user.click(await screen.findByRole('link', { name: 'API keys' }))
    expect(await screen.findByRole('heading', { level: 1, name: 'API keys' })).toBeVisible()
  })
})
