// Hazards: saving a form overwrites what somebody else has set; a click changes who is staff without a question; a setting
// that only an administrator has is offered to others.
import { screen, waitFor, within } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import { beforeEach, describe, expect, it } from 'vitest'

import type { CourseSettings } from '../../api/types'
import { FakeApi, fault, renderApp } from '../../testing/app'
import { thresholds } from '../../testing/fixtures'

let api: FakeApi
let stored: CourseSettings
let sent: unknown[]

beforeEach(() => {
  api = new FakeApi()
  sent = []
  stored = {
    course_id: 'c1',
    title: 'Programming',
    thresholds: { ...thresholds, idle_s: 600 },
    defaults: thresholds,
    bounds: {
      stuck_errors: { lowest: 1, highest: 100 },
      kernel_deaths: { lowest: 1, highest: 20 },
      long_run_s: { lowest: 10, highest: 86_400 },
      idle_s: { lowest: 10, highest: 86_400 },
      offline_s: { lowest: 60, highest: 86_400 },
    },
    ruling_source: null,
    ruling_sources: ['roster', 'hub', 'lti', 'oidc'],
    links: [{ issuer: 'hub', group: 'ta', role: 'assistant' }],
    issuers: ['hub'],
    staff_only_issuers: [],
    rules: [],
    properties: [],
  }
  api.on('GET courses/c1/settings', () => ({ body: stored }))
  api.on('PATCH courses/c1/settings', (body) => {
    sent.push(body)
    return { body: stored }
  })
})

function asAdmin(): void {
  api.on('GET me', () => ({
    body: { person_id: 'p1', username: 'mari', display_name: null, is_admin: true, courses: [] },
  }))
}

const idle = () => screen.getByRole('spinbutton', { name: /^Quiet/u })
const save = () => screen.getByRole('button', { name: 'Save' })

describe('title and thresholds', () => {
  it('sends what was changed and nothing else', async () => {
    const user = userEvent.setup()
    renderApp('/courses/c1/settings')
    await screen.findByRole('heading', { name: 'Title and thresholds' })
    await user.clear(idle())
    await user.type(idle(), '900')
    stored = { ...stored, thresholds: { ...stored.thresholds, idle_s: 900, long_run_s: 60 } }
    await user.click(save())
    expect(await screen.findByText('Saved.')).toBeVisible()
    expect(sent).toEqual([{ thresholds: { idle_s: 900 } }])
    // What somebody else has set meanwhile is shown.
    expect(screen.getByRole('spinbutton', { name: /^Long run/u })).toHaveValue(60)
  })

  it('does not say that nothing was changed after a save whose answer was lost', async () => {
    const user = userEvent.setup()
    renderApp('/courses/c1/settings')
    await screen.findByRole('heading', { name: 'Title and thresholds' })
    api.on('PATCH courses/c1/settings', (body) => {
      sent.push(body)
      stored = { ...stored, thresholds: { ...stored.thresholds, idle_s: 900 } }
      return Promise.reject(new TypeError('network'))
    })
    await user.clear(idle())
    await user.type(idle(), '900')
    await user.click(save())
    expect(await screen.findByRole('alert')).toHaveTextContent('not known whether this took effect')
    // Back to what it was: the server has 900.
    api.on('PATCH courses/c1/settings', (body) => {
      sent.push(body)
      return { body: { ...stored, thresholds: { ...stored.thresholds, idle_s: 600 } } }
    })
    await user.clear(idle())
    await user.type(idle(), '600')
    await user.click(save())
    expect(await screen.findByText('Saved.')).toBeVisible()
    expect(screen.queryByText(/Nothing was changed/u)).toBeNull()
    expect(sent).toEqual([{ thresholds: { idle_s: 900 } }, { thresholds: { idle_s: 600 } }])
  })

  it('sends nothing where nothing differs', async () => {
    const user = userEvent.setup()
    renderApp('/courses/c1/settings')
    await screen.findByRole('heading', { name: 'Title and thresholds' })
    await user.click(save())
    expect(await screen.findByText(/Nothing was changed/u)).toBeVisible()
    expect(sent).toEqual([])
  })

  it.each([
    ['below the bound', 'Left', '59', 'enter a whole number from 60 to 86,400'],
    ['a fraction', 'Stuck', '1.5', 'enter a whole number from 1 to 100'],
    ['nothing', 'Kernel died', '', 'enter a whole number from 1 to 20'],
  ])('asks for another number and sends nothing: %s', async (_, name, value, message) => {
    const user = userEvent.setup()
    renderApp('/courses/c1/settings')
    const field = await screen.findByRole('spinbutton', { name: new RegExp(`^${name}`, 'u') })
    await user.clear(field)
    if (value !== '') await user.type(field, value)
    await user.click(save())
    expect(await screen.findByRole('alert')).toHaveTextContent(message)
    expect(field).toHaveAttribute('aria-invalid', 'true')
    expect(sent).toEqual([])
  })

  it('fills in the defaults, and sends them only when they are saved', async () => {
    const user = userEvent.setup()
    renderApp('/courses/c1/settings', 'ja')
    await user.click(await screen.findByRole('button', { name: '初期値を入力' }))
    expect(screen.getByRole('spinbutton', { name: /^操作なし/u })).toHaveValue(480)
    expect(sent).toEqual([])
    await user.click(screen.getByRole('button', { name: '保存' }))
    await waitFor(() => expect(sent).toEqual([{ thresholds: { idle_s: 480 } }]))
  })
})

