// Hazard: an instructor adds, renames or removes other people than the page says, or cannot tell who belongs to the course.
import { screen, waitFor, within } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import { beforeEach, describe, expect, it } from 'vitest'

import type { CourseMember } from '../../api/types'
import { fault, FakeApi, renderApp } from '../../testing/app'
import { row } from '../../testing/course'
import { member } from '../../testing/fixtures'

let api: FakeApi
let members: CourseMember[]
let places: { issuers: string[]; hub: string | null }
const sent: unknown[] = []

const list = () => screen.findByRole('textbox', { name: 'List of students' })
const changes = () => within(screen.getByRole('list', { name: 'What adding this list changes' })).getAllByRole('listitem').map((item) => item.textContent)

const leftOut = () => within(screen.getByRole('list', { name: 'Lines that are left out' })).getAllByRole('listitem').map((item) => item.textContent)

beforeEach(() => {
  api = new FakeApi()
  sent.length = 0
  members = [
    member('mari', { person_id: 'p1', display_name: 'Mari Aoki', role: 'instructor', sources: { roster: 'instructor' } }),
    member('ann', { display_name: 'Ann Adams' }),
    member('hugo', { sources: { hub: 'student' } }),
    member('tim', { role: 'assistant', sources: { hub: 'student', roster: 'assistant' } }),
  ]
  places = { issuers: ['local'], hub: null }
  api.on('GET courses/c1/members', () => ({ body: { members, ...places } }))
  api.on('PUT courses/c1/members', (body) => {
    sent.push(body)
    return { body: { members: [] } }
  })
})

