import { keepPreviousData, useQuery } from '@tanstack/react-query'
import {
  CategoryScale,
  Chart,
  Filler,
  Legend,
  LinearScale,
  LineElement,
  PointElement,
  Tooltip,
  type ChartData,
  type ChartOptions,
} from 'chart.js'
import { useCallback, useMemo, useRef, useState, type ReactElement, type RefObject } from 'react'
import { Line } from 'react-chartjs-2'
import { useTranslation } from 'react-i18next'

import { activityQuery, type AskedActivity } from '../../api/queries'
import type { ActivityBucket } from '../../api/types'
import { useTick } from '../../ui/clock'
import { useServices } from '../../api/services'
import { useTheme } from '../../ui/theme'
import { useFormat } from '../../i18n/format'
import { ErrorNotice } from '../../ui/ErrorNotice'
import { useFocusWhenGone } from '../../ui/focus'
import { Loading } from '../../ui/Notice'
import { AsOf } from '../../course/AsOf'
import { useColors } from './colors'
import { REFETCH_INTERVAL_MS } from './pace'
import { bucketSeconds, ranges, summarize, type RangeMinutes } from './series'
import { useRefetchPace } from './useRefetchPace'

Chart.register(CategoryScale, LinearScale, LineElement, PointElement, Filler, Legend, Tooltip)

/** The interval, and some time for the answer. */
const OVERDUE_MS = REFETCH_INTERVAL_MS + 15_000
const LATELY_MS = 60_000

interface ActivityChartProps {
  courseId: string
  /** Runs by the live counters. */
  runs: number
  /** When a student last ran a cell, by the live rows; null before the first run. Server's time, milliseconds. */
  newestRunAt: number | null
  /** The server's time now, milliseconds. */
  now: number
  /** Add to `performance.now()` to get the server's time; milliseconds. */
  clockOffsetMs: number
}

export default function ActivityChart({ courseId, runs, newestRunAt, now, clockOffsetMs }: ActivityChartProps): ReactElement {
  const { t } = useTranslation()
  const { api } = useServices()
  const tick = useTick()
  const [range, setRange] = useState<RangeMinutes>('60')
  const activity = useQuery({
    ...activityQuery(api, courseId, {
      minutes: Number(range),
      bucketS: bucketSeconds[range],
      refetchMs: REFETCH_INTERVAL_MS,
      clockOffsetMs,
    }),
    placeholderData: keepPreviousData,
  })
  const { data, refetch } = activity
  useRefetchPace({
    revision: runs,
    changedLately: newestRunAt !== null && now - newestRunAt < LATELY_MS,
    askedAt: data?.asked_tick,
    failedAt: activity.errorUpdatedAt,
    refetch: useCallback(() => void refetch({ cancelRefetch: false }), [refetch]),
  })
  const heading = useRef<HTMLHeadingElement>(null)
  const outdated = data !== undefined && (activity.isError || tick - data.asked_tick > OVERDUE_MS)
  return (
    <section className="card activity" aria-labelledby="activity-title">
      <header className="card__header">
        <h2 id="activity-title" ref={heading} tabIndex={-1}>
          {t('activity.title')}
        </h2>
        <AsOf fetchedAt={data && data.asked_tick + clockOffsetMs} outdated={outdated} />
        <div className="segments" role="group" aria-label={t('activity.range')}>
          {ranges.map((value) => (
            <button
              key={value}
              type="button"
              className="segment"
              aria-pressed={range === value}
              onClick={() => setRange(value)}
            >
              {t(`activity.ranges.${value}`)}
            </button>
          ))}
        </div>
      </header>
      {activity.isError && <Failed error={activity.error} onRetry={() => void refetch()} heading={heading} />}
      {data === undefined && activity.isPending && <Loading label={t('app.loading')} />}
      {data !== undefined && (
        <>
          <p className="activity__summary">
            <Summary activity={data} newestRunAt={newestRunAt} />
          </p>
          <ActivityLines buckets={data.buckets} />
          <ActivityTable buckets={data.buckets} />
        </>
      )}
    </section>
  )
}

interface FailedProps {
  error: Error
  onRetry: () => void
  heading: RefObject<HTMLElement | null>
}

/** It may be removed while its button has the focus. */
function Failed({ error, onRetry, heading }: FailedProps): ReactElement {
  const notice = useRef<HTMLDivElement>(null)
  useFocusWhenGone(notice, heading)
  return (
    <div ref={notice}>
      <ErrorNotice error={error} onRetry={onRetry} />
    </div>
  )
}

interface SummaryProps {
  activity: AskedActivity
  newestRunAt: number | null
}

/** The day of the newest bucket needs no date. */
function lastOf(buckets: readonly ActivityBucket[]): number {
  return Date.parse(buckets.at(-1)?.at ?? '')
}

