/** Figures of the activity chart, its table and its summary. Pure. */

import type { ActivityBucket, Student } from '../../api/types'

export const ranges = ['15', '60', '180'] as const
export type RangeMinutes = (typeof ranges)[number]

/** Seconds a bucket, so that every span has a readable number of points. */
export const bucketSeconds: Readonly<Record<RangeMinutes, number>> = { '15': 30, '60': 120, '180': 300 }

export interface ActivitySummary {
  runs: number
  errors: number
  /** Failed share of the runs, 0 to 1; 0 without runs. */
  rate: number
  peak: ActivityBucket | null
}

export function summarize(buckets: readonly ActivityBucket[]): ActivitySummary {
  let runs = 0
  let errors = 0
  let peak: ActivityBucket | null = null
  for (const bucket of buckets) {
    runs += bucket.executions
    errors += bucket.errors
    if (bucket.executions > (peak?.executions ?? 0)) peak = bucket
  }
  return { runs, errors, rate: runs === 0 ? 0 : errors / runs, peak }
}

/** When somebody of the class last ran a cell, milliseconds; null before the first run. */
export function newestRun(students: readonly Pick<Student, 'last_execution'>[]): number | null {
  let newest: number | null = null
  for (const { last_execution: run } of students) {
    const at = run == null ? Number.NaN : Date.parse(run.at)
    if (at > (newest ?? Number.NEGATIVE_INFINITY)) newest = at
  }
  return newest
}