describe('members of a course', () => {
  it('says of each which role counts and by which source, and offers to remove only whom this list can remove', async () => {
    renderApp('/courses/c1/members')
    expect(await screen.findByRole('heading', { name: '4 members' })).toBeVisible()
    expect(row('Ann Adams')).toHaveTextContent('this list')
    expect(row('tim')).toHaveTextContent('JupyterHub: Student, this list: Assistant')
    expect(within(row('hugo')).queryByRole('button')).toBeNull()
    expect(row('hugo')).toHaveTextContent('Is removed where they come from.')
    expect(within(row('Mari Aoki')).queryByRole('button')).toBeNull()
  })

  it('adds the people of the Hub where there is one, and takes nobody of the same user name elsewhere for them', async () => {
    places = { issuers: ['jupyterhub', 'local'], hub: 'jupyterhub' }
    members.push(member('sato', { person_id: 'p8', issuers: ['jupyterhub'] }), member('sato', { person_id: 'p9', display_name: 'Sato Ken' }))
    const user = userEvent.setup()
    renderApp('/courses/c1/members')
    await user.type(await list(), 'sato,Sato Aoi\nann\nnobody')
    // Ann has an account here and none that is known of the Hub.
    expect(changes()).toEqual(['2 new students', '1 name is updated'])
    const place = screen.getByRole('combobox', { name: 'Where they sign in' })
    expect(within(place).getAllByRole('option').map((option) => option.textContent)).toEqual(['JupyterHub', 'an account here'])
    await user.selectOptions(place, 'an account here')
    expect(changes()).toEqual(['1 new student', '1 name is updated', '1 is a student already'])
    await user.selectOptions(place, 'JupyterHub')
    await user.click(screen.getByRole('button', { name: 'Add or update 3 students' }))
    await waitFor(() => expect(sent).toHaveLength(1))
    expect(sent[0]).toMatchObject({ issuer: 'jupyterhub' })
    const rows = screen.getAllByRole('row', { name: /sato/iu }).map((each) => each.textContent)
    expect(rows.map((text) => [text.includes('JupyterHub'), text.includes('an account here')]).sort()).toEqual([[false, true], [true, false]])
  })

  it('offers to remove an administrator of the site from the staff only to another one, and says why', async () => {
    members.push(member('kai', { role: 'instructor', sources: { roster: 'instructor' }, site_admin: true }))
    const { unmount } = renderApp('/courses/c1/members')
    await screen.findByRole('heading', { name: '5 members' })
    expect(within(row('kai')).queryByRole('button')).toBeNull()
    expect(row('kai')).toHaveTextContent('Only an administrator of the site can remove another one.')
    unmount()
    const me = { person_id: 'me', username: 'root', display_name: null, is_admin: true, courses: [] }
    api.on('GET me', () => ({ body: me }))
    renderApp('/courses/c1/members')
    expect(await within(await screen.findByRole('row', { name: /kai/u })).findByRole('button', { name: /^Remove kai/u })).toBeVisible()
  })

  it('offers to remove another instructor to an administrator of the site only, and says why', async () => {
    members.push(member('kai', { role: 'instructor', sources: { roster: 'instructor' } }))
    members.push(member('oda', { role: 'observer', sources: { roster: 'observer' } }))
    const { unmount } = renderApp('/courses/c1/members')
    await screen.findByRole('heading', { name: '6 members' })
    expect(within(row('kai')).queryByRole('button')).toBeNull()
    expect(row('kai')).toHaveTextContent('Only an administrator of the site can remove a member with the role Instructor.')
    expect(within(row('oda')).getByRole('button', { name: /^Remove oda/u })).toBeVisible()
    unmount()
    api.on('GET me', () => ({ body: { person_id: 'me', username: 'root', display_name: null, is_admin: true, courses: [] } }))
    renderApp('/courses/c1/members')
    expect(await within(await screen.findByRole('row', { name: /kai/u })).findByRole('button', { name: /^Remove kai/u })).toBeVisible()
  })

  it('says of a course without an instructor that it has none, and of no other', async () => {
    const { unmount } = renderApp('/courses/c1/members')
    await screen.findByRole('heading', { name: '4 members' })
    expect(screen.queryByText(/No member of this course has the role Instructor/u)).toBeNull()
    unmount()
    members = members.filter(({ role }) => role !== 'instructor')
    renderApp('/courses/c1/members')
    const note = await screen.findByText(/No member of this course has the role Instructor/u)
    // Without the role the command adds a student.
    expect(note).toHaveTextContent('cell-monitor admin add-member c1 USER_NAME --role instructor')
  })

  it('names every line that the server refused', async () => {
    const user = userEvent.setup()
    const detail = [1, 2].map((position) => ({ type: 'member_protected', msg: 'no', loc: ['body', 'members', position, 'role'] }))
    api.on('PUT courses/c1/members', () => {
      // They became instructors meanwhile.
      members = [...members, ...['kai', 'oda'].map((name) => member(name, { role: 'instructor', sources: { roster: 'instructor' } }))]
      return { status: 403, body: { detail } }
    })
    renderApp('/courses/c1/members')
    await user.click(await list())
    await user.paste('zoe\n\nkai,Kai\noda')
    await user.click(screen.getByRole('button', { name: 'Add or update 3 students' }))
    const refused = within(await screen.findByRole('list', { name: 'Lines that are refused' }))
    expect(refused.getAllByRole('listitem').map((item) => item.textContent)).toEqual([
      expect.stringMatching(/^Line 3, kai: Only an administrator of the site can end or lower this role/u),
      expect.stringMatching(/^Line 4, oda: Only an administrator of the site can end or lower this role/u),
    ])
    expect(screen.getByRole('alert')).toHaveTextContent('Nothing was stored, because of these lines:')
  })

  it('says why somebody cannot be removed who became an administrator meanwhile', async () => {
    const user = userEvent.setup()
    api.on('DELETE courses/c1/members/tim', () => ({ status: 403, body: fault('member_protected') }))
    members = members.map((each) => (each.username === 'tim' ? { ...each, person_id: 'tim' } : each))
    renderApp('/courses/c1/members')
    await user.click(await screen.findByRole('button', { name: 'Remove tim from the course' }))
    await user.click(screen.getByRole('button', { name: 'Remove tim' }))
    expect(await screen.findByRole('alert')).toHaveTextContent('Only an administrator of the site can end or lower this role')
  })

  it('shows nobody any more once this person may not see them', async () => {
    renderApp('/courses/c1/members')
    expect(await screen.findByRole('heading', { name: '4 members' })).toBeVisible()
    const me = { person_id: 'me', username: 'mari', display_name: 'Mari Aoki', is_admin: false, courses: [] }
    api.on('GET me', () => ({ body: me }))
    api.on('GET courses/c1/members', () => ({ status: 404, body: fault('not_found') }))
    await waitFor(() => expect(screen.queryByText(/Ann Adams/u)).toBeNull(), { timeout: 8_000 })
    expect(screen.getByRole('heading', { level: 1 })).toHaveTextContent('Course not found')
  }, 15_000)

  it('shows what a pasted list changes before it is sent, and sends no more than that', async () => {
    const user = userEvent.setup()
    renderApp('/courses/c1/members')
    await user.click(await list())
    await user.paste('ann,Ann Baker\ntim,Tim\nzoe\nzoe\nmari')
    expect(changes()).toEqual([
      '1 new student',
      '1 name is updated',
      '2 are on the staff and stay so',
    ])
    expect(leftOut()).toEqual(['Line 4: this user name is in line 3 already.'])
    expect(sent).toEqual([])
    await user.click(screen.getByRole('button', { name: 'Add or update 2 students' }))
    expect(await screen.findByText('2 students were added or updated.', { selector: '.notice__text' })).toBeVisible()
    expect(sent).toEqual([
      {
        members: [{ username: 'zoe', role: 'student' }, { username: 'ann', role: 'student', display_name: 'Ann Baker' }],
        issuer: 'local',
      },
    ])
    expect(await list()).toHaveValue('')
  })

  it('counts the lines that it leaves out, and names each of them on request', async () => {
    const user = userEvent.setup()
    renderApp('/courses/c1/members')
    await user.click(await list())
    const long = 'x'.repeat(151)
    await user.paste(`zoe\n${Array.from({ length: 12 }, () => `,No User\n${long}`).join('\n')}`)
    expect(screen.getByText('24 lines are left out:')).toBeVisible()
    expect(leftOut()).toHaveLength(6)
    expect(leftOut().at(-1)).toBe('19 more lines are left out')
    await user.click(screen.getByRole('button', { name: 'Show all of them' }))
    expect(leftOut()).toEqual(
      Array.from({ length: 24 }, (_, index) =>
        index % 2 === 0
          ? `Line ${index + 2}: there is no user name.`
          : `Line ${index + 2}: the user name is longer than 150 characters.`,
      ),
    )
    await user.click(screen.getByRole('button', { name: 'Show the first ones only' }))
    expect(leftOut()).toHaveLength(6)
  })

  it('reads a file, also one that Excel wrote on a Japanese computer, and says that a picture is none', async () => {
    const user = userEvent.setup()
    renderApp('/courses/c1/members')
    await list()
    const upload = screen.getByLabelText('Or choose a file (CSV or text)')
    await user.upload(upload, new File([new Uint8Array([0x61, 0x6f, 0x69, 0x2c, 0x93, 0x63, 0x92, 0x86])], 'class.csv', { type: 'text/csv' }))
    await waitFor(() => expect(changes()).toEqual(['1 new student']))
    expect(await list()).toHaveValue('aoi,田中')
    await user.upload(upload, new File([new Uint8Array([0xff, 0xd8, 0xff, 0xe0, 0xfd])], 'class.txt', { type: 'text/plain' }))
    expect(await screen.findByRole('alert')).toHaveTextContent('This file cannot be read')
    expect(screen.queryByRole('button', { name: /^Add/u })).toBeNull()
  })

  it('sends a large class in parts, and says how far it got when one fails', async () => {
    const user = userEvent.setup()
    api.on('PUT courses/c1/members', (body) => {
      sent.push(body)
      return sent.length === 1 ? { body: { members: [] } } : { status: 503, body: fault('unavailable') }
    })
    renderApp('/courses/c1/members')
    await user.click(await list())
    await user.paste(Array.from({ length: 700 }, (_, number) => `student${number}`).join('\n'))
    await user.click(screen.getByRole('button', { name: 'Add or update 700 students' }))
    expect(await screen.findByRole('alert')).toHaveTextContent('500 of 700 were added, then: The server could not answer (503)')
    expect(sent.map((body) => (body as { members: unknown[] }).members.length)).toEqual([500, 200])
    expect((await list() as HTMLTextAreaElement).value).toContain('student699')
  })

  it('shows students who were added although the answer was lost, and no error beside them', async () => {
    const user = userEvent.setup()
    let addedToo = false
    api.on('PUT courses/c1/members', () => {
      if (addedToo) members = [...members, member('new1')]
      return Promise.reject(new TypeError('network'))
    })
    renderApp('/courses/c1/members')
    await user.click(await list())
    await user.paste('new1')
    await user.click(screen.getByRole('button', { name: 'Add 1 student' }))
    expect(await screen.findByRole('alert')).toHaveTextContent('not known whether this took effect')
    addedToo = true
    await user.click(screen.getByRole('button', { name: 'Add 1 student' }))
    expect(await screen.findByRole('row', { name: /new1/u })).toBeVisible()
    expect(screen.queryByRole('alert')).toBeNull()
  })

  it('removes somebody whom the server removed although the answer was lost', async () => {
    const user = userEvent.setup()
    api.on('DELETE courses/c1/members/ann', () => {
      members = members.filter((each) => each.username !== 'ann')
      return Promise.reject(new TypeError('network'))
    })
    renderApp('/courses/c1/members')
    await user.click(await screen.findByRole('button', { name: 'Remove Ann Adams from the course' }))
    await user.click(screen.getByRole('button', { name: 'Remove Ann Adams' }))
    await waitFor(() => expect(screen.queryByRole('row', { name: /Ann Adams/u })).toBeNull())
  })

  it('does not show why an earlier try failed once the question was answered with "Keep"', async () => {
    const user = userEvent.setup()
    api.on('DELETE courses/c1/members/ann', () => ({ status: 403, body: fault('permission_denied', 'not allowed') }))
    renderApp('/courses/c1/members')
    await user.click(await screen.findByRole('button', { name: 'Remove Ann Adams from the course' }))
    await user.click(screen.getByRole('button', { name: 'Remove Ann Adams' }))
    expect(await screen.findByRole('alert')).toHaveTextContent('not allowed')
    await user.click(screen.getByRole('button', { name: 'Keep' }))
    expect(screen.queryByRole('alert')).toBeNull()
    await user.click(screen.getByRole('button', { name: 'Remove Ann Adams from the course' }))
    expect(screen.getByRole('button', { name: 'Remove Ann Adams' })).toHaveFocus()
    expect(screen.queryByRole('alert')).toBeNull()
  })

  it('tells of a removal that failed after "Keep" was pressed while it went on', async () => {
    const user = userEvent.setup()
    let answer: (value: { status: number; body: unknown }) => void = () => undefined
    api.on('DELETE courses/c1/members/ann', () => new Promise((resolve) => { answer = resolve }))
    renderApp('/courses/c1/members')
    await user.click(await screen.findByRole('button', { name: 'Remove Ann Adams from the course' }))
    await user.click(screen.getByRole('button', { name: 'Remove Ann Adams' }))
    await user.click(screen.getByRole('button', { name: 'Keep' }))
    answer({ status: 403, body: fault('permission_denied', 'not allowed') })
    expect(await screen.findByRole('alert')).toHaveTextContent('not allowed')
  })

  it('removes somebody only after a second click, and the keyboard stays where it was', async () => {
    const user = userEvent.setup()
    let removed = 0
    api.on('DELETE courses/c1/members/ann', () => {
      removed += 1
      members = members.filter((each) => each.username !== 'ann')
      return { status: 204 }
    })
    renderApp('/courses/c1/members')
    await user.click(await screen.findByRole('button', { name: 'Remove Ann Adams from the course' }))
    expect(removed).toBe(0)
    expect(screen.getByRole('button', { name: 'Remove Ann Adams' })).toHaveFocus()
    await user.click(screen.getByRole('button', { name: 'Keep' }))
    expect(screen.getByRole('button', { name: 'Remove Ann Adams from the course' })).toHaveFocus()
    await user.keyboard('{Enter}{Enter}')
    await waitFor(() => expect(screen.queryByRole('row', { name: /Ann Adams/u })).toBeNull())
    expect(removed).toBe(1)
  })

  it('offers to remove somebody who joined by code, and says that they did', async () => {
    members.push(member('k7f2m9', { display_name: 'Hanako', sources: { join: 'student' } }))
    renderApp('/courses/c1/members')
    expect(await screen.findByRole('button', { name: /^Remove Hanako/u })).toBeVisible()
    expect(row('Hanako')).toHaveTextContent('the join code')
  })

  it('is not for an observer, in words', async () => {
    api.on('GET courses/c1/members', () => ({ status: 403, body: fault('permission_denied') }))
    renderApp('/courses/c1/members', 'ja')
    expect(await screen.findByRole('heading', { level: 1 })).toBeVisible()
    expect(screen.queryByRole('textbox')).toBeNull()
  })
})

