/**
 * A simulated class: students who read, run cells, fail, get stuck and ask for help. It keeps states, runs and help
 * requests in the form of the contract and calls a listener with every change, as the worker publishes them.
 */

import { randomUUID } from 'node:crypto'

const notebooks = [
  { id: 'nb-03', path: 'week03/lists-and-loops.ipynb', title: 'Lists and loops' },
  { id: 'nb-04', path: 'week03/functions.ipynb', title: '関数の練習' },
]
const headings = [
  'Warm-up',
  'Exercise 1: sums',
  'Exercise 2: filtering',
  '演習 3：平均と分散',
  'Exercise 4: nested loops',
  null,
  'Exercise 5: word counts',
  '演習 6：再帰',
]
const families = [
  ['佐藤', '鈴木', '高橋', '田中', '伊藤', '渡辺', '山本', '中村', '小林', '加藤', '吉田', '山田', '佐々木', '松本'],
  ['Adams', 'Baker', 'Chen', 'Dubois', 'Evans', 'Fischer', 'García', 'Hughes', 'Ivanova', 'Kumar', 'Moreau', 'Nguyen'],
]
const given = [
  ['葵', '蓮', '陽菜', '湊', '結衣', '大和', 'さくら', '悠真', '凛', '海斗', '美咲', '翔太', '杏', '颯太'],
  ['Alice', 'Bruno', 'Chloé', 'Daniel', 'Emma', 'Farid', 'Grace', 'Hugo', 'Inés', 'Jonas', 'Keira', 'Liam'],
]
const failures = [
  { name: 'NameError', value: "name 'total' is not defined", line: 'print(totl / len(values))' },
  { name: 'TypeError', value: "unsupported operand type(s) for +: 'int' and 'str'", line: 'total = 0 + row[1]' },
  { name: 'IndexError', value: 'list index out of range', line: 'last = values[len(values)]' },
  { name: 'ZeroDivisionError', value: 'division by zero', line: 'mean = total / 0' },
  { name: 'SyntaxError', value: "expected ':'", line: 'for value in values' },
]
const questions = [
  'I get the same error again and again and do not see why.',
  'どこが間違っているのか分かりません。見てもらえますか？',
  'Is the loop supposed to take this long?',
  null,
]

/** A seeded random generator, so that two runs with one seed show the same class (mulberry32). */
function generator(seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}

function minuteOf(ms) {
  return new Date(ms - (ms % 60_000)).toISOString()
}

export class Simulation {
  constructor({ students = 30, seed = 7, courseId = 'demo', title = 'プログラミング入門 (Introduction to Programming)' }) {
    this.random = generator(seed)
    this.courseId = courseId
    this.title = title
    this.thresholds = { stuck_errors: 3, long_run_s: 180, idle_s: 480, offline_s: 60 }
    this.staff = [
      { person_id: '00000000-0000-7000-8000-000000000001', display_name: '青木 真理', role: 'instructor', username: 'teacher' },
      { person_id: '00000000-0000-7000-8000-000000000002', display_name: 'Tom Becker', role: 'assistant', username: 'assistant' },
    ]
    this.students = new Map()
    this.help = new Map()
    this.runs = new Map()
    this.version = 1
    this.listener = () => undefined
    for (let index = 0; index < students; index += 1) this.#enrol(index)
    this.#settle()
  }

  onChange(listener) {
    this.listener = listener
  }

  counters() {
    const all = [...this.students.values()]
    return {
      course_id: this.courseId,
      version: this.version,
      students: all.length,
      started: all.filter((row) => row.status !== 'waiting').length,
      runs: all.reduce((sum, row) => sum + row.runs, 0),
      errors: all.reduce((sum, row) => sum + row.errors, 0),
      help_open: this.activeHelp().filter((request) => request.status === 'open').length,
    }
  }

  activeHelp() {
    return [...this.help.values()].filter((request) => request.status === 'open' || request.status === 'claimed')
  }

