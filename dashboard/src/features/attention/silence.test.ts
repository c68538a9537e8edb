import { describe, expect, it } from 'vitest'

import { before, NOW, snapshot, student, thresholds, viewsOf } from '../../testing/fixtures'
import { silentSince } from './silence'

function since(...students: Parameters<typeof student>[0][]) {
  const rows = students.map((changes, index) => student({ student_id: `s${index + 1}`, ...changes }))
  return silentSince(viewsOf(snapshot({ students: rows })), thresholds, NOW)
}

const gone = (minutes: number, sessions = 1) => ({
  last_activity_at: before(minutes),
  last_seen_at: before(minutes),
  sessions_open: sessions,
})

describe('a class of which nothing is received any more', () => {
  it('is distinguished from students who leave', () => {
    expect(since(gone(5), gone(6), gone(4), gone(90))).toBe(Date.parse(before(4)))
  })

  it('is not reported while events of any student are received', () => {
    expect(since(gone(5), gone(6), gone(4), gone(0))).toBeNull()
  })

  it('is not reported for students who ended their sessions, nor for one or two', () => {
    expect(since(gone(5, 0), gone(6, 0), gone(4, 0), gone(7, 0))).toBeNull()
    expect(since(gone(5), gone(6))).toBeNull()
  })

  it('is not reported once the class is over', () => {
    expect(since(gone(31), gone(40), gone(10_000))).toBeNull()
  })
})
