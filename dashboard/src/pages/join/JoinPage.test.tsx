// Hazards: the class is shown a code that holds no longer; a click removes or merges somebody without a question.
import { screen, waitFor, within } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import { beforeEach, describe, expect, it } from 'vitest'

import type { JoinCode } from '../../api/types'
import { fault, FakeApi, renderApp } from '../../testing/app'
import { snapshot, student } from '../../testing/fixtures'

const closed: JoinCode = { code: null, expires_at: null, people: 0, most: 300 }
const opened: JoinCode = { code: 'K7F2-2M9Q-X4DT', expires_at: '2026-04-01T12:00:00Z', people: 2, most: 300 }

let api: FakeApi
let held: JoinCode
const sent: unknown[] = []

beforeEach(() => {
  api = new FakeApi()
  held = closed
  sent.length = 0
  api.on('GET courses/c1/join-code', () => ({ body: held }))
  api.on('POST courses/c1/join-code', (body) => {
    sent.push(body)
    held = opened
    return { body: held }
  })
  api.on('DELETE courses/c1/join-code', () => {
    held = closed
    return { status: 204 }
  })
  api.on('DELETE courses/c1/joined', () => {
    held = closed
    return { status: 204 }
  })
})

describe('the page that is shown to the class', () => {
  it('shows address, code and the line that installs the extension while joining is open, and no code afterwards', async () => {
    const user = userEvent.setup()
    const path = '/extension/jupyterlab_cell_monitor-0.1.0-py3-none-any.whl'
    api.on('GET config', () => ({ body: { gateway_url: '/ws', version: '1', sign_in: [], extension: path } }))
    renderApp('/courses/c1/join')
    expect(await screen.findByText(/Joining is closed/u)).toBeVisible()
    await user.selectOptions(screen.getByLabelText('The code holds for'), '30 minutes')
    await user.click(screen.getByRole('button', { name: 'Open joining' }))
    expect(await screen.findByText('K7F2-2M9Q-X4DT')).toBeVisible()
    expect(sent).toEqual([{ minutes: 30 }])
    expect(screen.getByText(`pip install ${window.location.origin}${path}`)).toBeVisible()
    expect(screen.getByText(/2 people joined/u)).toBeVisible()
    await user.click(screen.getByRole('button', { name: 'Close joining' }))
    await waitFor(() => expect(screen.queryByText('K7F2-2M9Q-X4DT')).toBeNull())
  })

  it('says that an outcome is unknown only until the instructor acts again, and shows a code that was made', async () => {
    api.on('POST courses/c1/join-code', () => {
      held = opened
      return Promise.reject(new TypeError('network'))
    })
    const user = userEvent.setup()
    renderApp('/courses/c1/join')
    await user.click(await screen.findByRole('button', { name: 'Open joining' }))
    expect(await screen.findByRole('alert')).toHaveTextContent('not known whether this took effect')
    expect(await screen.findByText('K7F2-2M9Q-X4DT')).toBeVisible()
    await user.click(screen.getByRole('button', { name: 'Close joining' }))
    await waitFor(() => expect(screen.queryByText('K7F2-2M9Q-X4DT')).toBeNull())
    expect(screen.queryByRole('alert')).toBeNull()
  })

  it('removes everybody only after a question', async () => {
    const user = userEvent.setup()
    renderApp('/courses/c1/join', 'ja')
    await user.click(await screen.findByRole('button', { name: 'コードで参加した全員を外す' }))
    expect(api.calls).not.toContain('DELETE courses/c1/joined')
    await user.click(screen.getByRole('button', { name: '外す' }))
    await waitFor(() => expect(api.calls).toContain('DELETE courses/c1/joined'))
  })

  it('says that it is not for everybody', async () => {
    api.on('GET courses/c1/join-code', () => ({ status: 403, body: fault('permission_denied') }))
    renderApp('/courses/c1/join')
    expect(await screen.findByRole('heading', { name: 'Not for your role' })).toBeVisible()
  })
})

describe('a student who joined by code', () => {
  beforeEach(() => {
    api.snapshot = snapshot({
      students: [
        student({ student_id: 's1', username: 'aiko', display_name: 'Aiko' }),
        student({ student_id: 's2', username: 'k7f2m9', display_name: 'Hanako', joined: true }),
      ],
    })
    for (const row of api.snapshot.students) {
      const path = `GET courses/c1/students/${row.student_id}`
      api.on(path, () => ({ body: { student: row, cells: [], help: [] } }))
      api.on(`${path}/runs`, () => ({ body: { runs: [], next_before: null } }))
    }
    api.on('POST courses/c1/members/s2/merge', (body) => {
      sent.push(body)
      return { status: 204 }
    })
    api.on('DELETE courses/c1/members/s2', () => ({ status: 204 }))
  })

  it('is marked in the list, and others are not', async () => {
    renderApp('/courses/c1')
    const rows = within(await screen.findByRole('grid'))
    expect(rows.getByRole('row', { name: /Hanako/u })).toHaveTextContent('Joined by code')
    expect(rows.getByRole('row', { name: /Aiko/u })).not.toHaveTextContent('Joined by code')
  })

  it('is merged with the student who was chosen, and not before one was', async () => {
    const user = userEvent.setup()
    renderApp('/courses/c1?student=s2')
    const merge = await screen.findByRole('button', { name: 'Merge' })
    await user.click(merge)
    expect(sent).toEqual([])
    await user.selectOptions(screen.getByLabelText('The same person as'), 'Aiko')
    await user.click(merge)
    await waitFor(() => expect(sent).toEqual([{ into: 's1' }]))
  })

  it('is not said to be kept by an error once something else was done', async () => {
    const user = userEvent.setup()
    api.on('DELETE courses/c1/members/s2', () => ({ status: 403, body: fault('permission_denied', 'not allowed') }))
    renderApp('/courses/c1?student=s2')
    await user.click(await screen.findByRole('button', { name: 'Remove from the course' }))
    await user.click(screen.getByRole('button', { name: 'Remove' }))
    expect(await screen.findByText(/not allowed/u)).toBeVisible()
    api.on('POST courses/c1/members/s2/merge', () => ({ status: 403, body: fault('permission_denied', 'no merging') }))
    await user.selectOptions(screen.getByLabelText('The same person as'), 'Aiko')
    await user.click(screen.getByRole('button', { name: 'Merge' }))
    expect(await screen.findByText(/no merging/u)).toBeVisible()
    expect(screen.queryByText(/not allowed/u)).toBeNull()
  })

  it('is removed only after a question', async () => {
    const user = userEvent.setup()
    renderApp('/courses/c1?student=s2')
    await user.click(await screen.findByRole('button', { name: 'Remove from the course' }))
    expect(api.calls).not.toContain('DELETE courses/c1/members/s2')
    expect(screen.getByRole('button', { name: 'Remove' })).toHaveFocus()
    await user.click(screen.getByRole('button', { name: 'Remove' }))
    await waitFor(() => expect(api.calls).toContain('DELETE courses/c1/members/s2'))
  })

  it('offers nothing to do about somebody who did not join by code', async () => {
    renderApp('/courses/c1?student=s1')
    expect(await screen.findByRole('tab', { name: 'Summary' })).toBeVisible()
    expect(screen.queryByRole('button', { name: 'Merge' })).toBeNull()
  })
})
