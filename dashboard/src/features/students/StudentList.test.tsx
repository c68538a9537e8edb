import { act, fireEvent, screen, waitFor, within } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import { describe, expect, it } from 'vitest'

import { change, classOf, live, prepareCourse, publish, row, rowNames } from '../../testing/course'
import { execution } from '../../testing/fixtures'

const course = prepareCourse()

describe('list of students', () => {
  it('is navigated by keyboard with one row in the tab order, and opens with Enter', async () => {
    course.api.on('GET courses/c1/students/s3', () => ({ body: { student: course.api.snapshot.students[2], cells: [], help: [] } }))
    course.api.on('GET courses/c1/students/s3/runs', () => ({ body: { runs: [], next_before: null } }))
    const user = userEvent.setup()
    await live()
    const first = within(row('Aiko Tanaka')).getByRole('button')
    act(() => first.focus())
    await user.keyboard('{ArrowDown}')
    expect(within(row('Ben Adams')).getByRole('button')).toHaveFocus()
    await user.keyboard('{End}')
    const last = within(row('Chen Li')).getByRole('button')
    expect(last).toHaveFocus()
    expect(within(screen.getByRole('grid')).getAllByRole('button').map((button) => button.tabIndex)).toEqual([-1, -1, 0])
    await user.keyboard('{Enter}')
    expect(await screen.findByRole('dialog', { name: /Chen Li/u })).toBeVisible()
    fireEvent(screen.getByRole('dialog'), new Event('cancel', { cancelable: true }))
    await waitFor(() => expect(screen.queryByRole('dialog')).toBeNull())
    expect(within(row('Chen Li')).getByRole('button')).toHaveFocus()
  })

  it('keeps the focus on the same student when the order changes', async () => {
    const user = userEvent.setup()
    await live('/courses/c1?sort=errors')
    const button = within(row('Chen Li')).getByRole('button')
    act(() => button.focus())
    await publish(change(11, { student_id: 's3', errors: 9 }))
    expect(rowNames()).toEqual(['Chen Li', 'Aiko Tanaka', 'Ben Adams'])
    expect(within(row('Chen Li')).getByRole('button')).toHaveFocus()
    await user.keyboard('{ArrowDown}')
    expect(within(row('Aiko Tanaka')).getByRole('button')).toHaveFocus()
  })

  it('names the cell of an error that is gone, and not the one that has its name now', async () => {
    await live()
    const cell = { source_id: 'x', index: 4, type: 'code', heading: 'Q', ordinal: 2 }
    const last_execution = execution({ status: 'error', error: { name: 'ZeroDivisionError', value: '' }, cell, cell_removed: true })
    const notebook = { id: 'n1', path: 'n1.ipynb', title: null }
    await publish(change(11, { notebook, cell: { ...cell, source_id: 'y' }, last_execution: { ...last_execution, notebook } }))
    expect(row('Aiko Tanaka')).toHaveTextContent('ZeroDivisionError in Q · b (removed)')
  })

  it('searches, filters and sorts, and shows how many match', async () => {
    const user = userEvent.setup()
    await live()
    await user.type(screen.getByRole('searchbox', { name: 'Search' }), 'ben')
    await waitFor(() => expect(rowNames()).toEqual(['Ben Adams']))
    expect(screen.getByText('1 of 3 students', { selector: '.card__note' })).toBeVisible()
    await user.click(screen.getByRole('button', { name: /^Need help/u }))
    expect(await screen.findByText('No student matches.')).toBeVisible()
    await user.click(screen.getByRole('button', { name: 'Show all' }))
    await waitFor(() => expect(rowNames()).toHaveLength(3))
    await publish(change(11, { student_id: 's2', errors: 7 }))
    await user.selectOptions(screen.getByRole('combobox', { name: 'Sort by' }), 'errors')
    await waitFor(() => expect(rowNames()[0]).toBe('Ben Adams'))
  })

  it('renders only the visible rows of a large class', async () => {
    course.api.snapshot = {
      ...course.api.snapshot,
      students: classOf(...Array.from({ length: 500 }, (_, index) => `Student ${String(index + 1).padStart(3, '0')}`)),
    }
    await live()
    const grid = screen.getByRole('grid')
    expect(grid).toHaveAttribute('aria-rowcount', '501')
    expect(within(grid).getAllByRole('rowheader').length).toBeLessThan(100)
  })
})