describe('what an administrator of the site sets', () => {
  it('is shown to others as text', async () => {
    stored = { ...stored, ruling_source: 'hub' }
    renderApp('/courses/c1/settings')
    const ruling = await screen.findByRole('region', { name: 'Who decides on the members' })
    expect(ruling).toHaveTextContent('JupyterHub')
    expect(ruling).toHaveTextContent('is set by an administrator of the site')
    expect(within(ruling).queryByRole('combobox')).toBeNull()
    expect(screen.queryByRole('region', { name: 'Groups' })).toBeNull()
  })

  it('changes who decides after a second click', async () => {
    asAdmin()
    const user = userEvent.setup()
    renderApp('/courses/c1/settings')
    await user.selectOptions(await screen.findByRole('combobox', { name: 'The source that rules' }), 'JupyterHub')
    await user.click(screen.getByRole('button', { name: 'Change the source' }))
    expect(sent).toEqual([])
    stored = { ...stored, ruling_source: 'hub' }
    await user.click(screen.getByRole('button', { name: 'Change now' }))
    await waitFor(() => expect(sent).toEqual([{ ruling_source: 'hub' }]))
  })

  it('does not show why one source was refused with the choice of another', async () => {
    asAdmin()
    const user = userEvent.setup()
    api.on('PATCH courses/c1/settings', () => ({ status: 403, body: fault('permission_denied', 'not allowed') }))
    renderApp('/courses/c1/settings')
    const source = await screen.findByRole('combobox', { name: 'The source that rules' })
    await user.selectOptions(source, 'JupyterHub')
    await user.click(screen.getByRole('button', { name: 'Change the source' }))
    await user.click(screen.getByRole('button', { name: 'Change now' }))
    expect(await screen.findByRole('alert')).toHaveTextContent('not allowed')
    await user.selectOptions(source, 'The list of members here')
    expect(screen.queryByRole('alert')).toBeNull()
  })

  it('is shown with the rules that give roles without a link', async () => {
    asAdmin()
    stored = {
      ...stored,
      rules: [
        {
          issuer: 'hub',
          pattern: 'course-(?P<course>.+)-(?P<role>[a-z]+)',
          roles: { teachers: 'instructor', tas: 'assistant' },
          property: 'cell_monitor',
        },
        { issuer: 'https://login.example.org', pattern: null, roles: {}, property: null },
      ],
      properties: [{ issuer: 'hub', group: '4711', role: 'observer' }],
    }
    renderApp('/courses/c1/settings')
    const rules = await screen.findByRole('region', { name: 'Roles without a link' })
    expect(within(rules).getByText('course-(?P<course>.+)-(?P<role>[a-z]+)')).toBeVisible()
    expect(within(rules).getByText('teachers: Instructor, tas: Assistant')).toBeVisible()
    expect(within(rules).getByText('cell_monitor')).toBeVisible()
    expect(within(rules).getByText('https://login.example.org')).toBeVisible()
    expect(within(rules).getByText('Names alone give no role')).toBeVisible()
    expect(within(rules).getByRole('row', { name: /^4711/u })).toHaveTextContent('Observer')
    // What is set elsewhere cannot be removed here.
    expect(within(rules).queryByRole('button')).toBeNull()
  })

  it('links a group as it is typed, and removes a link after a second click', async () => {
    asAdmin()
    api.on('POST courses/c1/group-links', (body) => {
      sent.push(body)
      stored = { ...stored, links: [...stored.links, { issuer: 'hub', group: 'Staff ', role: 'instructor' }] }
      return { body: stored }
    })
    api.on('DELETE courses/c1/group-links', (_, url) => {
      sent.push(Object.fromEntries(url.searchParams))
      stored = { ...stored, links: stored.links.slice(1) }
      return { body: stored }
    })
    const user = userEvent.setup()
    renderApp('/courses/c1/settings')
    const groups = await screen.findByRole('region', { name: 'Groups' })
    await user.click(within(groups).getByRole('button', { name: 'Link the group' }))
    expect(await within(groups).findByRole('alert')).toHaveTextContent('Enter the name of a group')
    await user.type(within(groups).getByRole('textbox', { name: 'Group' }), 'Staff ')
    await user.selectOptions(within(groups).getByRole('combobox', { name: 'Role' }), 'Instructor')
    await user.click(within(groups).getByRole('button', { name: 'Link the group' }))
    expect(await within(groups).findByRole('row', { name: /Staff/u })).toHaveTextContent('Instructor')
    await user.click(within(groups).getByRole('button', { name: 'Remove the link of ta' }))
    await user.click(within(groups).getByRole('button', { name: 'Remove the link' }))
    await waitFor(() => expect(within(groups).queryByRole('row', { name: /^ta /u })).toBeNull())
    expect(sent).toEqual([
      { issuer: 'hub', group: 'Staff ', role: 'instructor' },
      { issuer: 'hub', group: 'ta', role: 'assistant' },
    ])
  })
})

