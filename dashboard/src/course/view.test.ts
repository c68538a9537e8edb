import { describe, expect, it } from 'vitest'

import { before, execution, helpRequest, snapshot, student, viewsOf } from '../testing/fixtures'
import { placeOfCondition } from './view'
import { arrange, countByFilter, type Filter } from './arrangement'

const collator = new Intl.Collator('ja', { numeric: true, sensitivity: 'base' })

function views(...students: Parameters<typeof student>[0][]) {
  const rows = students.map((changes, index) => student({ student_id: `s${index + 1}`, ...changes }))
  return viewsOf(snapshot({ students: rows }))
}

function names(list: ReturnType<typeof views>, by: { search?: string; filter?: Filter; sort?: 'name' | 'errors' }) {
  return arrange(list, { search: '', filter: 'all', sort: 'name', ...by }, collator).map((view) => view.label.name)
}

describe('condition', () => {
  it('is the most urgent one', () => {
    expect(views({ status: 'error', error_streak: 3, streak_since: before(4) })[0]?.condition).toBe('stuck')
    expect(views({ status: 'error', error_streak: 1 })[0]?.condition).toBe('error')
    expect(views({ status: 'waiting', last_activity_at: null, sessions_open: 0 })[0]?.condition).toBe('waiting')
    expect(views({ sessions_open: 0, last_activity_at: before(5) })[0]?.condition).toBe('left')
    expect(views({ last_activity_at: before(5), last_seen_at: before(5) })[0]?.condition).toBe('left')
  })

  it('follows the list of requests rather than the row, because an answer of the API changes the list first', () => {
    const row = student({ help: { request_id: 'h1', since: before(3), status: 'open', claimed_by: null } })
    const claimed = helpRequest({ status: 'claimed', claimed_by: 'p1', version: 2 })
    const resolved = helpRequest({ status: 'resolved', version: 3 })
    const condition = (help: ReturnType<typeof helpRequest>[]) =>
      viewsOf({ students: [row], help, staff: [] })[0]?.condition
    expect(condition([claimed])).toBe('helped')
    expect(condition([resolved])).toBe('ok')
  })

  it('follows the row for a request that the list does not have yet', () => {
    const row = student({ help: { request_id: 'h9', since: before(1), status: 'open', claimed_by: null } })
    expect(viewsOf({ students: [row], help: [], staff: [] })[0]?.condition).toBe('help')
  })

  it('falls back to the user name', () => {
    expect(views({ display_name: ' ', username: 'u7' })[0]?.label.name).toBe('u7')
  })
})

describe('the place of a condition', () => {
  const cell = (source_id: string) => ({ source_id, index: 0, type: 'code', heading: source_id, ordinal: 1 })
  const notebook = { id: 'n1', path: 'n1.ipynb', title: null }
  const placeOf = (changes: Parameters<typeof student>[0]) => placeOfCondition(views({ cell: cell('A'), ...changes })[0]!)?.cell

  it('is the cell of the fact, wherever the student is now', () => {
    const failed = execution({ status: 'error', cell: cell('C'), notebook, error: { name: 'SyntaxError', value: '' } })
    expect(placeOf({ status: 'error', error_streak: 3, last_execution: failed })).toEqual(cell('C'))
    expect(placeOf({ status: 'running', running_since: before(1), running_cell: cell('R') })).toEqual(cell('R'))
    const deaths = { count: 3, since: before(2), notebook, cell: cell('K') }
    expect(placeOf({ kernel_deaths: deaths })).toEqual(cell('K'))
    expect(placeOf({ last_execution: execution({ cell: cell('B') }) })).toEqual(cell('B'))
    expect(placeOf({ last_activity_at: before(15), last_seen_at: before(1) })).toBeUndefined()
  })
})

describe('list', () => {
  it('finds full-width and half-width forms alike, all words, in name, notebook, cell and error', () => {
    const list = views(
      { display_name: 'ﾀﾅｶ Ａｉｋｏ', cell: { source_id: 'c', index: 1, type: 'code', heading: '演習 3', ordinal: 1 } },
      {
        display_name: 'Tom',
        last_execution: execution({ status: 'error', error: { name: 'NameError', value: "name 'x'" } }),
      },
    )
    expect(names(list, { search: 'タナカ' })).toEqual(['ﾀﾅｶ Ａｉｋｏ'])
    expect(names(list, { search: 'AIKO  演習' })).toEqual(['ﾀﾅｶ Ａｉｋｏ'])
    expect(names(list, { search: 'nameerror loops' })).toEqual(['Tom'])
    expect(names(list, { search: 'aiko nameerror' })).toEqual([])
  })

  it('counts by the conditions that it filters by', () => {
    const list = views(
      { display_name: 'A', status: 'running', running_since: before(10) },
      { display_name: 'B', error_streak: 3, status: 'error', streak_since: before(2) },
      { display_name: 'C', last_activity_at: before(15), last_seen_at: before(1) },
      { display_name: 'D', sessions_open: 0, last_activity_at: before(15) },
    )
    const counts = countByFilter(list)
    expect(counts).toEqual({
      all: 4, help: 0, stuck: 1, kernelDied: 0, longRun: 1, running: 1, error: 1, active: 2, idle: 1, left: 1, notStarted: 0,
    })
    for (const filter of Object.keys(counts) as Filter[]) {
      expect(names(list, { filter })).toHaveLength(counts[filter])
    }
  })

  it('sorts numbers in names as numbers, and errors in descending order', () => {
    const list = views(
      { display_name: 'Student 10', errors: 1 },
      { display_name: 'Student 9', errors: 5 },
      { display_name: 'Student 1', errors: 5 },
    )
    expect(names(list, {})).toEqual(['Student 1', 'Student 9', 'Student 10'])
    expect(names(list, { sort: 'errors' })).toEqual(['Student 1', 'Student 9', 'Student 10'])
  })
})