function Summary({ activity: { buckets, minutes }, newestRunAt }: SummaryProps): ReactElement {
  const { t } = useTranslation()
  const format = useFormat()
  const { runs, errors, rate, peak } = summarize(buckets)
  // Of the span that is drawn, which differs from the chosen one while that is being fetched.
  const duration = format.duration(minutes * 60_000)
  const runsText = (count: number): string => t('activity.summaryRuns', { count, value: format.number(count) })
  if (peak === null) {
    const first = buckets[0]
    // The summary must not contradict the live rows, which may show newer runs.
    const behind = newestRunAt !== null && first !== undefined && newestRunAt >= Date.parse(first.at)
    return <>{behind ? t('activity.behind') : t('activity.quiet', { duration })}</>
  }
  const total = t('activity.summary', {
    duration,
    runs: runsText(runs),
    errors: t('activity.summaryErrors', { count: errors, value: format.number(errors) }),
    rate: format.percent(rate),
  })
  const busiest = t('activity.peak', { time: format.time(peak.at, lastOf(buckets)), runs: runsText(peak.executions) })
  return <>{t('activity.sentences', { first: total, second: busiest })}</>
}

function ActivityLines({ buckets }: { buckets: readonly ActivityBucket[] }): ReactElement {
  const { t } = useTranslation()
  const format = useFormat()
  const colors = useColors(useTheme())

  const last = lastOf(buckets)
  const data = useMemo<ChartData<'line', number[], string>>(
    () => ({
      labels: buckets.map((bucket) => format.time(bucket.at, last)),
      datasets: [
        {
          label: t('activity.runs'),
          data: buckets.map((bucket) => bucket.executions),
          borderColor: colors.runs,
          backgroundColor: colors.runsFill,
          fill: true,
          borderWidth: 2,
          pointRadius: 0,
          pointHitRadius: 12,
          tension: 0.25,
        },
        {
          // Dashed and filled darker: distinguishable from the runs without colour.
          label: t('activity.errors'),
          data: buckets.map((bucket) => bucket.errors),
          borderColor: colors.errors,
          backgroundColor: colors.errorsFill,
          borderDash: [5, 3],
          fill: true,
          borderWidth: 2,
          pointRadius: 0,
          pointHitRadius: 12,
          tension: 0.25,
        },
      ],
    }),
    [buckets, last, colors, format, t],
  )

  const options = useMemo<ChartOptions<'line'>>(
    () => ({
      // An animation every half minute would be a distraction in class.
      animation: false,
      responsive: true,
      maintainAspectRatio: false,
      interaction: { mode: 'index', intersect: false },
      scales: {
        x: {
          grid: { display: false },
          border: { color: colors.line },
          ticks: { color: colors.text, maxRotation: 0, autoSkipPadding: 16, font: { size: 11 } },
        },
        y: {
          beginAtZero: true,
          suggestedMax: 5,
          grid: { color: colors.line },
          border: { display: false },
          ticks: { color: colors.text, precision: 0, maxTicksLimit: 5, font: { size: 11 } },
        },
      },
      plugins: {
        legend: {
          align: 'start',
          labels: { color: colors.text, boxWidth: 18, boxHeight: 0, font: { size: 12 }, usePointStyle: false },
        },
        tooltip: { displayColors: false },
      },
    }),
    [colors],
  )

  return (
    <div className="activity__canvas">
      <Line data={data} options={options} role="img" aria-label={t('activity.chart')} />
    </div>
  )
}

function ActivityTable({ buckets }: { buckets: readonly ActivityBucket[] }): ReactElement {
  const { t } = useTranslation()
  const format = useFormat()
  return (
    <details className="activity__table">
      <summary>{t('activity.table')}</summary>
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- scrolls with the keyboard */}
      <div className="scroll-y" role="group" aria-label={t('activity.tableLabel')} tabIndex={0}>
        <table className="table">
          <thead>
            <tr>
              <th scope="col">{t('activity.time')}</th>
              <th scope="col" className="table__number">
                {t('activity.runs')}
              </th>
              <th scope="col" className="table__number">
                {t('activity.errors')}
              </th>
              <th scope="col" className="table__number">
                {t('activity.students')}
              </th>
            </tr>
          </thead>
          <tbody>
            {buckets.toReversed().map((bucket) => (
              <tr key={bucket.at}>
                <th scope="row">
                  <time dateTime={bucket.at}>{format.timeWithSeconds(bucket.at)}</time>
                </th>
                <td className="table__number">{format.number(bucket.executions)}</td>
                <td className="table__number">{format.number(bucket.errors)}</td>
                <td className="table__number">{format.number(bucket.students)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  )
}