describe('a long list of members', () => {
  const rows = () => within(screen.getByRole('table', { name: 'Members' })).getAllByRole('row').length - 1
  const shown = () => screen.getByText(/^Shown: /u).textContent

  beforeEach(() => {
    members = Array.from({ length: 450 }, (_, index) =>
      member(`u${String(index).padStart(3, '0')}`, { person_id: `m${index}`, display_name: `学生 ${index}` }),
    )
  })

  it('is drawn in parts, each on request, and the focus stays in the page', async () => {
    const user = userEvent.setup()
    renderApp('/courses/c1/members')
    expect(await screen.findByRole('heading', { name: '450 members' })).toBeVisible()
    expect([rows(), shown()]).toEqual([200, 'Shown: 200 of 450'])
    const more = screen.getByRole('button', { name: 'Show more' })
    await user.click(more)
    expect([rows(), shown()]).toEqual([400, 'Shown: 400 of 450'])
    expect(more).toHaveFocus()
    await user.keyboard('{Enter}')
    expect([rows(), shown()]).toEqual([450, 'Shown: 450 of 450'])
    expect(screen.queryByRole('button', { name: 'Show more' })).toBeNull()
    expect(screen.getByText(/^Shown: /u)).toHaveFocus()
  })

  it('is searched as a whole by name and user name, in any width of the letters, and how many were found is read out', async () => {
    const user = userEvent.setup()
    renderApp('/courses/c1/members')
    const find = await screen.findByRole('searchbox', { name: 'Find by name or user name' })
    await user.type(find, 'ｕ４４９')
    await waitFor(() => expect(rows()).toBe(1))
    expect(row('学生 449')).toBeVisible()
    expect(screen.getAllByRole('status').map((status) => status.textContent)).toContain('Shown: 1 of 1')
    await user.clear(find)
    await user.type(find, '学生 44')
    // 44, 144, 244, 344 and 440 to 449.
    await waitFor(() => expect(rows()).toBe(14))
    await user.type(find, 'x')
    expect(await screen.findByText('No member has this in the name or user name.')).toBeVisible()
    await user.clear(find)
    await waitFor(() => expect(rows()).toBe(200))
  })
})
