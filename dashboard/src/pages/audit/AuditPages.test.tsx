// Hazard: an entry of the audit log reads as another act or another person's, or cannot be found.
import { screen, waitFor, within } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import { beforeEach, describe, expect, it } from 'vitest'

import type { AuditEntry, AuditPerson } from '../../api/types'
import { fault, FakeApi, renderApp } from '../../testing/app'
import { auditEntry } from '../../testing/fixtures'

let api: FakeApi
let asked: URLSearchParams[]

const ERASED: AuditPerson = { person_id: null, username: null, display_name: null }
const nobody = { actor: null, subject: null, course_id: null }

function serve(path: string, entries: AuditEntry[], next_before: string | null = null): void {
  api.on(`GET ${path}`, (_body, url) => {
    asked.push(url.searchParams)
    return url.searchParams.get('before') === null
      ? { body: { entries, next_before } }
      : { body: { entries: [auditEntry({ entry_id: 'older', action: 'member_removed', role_from: 'student' })], next_before: null } }
  })
}

const shown = async () => {
  const list = await screen.findByRole('list', { name: 'Entries' })
  return within(list).getAllByRole('listitem').map((item) => item.textContent)
}

beforeEach(() => {
  api = new FakeApi()
  asked = []
})

describe('the audit log', () => {
  it('says of each entry who did what to whom, and with what', async () => {
    serve('audit', [
      auditEntry({ entry_id: '1' }),
      auditEntry({ entry_id: '2', action: 'role_changed', role_from: 'student', role_to: 'assistant', source: 'hub', actor_kind: 'hub', actor: null }),
      auditEntry({ entry_id: '3', action: 'member_added', role_to: 'student', source: 'lti', actor_kind: 'operator', actor: null }),
      auditEntry({ ...nobody, entry_id: '4', action: 'sign_in_refused', actor_kind: 'nobody', way: 'password', address: '192.0.2.7', count: 1200 }),
      auditEntry({ entry_id: '5', action: 'sign_in_refused', actor_kind: 'nobody', actor: null, course_id: null, way: 'password', count: 1 }),
      auditEntry({ ...nobody, entry_id: '6', action: 'sign_in_refused', actor_kind: 'nobody', way: 'many', count: 7 }),
      auditEntry({ ...nobody, entry_id: '7', action: 'api_key_used', actor_kind: 'key', key_id: 'abc', actor_key_id: 'abc', key_name: 'lab 3' }),
      auditEntry({ entry_id: '8', action: 'signed_in', subject: null, course_id: null, way: 'link' }),
      auditEntry({ entry_id: '9', actor: ERASED, subject: ERASED }),
      auditEntry({ entry_id: '10', action: 'exported', actor_key_id: 'k9' }),
      auditEntry({ entry_id: '11', action: 'failed_events_replayed', subject: null, queued: 1200, unreadable: 2, reason: 'data_error' }),
    ])
    renderApp('/audit')
    const entries = await shown()
    const says = (number: number, text: string) => expect(entries[number - 1]).toContain(text)
    says(1, 'Mari Aoki (mari) opened the work of Ann Adams (ann)Course c1')
    says(2, 'JupyterHub changed the role of Ann Adams (ann) from Student to Assistant')
    expect(entries[1]).not.toContain('according to')
    says(3, 'An operator added Ann Adams (ann) as Student')
    says(3, 'according to the learning platform')
    says(4, 'A sign-in to no known account was refusedwith a password · from 192.0.2.7 · 1,200 times')
    says(5, 'A sign-in to the account of Ann Adams (ann) was refusedwith a password · 1 time')
    says(6, 'Further refused sign-ins, which are not listed one by one7 times')
    says(7, 'The API key of a service was usedKey abc, “lab 3”')
    says(8, 'Mari Aoki (mari) signed inwith a sign-in link')
    says(9, 'a person who was erased opened the work of a person who was erased')
    says(10, 'Mari Aoki (mari): exported')
    says(10, 'with the API key k9')
    says(11, 'Mari Aoki (mari) queued 1,200 failed events again')
    says(11, 'Course c1 · The store refuses the values · 2 cannot be read and go on waiting.')
    expect(screen.getByText('There are no older entries.')).toBeVisible()
  })

  it('tells a link that was used from one that was ended, was over or is not known', async () => {
    const refused = (entry_id: string, way: string) =>
      auditEntry({ entry_id, action: 'sign_in_refused', actor_kind: 'nobody', actor: null, course_id: null, way })
    const ended = (entry_id: string, cause: string | null, by: Partial<AuditEntry> = {}) =>
      auditEntry({ entry_id, action: 'sign_in_link_ended', course_id: null, cause, ...by })
    serve('audit', [
      auditEntry({ entry_id: '1', action: 'signed_in', subject: null, course_id: null, way: 'link' }),
      refused('2', 'link_used'), refused('3', 'link_ended'), refused('4', 'link_expired'), refused('5', 'link'),
      ended('6', 'password_reset', { actor_kind: 'operator', actor: null }),
      ended('7', 'password_changed'), ended('8', 'signed_out_everywhere'),
      ended('9', null, { actor_kind: 'system', actor: null }),
    ])
    const { unmount } = renderApp('/audit')
    const entries = await shown()
    const says = (number: number, text: string) => expect(entries[number - 1]).toContain(text)
    says(1, 'Mari Aoki (mari) signed inwith a sign-in link')
    says(2, 'to the account of Ann Adams (ann) was refusedwith a sign-in link that was used before')
    says(3, 'with a sign-in link that was ended before anybody used it')
    says(4, 'with a sign-in link that nobody used in time')
    says(5, 'with a sign-in link that is not known')
    says(6, 'An operator ended a sign-in link of Ann Adams (ann) before anybody used itby a reset of the password')
    says(7, 'Mari Aoki (mari) ended a sign-in link of Ann Adams (ann) before anybody used itby a change of the password')
    says(8, 'by “Sign out everywhere”')
    says(9, 'by a change or a reset of the password or by “Sign out everywhere”')
    unmount()
    renderApp('/audit', 'ja')
    const words = (await screen.findByRole('list', { name: '記録' })).textContent
    for (const each of ['使用済みの', '使われる前に無効になった', '有効期限の切れた', '不明な', 'パスワードのリセットによる'])
      expect(words).toContain(each)
  })

  it('says which of two people of one name it was, also where the log shows one of them alone', async () => {
    serve('audit', [auditEntry({ actor: { person_id: 'p1', username: '\ufffc', display_name: '...' } })])
    renderApp('/audit?person=ann')
    const [entry] = await shown()
    expect(entry).toContain('Nameless (id p1) opened the work of Ann Adams (ann)')
  })

  it('tells two people of one name apart, and shows the time both ways', async () => {
    const namesakes = ['ann', 'ann2'].map((username, index) =>
      auditEntry({ entry_id: username, at: index === 0 ? new Date(Date.now() - 3 * 3_600_000).toISOString() : 'soon', subject: { person_id: username, username, display_name: 'Ann Adams' } }),
    )
    serve('courses/c1/audit', namesakes)
    renderApp('/courses/c1/audit')
    const entries = await shown()
    expect(entries[0]).toContain('the work of Ann Adams (ann)')
    expect(entries[1]).toContain('the work of Ann Adams (ann2)')
    expect(entries[0]).toMatch(/\d{4}.*\d{2}:\d{2}:\d{2} 3 (hr|hours?) ago/u)
    expect(entries[0]).not.toContain('Course c1')
  })

  it('asks for what the filters say, keeps it in the address, and loads what is older after what is shown', async () => {
    const user = userEvent.setup()
    serve('audit', [auditEntry()], 'next')
    renderApp('/audit?person=ann')
    await shown()
    expect(asked.at(-1)!.toString()).toBe('person=ann')
    await user.selectOptions(screen.getByRole('combobox', { name: 'What' }), 'Role changed')
    await user.type(screen.getByRole('textbox', { name: 'Course (id)' }), ' c2 ')
    await user.type(screen.getByLabelText('Until'), '2026-04-01')
    await user.click(screen.getByRole('button', { name: 'Show' }))
    await waitFor(() => expect(asked.at(-1)!.get('action')).toBe('role_changed'))
    expect(Object.fromEntries(asked.at(-1)!)).toEqual({
      action: 'role_changed', person: 'ann', course: 'c2', until: new Date(2026, 3, 2).toISOString(),
    })
    await user.click(await screen.findByRole('button', { name: 'Load older entries' }))
    await waitFor(async () => expect(await shown()).toHaveLength(2))
    expect(asked.at(-1)!.get('before')).toBe('next')
    expect((await shown())[1]).toContain('removed Ann Adams (ann), who was Student')
    await user.click(screen.getByRole('button', { name: 'Show everything' }))
    await waitFor(() => expect(asked.at(-1)!.toString()).toBe(''))
    expect(screen.getByRole('textbox', { name: 'Who or whom (user name)' })).toHaveValue('')
  })

  it('is not for an assistant, in words, and says where nothing matches', async () => {
    api.on('GET courses/c1/audit', () => ({ status: 403, body: fault('permission_denied') }))
    const { unmount } = renderApp('/courses/c1/audit', 'ja')
    await waitFor(() => expect(screen.queryByRole('form')).toBeNull())
    expect(screen.getByRole('heading', { level: 1 })).toBeVisible()
    unmount()
    serve('audit', [])
    renderApp('/audit?action=nothing', 'ja')
    expect(await screen.findByText('該当する記録はありません。')).toBeVisible()
  })

  it.each(['en', 'ja'] as const)('refuses in words what can match nothing, and asks the server nothing (%s)', async (language) => {
    const user = userEvent.setup()
    serve('audit', [auditEntry()])
    renderApp('/audit', language)
    await screen.findByRole('listitem')
    const form = screen.getByRole('form')
    const course = form.querySelector<HTMLInputElement>('[name=course]')!
    const show = within(form).getByRole('button', { name: language === 'en' ? 'Show' : '表示' })
    const before = asked.length
    await user.type(course, 'BAD ID!')
    await user.click(show)
    const alert = screen.getByRole('alert').textContent
    expect(alert).toMatch(language === 'en' ? /^This is no id of a course/u : /^授業の ID ではありません/u)
    expect(course).toBeInvalid()
    await user.clear(course)
    await user.type(form.querySelector('[name=from]')!, '2026-04-02')
    await user.type(form.querySelector('[name=until]')!, '2026-04-01')
    await user.click(show)
    expect(screen.getByRole('alert').textContent).toMatch(language === 'en' ? /after the last/u : /終了日より後/u)
    expect(asked.length).toBe(before)
    await user.type(form.querySelector('[name=until]')!, '2026-04-03')
    await user.click(show)
    await waitFor(() => expect(asked.at(-1)!.get('since')).toBe(new Date(2026, 3, 2).toISOString()))
    expect(screen.queryByRole('alert')).toBeNull()
  })

  it.each(['course=BAD%20ID!', 'until=9999-12-31', 'from=0020-01-01'])('says what is wrong with an address of %s', async (search) => {
    serve('audit', [auditEntry()])
    renderApp(`/audit?${search}`)
    expect(await screen.findByRole('alert')).toHaveTextContent(/no id of a course|Enter days/u)
    expect(asked).toEqual([])
    await userEvent.setup().click(screen.getByRole('button', { name: 'Show everything' }))
    expect(await screen.findByRole('listitem')).toBeVisible()
  })

  it('says which filter the server cannot use, and does not offer to ask the same again', async () => {
    const msg = "Input should be 'signed_in' or 'sign_in_refused'"
    api.on('GET audit', () => ({ status: 422, body: { detail: [{ type: 'enum', msg, loc: ['query', 'action', 0] }] } }))
    renderApp('/audit?action=nothing', 'ja')
    expect(await screen.findByRole('alert')).toHaveTextContent('入力した値が使えません：内容。修正してからもう一度実行してください。')
    expect(screen.queryByRole('button', { name: '再試行' })).toBeNull()
  })

  it('shows an address of no course as a course that is not there', async () => {
    const body = { detail: [{ type: 'string_pattern_mismatch', msg: 'pattern', loc: ['path', 'course_id'] }] }
    api.on('GET courses/BAD%20ID!/audit', () => ({ status: 422, body }))
    renderApp('/courses/BAD%20ID!/audit')
    expect(await screen.findByRole('heading', { level: 1, name: 'Course not found' })).toBeVisible()
  })

  it('is offered to an administrator only', async () => {
    const me = { person_id: 'p1', username: 'mari', display_name: 'Mari Aoki', courses: [] }
    api.on('GET me', () => ({ body: { ...me, is_admin: true } }))
    const { unmount } = renderApp('/account')
    expect(await screen.findByRole('link', { name: 'Audit log' })).toHaveAttribute('href', '/audit')
    unmount()
    api.on('GET me', () => ({ body: { ...me, is_admin: false } }))
    renderApp('/account')
    await screen.findByText(/mari/u, { selector: 'p' })
    expect(screen.queryByRole('link', { name: 'Audit log' })).toBeNull()
  })
})
