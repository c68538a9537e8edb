import { act, screen, waitFor, within } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import { beforeEach, describe, expect, it, vi } from 'vitest'

import { fault } from '../../testing/app'
import { live, minutesAgo, prepareCourse, publish, row } from '../../testing/course'
import { helpPublication, helpRequest } from '../../testing/fixtures'

const course = prepareCourse()

describe('help requests', () => {
  beforeEach(() => {
    course.api.snapshot = {
      ...course.api.snapshot,
      help: [
        helpRequest({ request_id: 'h2', student_id: 's2', requested_at: minutesAgo(1) }),
        helpRequest({ request_id: 'h1', student_id: 's1', requested_at: minutesAgo(9) }),
      ],
    }
  })

  it('are in the order of their times', async () => {
    await live()
    const items = within(screen.getByRole('list', { name: /longest waiting first/u })).getAllByRole('article')
    expect(items.map((item) => item.getAttribute('aria-label'))).toEqual(['Aiko Tanaka', 'Ben Adams'])
    expect(items[0]).toHaveTextContent('Waiting for 9 min')
  })

  it('are shown as claimed once the server confirms it and not before', async () => {
    let answer: () => void = () => undefined
    course.api.on('POST courses/c1/help/h1/claim', async () => {
      await new Promise<void>((resolve) => (answer = resolve))
      const help = helpRequest({ version: 2, status: 'claimed', claimed_by: 'p1', claimed_at: minutesAgo(0) })
      return { body: { help, published: true } }
    })
    const user = userEvent.setup()
    await live()
    const article = screen.getByRole('article', { name: 'Aiko Tanaka' })
    await user.click(within(article).getByRole('button', { name: "I'm on it: Aiko Tanaka" }))
    const pending = within(article).getByRole('button', { name: 'Taking it …' })
    expect(pending).toHaveAttribute('aria-disabled', 'true')
    expect(row('Aiko Tanaka')).toHaveTextContent('Needs help')
    await user.click(pending)
    answer()
    expect(await within(article).findByText(/You are on it since/u)).toBeVisible()
    expect(course.api.calls.filter((call) => call.endsWith('/claim'))).toHaveLength(1)
    expect(within(article).getByRole('button', { name: 'Hand back: Aiko Tanaka' })).toBeVisible()
    expect(row('Aiko Tanaka')).toHaveTextContent('Being helped')
  })

  it('report that another person was faster, and show who', async () => {
    course.api.on('POST courses/c1/help/h1/claim', () => {
      const claimed = helpRequest({ version: 2, status: 'claimed', claimed_by: 'p2', claimed_at: minutesAgo(1) })
      course.api.snapshot = { ...course.api.snapshot, help: [claimed] }
      return { status: 409, body: fault('help_already_claimed') }
    })
    const user = userEvent.setup()
    await live()
    const article = screen.getByRole('article', { name: 'Aiko Tanaka' })
    await user.click(within(article).getByRole('button', { name: /I'm on it/u }))
    expect(await within(article).findByRole('alert')).toHaveTextContent('Somebody else took this request before you.')
    expect(await within(article).findByText(/Tom Becker is on it since/u)).toBeVisible()
    expect(within(article).queryByRole('button', { name: /Hand back/u })).toBeNull()
  })

  it('report that nothing has changed when the server refuses an action', async () => {
    course.api.on('POST courses/c1/help/h1/resolve', () => ({ status: 429, body: fault('rate_limited', 'too many') }))
    const user = userEvent.setup()
    await live()
    const article = screen.getByRole('article', { name: 'Aiko Tanaka' })
    await user.click(within(article).getByRole('button', { name: /Resolved/u }))
    expect(await within(article).findByRole('alert')).toHaveTextContent(/did not go through.*Nothing has changed/u)
    expect(within(article).getByRole('button', { name: /I'm on it/u })).toBeVisible()
  })

  it.each([
    ['no answer', () => Promise.reject(new TypeError('network'))],
    ['an answer of a proxy', () => ({ status: 504, body: 'gateway time-out' })],
    ['a server that failed meanwhile', () => ({ status: 503, body: fault('database_unavailable') })],
  ])('do not call an action without effect that may have taken effect: %s', async (_, answer) => {
    course.api.on('POST courses/c1/help/h1/claim', answer)
    const user = userEvent.setup()
    await live()
    const article = screen.getByRole('article', { name: 'Aiko Tanaka' })
    await user.click(within(article).getByRole('button', { name: /I'm on it/u }))
    const alert = await within(article).findByRole('alert')
    expect(alert).toHaveTextContent(/not known whether this took effect/u)
    expect(alert).not.toHaveTextContent(/Nothing has changed/u)
    // It did, and the live feed shows it.
    await publish(helpPublication(11, { version: 2, status: 'claimed', claimed_by: 'p1', claimed_at: minutesAgo(0) }))
    expect(await within(article).findByText(/You are on it since/u)).toBeVisible()
    expect(within(article).queryByRole('alert')).toBeNull()
    // Handed back, perhaps elsewhere: what was not known then is no news.
    await publish(helpPublication(12, { version: 3, status: 'open' }))
    expect(within(article).getByRole('button', { name: /I'm on it/u })).toBeVisible()
    expect(within(article).queryByRole('alert')).toBeNull()
  })

  it('stop saying that an outcome is unknown once another one is known or the action is repeated', async () => {
    const answers = [() => Promise.reject(new TypeError('network')), () => new Promise<never>(() => undefined)]
    course.api.on('POST courses/c1/help/h1/claim', () => (answers.shift() ?? (() => ({ status: 500 })))())
    const user = userEvent.setup()
    await live()
    const article = screen.getByRole('article', { name: 'Aiko Tanaka' })
    await user.click(within(article).getByRole('button', { name: /I'm on it/u }))
    expect(await within(article).findByRole('alert')).toHaveTextContent(/not known/u)
    await user.click(within(article).getByRole('button', { name: /I'm on it/u }))
    expect(within(article).queryByRole('alert')).toBeNull()
    await publish(helpPublication(11, { version: 2, status: 'claimed', claimed_by: 'p2', claimed_at: minutesAgo(0) }))
    expect(await within(article).findByText(/Tom Becker is on it since/u)).toBeVisible()
    expect(within(article).queryByRole('alert')).toBeNull()
  })

  it.each([
    ['taken', { status: 'claimed', claimed_by: 'p1', claimed_at: minutesAgo(0) }, 'Hand back: Aiko Tanaka'],
    ['taken by another person', { status: 'claimed', claimed_by: 'p2', claimed_at: minutesAgo(0) }, 'Resolved: Aiko Tanaka'],
  ] as const)('can be acted on again once the live feed shows what became of them, whether or not an answer comes (%s)', async (_, change, next) => {
    course.api.on('POST courses/c1/help/h1/claim', () => new Promise<never>(() => undefined))
    const user = userEvent.setup()
    await live()
    const article = screen.getByRole('article', { name: 'Aiko Tanaka' })
    await user.click(within(article).getByRole('button', { name: /I'm on it/u }))
    expect(within(article).getByRole('button', { name: 'Taking it …' })).toHaveAttribute('aria-disabled', 'true')
    await publish(helpPublication(11, { version: 2, ...change }))
    const button = await within(article).findByRole('button', { name: next })
    await waitFor(() => expect(button).not.toHaveAttribute('aria-disabled', 'true'))
    expect(within(article).queryByRole('button', { name: 'Taking it …' })).toBeNull()
    expect(within(article).queryByRole('alert')).toBeNull()
  })

  it('move the focus to the list when the focused one is removed', async () => {
    await live()
    const article = screen.getByRole('article', { name: 'Aiko Tanaka' })
    act(() => within(article).getByRole('button', { name: /I'm on it/u }).focus())
    await publish(helpPublication(11, { version: 2, status: 'cancelled' }))
    expect(screen.queryByRole('article', { name: 'Aiko Tanaka' })).toBeNull()
    expect(screen.getByRole('heading', { name: 'Help requests' })).toHaveFocus()
  })

  it('show a few lines of a long message, and all of it at the press of a button', async () => {
    // jsdom has no layout: what is cut has more lines than are shown.
    const height = vi.spyOn(HTMLElement.prototype, 'scrollHeight', 'get').mockImplementation(function (this: HTMLElement) {
      return this.textContent.length > 200 ? 300 : 0
    })
    const message = 'It does not work. '.repeat(27).trim()
    const bens = course.api.snapshot.help.filter((request) => request.student_id === 's2')
    course.api.snapshot = { ...course.api.snapshot, help: [helpRequest({ message }), ...bens] }
    const user = userEvent.setup()
    await live()
    const article = screen.getByRole('article', { name: 'Aiko Tanaka' })
    const text = within(article).getByText(message)
    expect(text).toHaveClass('help-message__text--cut')
    const more = within(article).getByRole('button', { name: 'Show all: Aiko Tanaka' })
    expect(more).toHaveAttribute('aria-expanded', 'false')
    expect(more).toHaveAttribute('aria-controls', text.id)
    await user.click(more)
    expect(text).not.toHaveClass('help-message__text--cut')
    const less = within(article).getByRole('button', { name: 'Show less: Aiko Tanaka', expanded: true })
    expect(less).toHaveFocus()
    await user.click(less)
    expect(text).toHaveClass('help-message__text--cut')
    const short = screen.getByRole('article', { name: 'Ben Adams' })
    expect(within(short).queryByRole('button', { name: /Show all/u })).toBeNull()
    height.mockRestore()
  })

  it.each(['observer', 'student', null])('lose their buttons on an open page with the role, and a press before that is refused in words (%s)', async (role) => {
    const user = userEvent.setup()
    await live()
    const article = screen.getByRole('article', { name: 'Aiko Tanaka' })
    // The server knows of the demotion; this page reads its rights with the next turn only.
    course.api.on('POST courses/c1/help/h1/claim', () => ({ status: 403, body: fault('permission_denied') }))
    await user.click(within(article).getByRole('button', { name: /I'm on it/u }))
    expect(await within(article).findByRole('alert')).toHaveTextContent('Your role does not allow this.')
    expect(within(article).queryByText(/You are on it/u)).toBeNull()
    const courses = role === null ? [] : [{ course_id: 'c1', title: 'Programming', role }]
    course.api.on('GET me', () => ({
      body: { person_id: 'p1', username: 'mari', display_name: 'Mari Aoki', is_admin: false, courses },
    }))
    await waitFor(() => expect(within(article).queryByRole('button', { name: /I'm on it|Resolved/u })).toBeNull(), { timeout: 8_000 })
    // The reason stays where the button was.
    expect(within(article).getByRole('alert')).toHaveTextContent('Your role does not allow this.')
  }, 15_000)

  it('offer no actions to an observer', async () => {
    course.api.on('GET me', () => ({
      body: {
        person_id: 'p3',
        username: 'olga',
        display_name: null,
        is_admin: false,
        courses: [{ course_id: 'c1', title: 'Programming', role: 'observer' }],
      },
    }))
    await live()
    expect(screen.queryByRole('button', { name: /I'm on it/u })).toBeNull()
    expect(screen.getByText(/Observers see requests/u)).toBeVisible()
  })
})
