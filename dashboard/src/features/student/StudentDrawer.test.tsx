import { act, screen, within } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import { beforeEach, describe, expect, it } from 'vitest'

import { live, minutesAgo, prepareCourse, publish } from '../../testing/course'
import { helpPublication, helpRequest, state } from '../../testing/fixtures'

const course = prepareCourse()

describe('student drawer', () => {
  const runs = (from: number, next: string | null) => ({
    body: {
      runs: [
        {
          event_id: `e${from}`,
          at: minutesAgo(from),
          notebook: state().notebook,
          cell: state().cell,
          status: 'error',
          duration_ms: 1240,
          execution_count: from,
          code: 'print(totl)  # <b>',
          outputs: [{ type: 'stream', name: 'stdout', text: '\u001b[31mred\u001b[0m <script>', size: 12 }],
          error: { name: 'NameError', value: "name 'totl'", traceback: '\u001b[0;31mNameError\u001b[0m: totl' },
        },
      ],
      next_before: next,
    },
  })

  beforeEach(() => {
    course.api.on('GET courses/c1/students/s1', () => ({
      body: {
        student: course.api.snapshot.students[0],
        cells: [
          {
            notebook: state().notebook,
            cell: state().cell,
            runs: 7,
            errors: 3,
            aborted: 0,
            last_status: 'error',
            last_at: minutesAgo(2),
            error_streak: 2,
            cell_removed: false,
          },
          {
            notebook: state().notebook,
            cell: { source_id: 'gone', index: 3, type: 'code', heading: 'Exercise 2', ordinal: 1 },
            runs: 1,
            errors: 0,
            aborted: 0,
            last_status: 'ok',
            last_at: minutesAgo(9),
            error_streak: 0,
            cell_removed: true,
          },
        ],
        help: [],
      },
    }))
    course.api.on('GET courses/c1/students/s1/runs', (_, url) =>
      url.searchParams.get('before') === 'c2' ? runs(2, null) : runs(1, 'c2'),
    )
  })

  it('shows runs with code, output and error as text, and older ones on demand', async () => {
    const user = userEvent.setup()
    await live('/courses/c1?student=s1')
    const dialog = await screen.findByRole('dialog', { name: /Aiko Tanaka/u })
    await user.click(within(dialog).getByRole('tab', { name: 'Runs' }))
    expect(await within(dialog).findByText('print(totl)', { exact: false })).toBeInTheDocument()
    expect(within(dialog).getByText('red <script>')).toBeInTheDocument()
    expect(within(dialog).getByText('NameError: totl')).toBeInTheDocument()
    expect(dialog.querySelector('script, b')).toBeNull()
    await user.click(within(dialog).getByRole('button', { name: 'Older runs' }))
    expect(await within(dialog).findByText('These are all the runs.')).toBeInTheDocument()
    expect(within(dialog).getAllByText('print(totl)', { exact: false })).toHaveLength(2)
  })

  it('moves between its tabs with the arrow keys', async () => {
    const user = userEvent.setup()
    await live('/courses/c1?student=s1')
    const dialog = await screen.findByRole('dialog')
    act(() => within(dialog).getByRole('tab', { name: 'Summary' }).focus())
    await user.keyboard('{ArrowRight}')
    expect(within(dialog).getByRole('tab', { name: 'Cells' })).toHaveFocus()
    expect(await within(dialog).findByRole('row', { name: /^Exercise 2(?! .removed).*Error 7 3 2/u })).toBeInTheDocument()
    expect(within(dialog).getByRole('row', { name: /^Exercise 2 \(removed\).*OK 1 0 0/u })).toBeInTheDocument()
  })

  it('has the student’s active request with its actions, and none once it is closed', async () => {
    course.api.snapshot = { ...course.api.snapshot, help: [helpRequest({ message: 'Why does it loop?' })] }
    await live('/courses/c1?student=s1')
    const dialog = await screen.findByRole('dialog', { name: /Aiko Tanaka/u })
    expect(within(dialog).getByText('Why does it loop?')).toBeInTheDocument()
    expect(within(dialog).getByRole('button', { name: "I'm on it: Aiko Tanaka" })).toBeVisible()
    await publish(helpPublication(11, { version: 2, status: 'cancelled', closed_at: minutesAgo(0) }))
    expect(within(dialog).queryByText('Why does it loop?')).toBeNull()
    expect(within(dialog).queryByRole('button', { name: "I'm on it: Aiko Tanaka" })).toBeNull()
  })

  it('reports a student who is not in the course', async () => {
    await live('/courses/c1?student=s99')
    expect(await screen.findByText('This student is not in the course.')).toBeInTheDocument()
  })
})