  /** Make `count` students act once. */
  step(count = 1) {
    const ids = [...this.students.keys()]
    for (let index = 0; index < count; index += 1) this.#act(ids[Math.floor(this.random() * ids.length)])
    // Open pages send heartbeats, which change `last_seen_at` once a minute.
    for (const [id, row] of this.students) {
      if (row.sessions_open > 0 && row.last_seen_at !== minuteOf(Date.now())) this.#change(id, {})
    }
  }

  askForHelp(studentId, message, at = Date.now()) {
    const row = this.students.get(studentId)
    const request = {
      request_id: randomUUID(),
      version: 1,
      student_id: studentId,
      status: 'open',
      requested_at: new Date(at).toISOString(),
      notebook: row.notebook,
      cell: row.cell,
      message,
      error: row.last_execution?.error ?? null,
      claimed_by: null,
      claimed_at: null,
      closed_at: null,
      resolved_by: null,
      error_notebook: row.last_execution?.notebook ?? null,
      error_cell: row.last_execution?.cell ?? null,
    }
    this.help.set(request.request_id, request)
    this.#change(studentId, {
      help: { request_id: request.request_id, since: request.requested_at, status: 'open', claimed_by: null },
    })
    this.listener('help', request)
    return request
  }

  /** Claim, release or resolve; returns the request, or the type of the conflict. */
  actOnHelp(requestId, action, personId) {
    const request = this.help.get(requestId)
    if (request === undefined) return 'not_found'
    if (request.status !== 'open' && request.status !== 'claimed') return 'help_closed'
    if (action !== 'resolve' && request.claimed_by !== null && request.claimed_by !== personId) {
      return 'help_already_claimed'
    }
    const now = new Date().toISOString()
    const changes = {
      claim: { status: 'claimed', claimed_by: personId, claimed_at: now },
      release: { status: 'open', claimed_by: null, claimed_at: null },
      resolve: { status: 'resolved', closed_at: now, resolved_by: personId },
    }
    const next = { ...request, ...changes[action], version: request.version + 1 }
    this.help.set(requestId, next)
    const ref =
      next.status === 'resolved'
        ? null
        : { request_id: requestId, since: next.requested_at, status: next.status, claimed_by: next.claimed_by }
    this.#change(request.student_id, { help: ref })
    this.listener('help', next)
    return next
  }

  cells(studentId) {
    const cells = new Map()
    for (const run of (this.runs.get(studentId) ?? []).toReversed()) {
      const key = `${run.notebook.id}:${run.cell.source_id}`
      const cell = cells.get(key) ?? {
        notebook: run.notebook,
        cell: run.cell,
        runs: 0,
        errors: 0,
        aborted: 0,
        error_streak: 0,
      }
      cell.runs += 1
      if (run.status === 'error') cell.errors += 1
      if (run.status === 'aborted') cell.aborted += 1
      cell.error_streak = run.status === 'error' ? cell.error_streak + 1 : run.status === 'ok' ? 0 : cell.error_streak
      cell.last_status = run.status
      cell.last_at = run.at
      cells.set(key, cell)
    }
    return [...cells.values()]
  }

  activity(start, stop, everyS) {
    const buckets = []
    for (let at = start; at < stop && buckets.length < 2000; at += everyS * 1000) {
      buckets.push({ at: new Date(at).toISOString(), events: 0, executions: 0, errors: 0, students: 0, ids: new Set() })
    }
    for (const [studentId, runs] of this.runs) {
      for (const run of runs) {
        const bucket = buckets[Math.floor((Date.parse(run.at) - start) / (everyS * 1000))]
        if (bucket === undefined) continue
        bucket.events += 3
        bucket.executions += 1
        if (run.status === 'error') bucket.errors += 1
        bucket.ids.add(studentId)
      }
    }
    return buckets.map(({ ids, ...bucket }) => ({ ...bucket, students: ids.size }))
  }

  #pick(list) {
    return list[Math.floor(this.random() * list.length)]
  }

  #enrol(index) {
    const language = this.random() < 0.6 ? 0 : 1
    const names = [this.#pick(families[language]), this.#pick(given[language])]
    const id = `01960000-0000-7000-8000-${String(index).padStart(12, '0')}`
    this.students.set(id, {
      student_id: id,
      version: 1,
      status: 'waiting',
      notebook: null,
      cell: null,
      last_execution: null,
      running_since: null,
      running_notebook: null,
      running_cell: null,
      error_streak: 0,
      streak_error: null,
      streak_since: null,
      runs: 0,
      errors: 0,
      aborted: 0,
      cells_ok: 0,
      missing: 0,
      sessions_open: 0,
      last_activity_at: null,
      last_seen_at: null,
      help: null,
      username: `s24${String(index + 1).padStart(4, '0')}`,
      display_name: language === 0 ? names.join(' ') : names.toReversed().join(' '),
    })
    this.runs.set(id, [])
  }

  /** Fill the class with an hour of history and at least one student in each condition. */
  #settle() {
    const now = Date.now()
    const ids = [...this.students.keys()]
    for (const id of ids) {
      if (this.random() < 0.07) continue
      let at = now - (50 + this.random() * 12) * 60_000
      const count = 4 + Math.floor(this.random() * 24)
      for (let run = 0; run < count && at < now - 15_000; run += 1) {
        this.#run(id, at, this.random() < 0.27)
        at += (0.5 + this.random() * 3.6) * 60_000
      }
      this.#change(id, {
        last_activity_at: new Date(now - this.random() ** 2 * 400_000).toISOString(),
        sessions_open: 1,
      })
    }
    const some = (share, least) => Math.max(least, Math.round(ids.length * share))
    const take = (count) => Array.from({ length: count }, () => this.#pick(ids))
    for (const id of take(some(0.03, 2))) {
      const failure = this.#pick(failures)
      for (let run = 0; run < 3 + this.random() * 3; run += 1) this.#run(id, now - (9 - run * 1.5) * 60_000, true, failure)
    }
    for (const id of take(some(0.01, 1))) {
      this.#open(id)
      this.#change(id, { status: 'running', running_since: new Date(now - 312_000).toISOString() })
    }
    for (const id of take(some(0.03, 1))) {
      this.#change(id, { status: 'ok', last_activity_at: new Date(now - 590_000).toISOString() })
    }
    for (const id of take(some(0.03, 1))) {
      this.#change(id, { sessions_open: 0, last_activity_at: new Date(now - 1_500_000).toISOString() })
    }
    for (const [index, id] of take(3).entries()) {
      this.#open(id)
      this.askForHelp(id, questions[index], now - (7 - index * 2.4) * 60_000)
    }
    const first = this.activeHelp()[1]
    if (first !== undefined) this.actOnHelp(first.request_id, 'claim', this.staff[1].person_id)
    const patchy = this.students.get(ids[0])
    if (patchy !== undefined) this.#change(ids[0], { missing: 3 })
  }

  #open(id) {
    const row = this.students.get(id)
    if (row.notebook !== null) return
    const index = Math.floor(this.random() * headings.length)
    this.#change(id, {
      status: 'working',
      sessions_open: 1,
      notebook: this.#pick(notebooks),
      cell: { source_id: `cell-${index}`, index, type: 'code', heading: headings[index], ordinal: headings[index] === null ? null : 1 },
      last_activity_at: new Date().toISOString(),
    })
  }

  #act(id) {
    const row = this.students.get(id)
    const now = Date.now()
    const chance = this.random()
    if (row.status === 'waiting') {
      if (chance < 0.3) this.#open(id)
    } else if (row.status === 'running') {
      if (chance < 0.8 && now - Date.parse(row.running_since) < 120_000) this.#run(id, now, this.random() < 0.28)
    } else if (chance < 0.012 && row.help === null) {
      this.askForHelp(id, this.#pick(questions))
    } else if (chance < 0.6) {
      this.#change(id, {
        status: 'running',
        running_since: new Date(now).toISOString(),
        running_notebook: row.notebook,
        running_cell: row.cell,
        last_activity_at: new Date(now).toISOString(),
        sessions_open: 1,
      })
    } else {
      this.#change(id, { last_activity_at: new Date(now).toISOString(), sessions_open: 1 })
    }
  }

  #run(id, at, fails, failure = this.#pick(failures)) {
    this.#open(id)
    const row = this.students.get(id)
    const stays = fails || this.random() < 0.4
    const index = stays ? row.cell.index : (row.cell.index + 1) % headings.length
    const cell = stays ? row.cell : { source_id: `cell-${index}`, index, type: 'code', heading: headings[index], ordinal: headings[index] === null ? null : 1 }
    const time = new Date(at).toISOString()
    const runs = this.runs.get(id)
    const durationMs = Math.round(20 + this.random() ** 4 * 9_000)
    const run = {
      event_id: randomUUID(),
      at: time,
      notebook: row.notebook,
      cell,
      status: fails ? 'error' : 'ok',
      duration_ms: durationMs,
      execution_count: runs.length + 1,
      ...this.#text(fails, failure),
    }
    runs.unshift(run)
    const streak = fails ? row.error_streak + 1 : 0
    const same = row.error_streak === 0 || row.streak_error === failure.name
    this.#change(id, {
      status: run.status,
      cell,
      running_since: null,
      running_notebook: null,
      running_cell: null,
      last_activity_at: time,
      runs: row.runs + 1,
      errors: row.errors + (fails ? 1 : 0),
      error_streak: streak,
      streak_error: fails && same ? failure.name : null,
      streak_since: fails ? (row.error_streak > 0 ? row.streak_since : time) : null,
      cells_ok: fails ? row.cells_ok : Math.min(headings.length, row.cells_ok + (stays ? 0 : 1)),
      last_execution: {
        event_id: run.event_id,
        at: time,
        status: run.status,
        notebook_id: row.notebook.id,
        notebook: row.notebook,
        cell,
        duration_ms: durationMs,
        execution_count: run.execution_count,
        error: fails ? { name: failure.name, value: failure.value } : null,
      },
    })
  }

  #text(fails, failure) {
    const code = [
      '# Mean of the readings',
      'values = [12, 7, 3.5, 21]',
      'total = 0',
      'for value in values:',
      '    total += value',
      fails ? failure.line : 'print(f"mean: {total / len(values):.2f}")',
    ].join('\n')
    const red = '\u001b[0;31m'
    const end = '\u001b[0m'
    const error = fails
      ? {
          name: failure.name,
          value: failure.value,
          traceback: [
            `${red}${'-'.repeat(75)}${end}`,
            `${red}${failure.name}${end}                                 Traceback (most recent call last)`,
            `Cell ${red}In[3], line 6${end}`,
            `\u001b[1;32m----> 6${end} ${failure.line}`,
            '',
            `${red}${failure.name}${end}: ${failure.value}`,
          ].join('\n'),
        }
      : null
    const text = fails ? 'reading 4 values\n' : '10%\r 50%\r100%\nmean: 10.88\n'
    return { code, outputs: [{ type: 'stream', name: 'stdout', text, size: text.length }], error }
  }

  #change(id, changes) {
    const row = { ...this.students.get(id), ...changes }
    if (row.sessions_open > 0) row.last_seen_at = minuteOf(Date.now())
    row.version += 1
    this.version += 1
    this.students.set(id, row)
    this.listener('student', { ...row, username: undefined, display_name: undefined })
    this.listener('course', this.counters())
  }
}