describe('the groups of a sign-in service', () => {
  const provider = 'https://login.example.org'

  it('are not offered as students, which they cannot give, nor sent as such', async () => {
    asAdmin()
    stored = { ...stored, links: [], issuers: ['hub', provider], staff_only_issuers: [provider] }
    api.on('POST courses/c1/group-links', (body) => {
      sent.push(body)
      return { body: stored }
    })
    const user = userEvent.setup()
    renderApp('/courses/c1/settings')
    const groups = await screen.findByRole('region', { name: 'Groups' })
    const role = within(groups).getByRole('combobox', { name: 'Role' })
    const offered = () => within(role).getAllByRole('option').map((option) => option.textContent)
    expect(offered()).toEqual(['Student', 'Observer', 'Assistant', 'Instructor'])
    await user.selectOptions(within(groups).getByRole('combobox', { name: 'Where the group is' }), provider)
    expect(offered()).toEqual(['Observer', 'Assistant', 'Instructor'])
    expect(role).toHaveAccessibleDescription(/Add students on the page Members/u)
    await user.type(within(groups).getByRole('textbox', { name: 'Group' }), 'staff')
    await user.click(within(groups).getByRole('button', { name: 'Link the group' }))
    await waitFor(() => expect(sent).toEqual([{ issuer: provider, group: 'staff', role: 'observer' }]))
  })

  it('are marked where an earlier link of them gives nothing', async () => {
    asAdmin()
    const links = (['student', 'observer'] as const).map((role) => ({ issuer: provider, group: role, role }))
    stored = { ...stored, links: [...links, { issuer: 'gone', group: 'old', role: 'observer' }], issuers: [provider], staff_only_issuers: [provider] }
    renderApp('/courses/c1/settings', 'ja')
    const row = (name: RegExp) => screen.getByRole('row', { name })
    expect(await screen.findByRole('row', { name: /^student/u })).toHaveTextContent('効果なし')
    expect(row(/^old/u)).toHaveTextContent('効果なし')
    expect(row(/^observer/u)).not.toHaveTextContent('効果なし')
  })
})

describe('adding a course', () => {
  it('is for administrators, says why an id cannot be used, and leads to the members', async () => {
    asAdmin()
    api.on('POST courses', (body) => {
      sent.push(body)
      return sent.length === 1 ? { status: 409, body: fault('course_exists') } : { status: 201, body }
    })
    const user = userEvent.setup()
    renderApp('/courses')
    const form = await screen.findByRole('form', { name: 'Add a course' })
    const add = within(form).getByRole('button', { name: 'Add' })
    const field = within(form).getByRole('textbox', { name: 'Id' })
    await user.type(field, 'Physics 1')
    await user.click(add)
    expect(await within(form).findByRole('alert')).toHaveTextContent('This id cannot be used')
    await user.clear(field)
    await user.type(field, 'physics-1')
    await user.click(add)
    expect(await within(form).findByRole('alert')).toHaveTextContent('Enter a title')
    await user.type(within(form).getByRole('textbox', { name: 'Title' }), 'Physics 1')
    expect(sent).toEqual([])
    await user.click(add)
    expect(await within(form).findByRole('alert')).toHaveTextContent('There is a course of this id already')
    await user.click(add)
    expect(await within(form).findByRole('status')).toHaveTextContent('Physics 1 was added')
    expect(within(form).getByRole('link', { name: 'To its members' })).toHaveAttribute('href', '/courses/physics-1/members')
    expect(sent).toEqual([
      { course_id: 'physics-1', title: 'Physics 1' },
      { course_id: 'physics-1', title: 'Physics 1' },
    ])
  })

  it('is not offered to others', async () => {
    renderApp('/courses')
    expect(await screen.findByRole('link', { name: 'Programming' })).toBeVisible()
    expect(screen.queryByRole('form', { name: 'Add a course' })).toBeNull()
  })
})
