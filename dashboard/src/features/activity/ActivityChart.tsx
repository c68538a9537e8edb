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
import { useMemo, useState, type ReactElement } from 'react'
import { Line } from 'react-chartjs-2'
import { useTranslation } from 'react-i18next'

import { activityQuery } from '../../api/queries'
import type { ActivityBucket } from '../../api/types'
import { useServices } from '../../app/services'
import { useTheme } from '../../app/theme'
import { useFormat } from '../../i18n/format'
import { ErrorNotice } from '../../ui/ErrorNotice'
import { Loading } from '../../ui/Notice'
import { AsOf } from '../course/Connection'
import { useColors } from './colors'
import { bucketSeconds, ranges, summarize, type RangeMinutes } from './series'

Chart.register(CategoryScale, LinearScale, LineElement, PointElement, Filler, Legend, Tooltip)

export default function ActivityChart({ courseId }: { courseId: string }): ReactElement {
  const { t } = useTranslation()
  const format = useFormat()
  const { api } = useServices()
  const [range, setRange] = useState<RangeMinutes>('60')
  const activity = useQuery({
    ...activityQuery(api, courseId, Number(range), bucketSeconds[range]),
    placeholderData: keepPreviousData,
  })
  const buckets = activity.data?.buckets
  return (
    <section className="card activity" aria-labelledby="activity-title">
      <header className="card__header">
        <h2 id="activity-title">{t('activity.title')}</h2>
        <AsOf fetchedAt={activity.dataUpdatedAt} outdated={activity.isError && buckets !== undefined} />
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
      {activity.isError && <ErrorNotice error={activity.error} onRetry={() => void activity.refetch()} />}
      {buckets === undefined && activity.isPending && <Loading label={t('app.loading')} />}
      {buckets !== undefined && (
        <>
          <p className="activity__summary">
            <Summary buckets={buckets} duration={format.duration(Number(range) * 60_000)} />
          </p>
          <ActivityLines buckets={buckets} />
          <ActivityTable buckets={buckets} />
        </>
      )}
    </section>
  )
}

function Summary({ buckets, duration }: { buckets: readonly ActivityBucket[]; duration: string }): ReactElement {
  const { t } = useTranslation()
  const format = useFormat()
  const { runs, errors, rate, peak } = summarize(buckets)
  const runsText = (count: number): string => t('activity.summaryRuns', { count, value: format.number(count) })
  if (peak === null) return <>{t('activity.quiet', { duration })}</>
  return (
    <>
      {t('activity.summary', {
        duration,
        runs: runsText(runs),
        errors: t('activity.summaryErrors', { count: errors, value: format.number(errors) }),
        rate: format.percent(rate),
      })}{' '}
      {t('activity.peak', { time: format.time(peak.at), runs: runsText(peak.executions) })}
    </>
  )
}

function ActivityLines({ buckets }: { buckets: readonly ActivityBucket[] }): ReactElement {
  const { t } = useTranslation()
  const format = useFormat()
  const colors = useColors(useTheme())

  const data = useMemo<ChartData<'line', number[], string>>(
    () => ({
      labels: buckets.map((bucket) => format.time(bucket.at)),
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
          // Dashed and filled darker: told from the runs without its colour.
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
    [buckets, colors, format, t],
  )

  const options = useMemo<ChartOptions<'line'>>(
    () => ({
      // A chart that moves by itself every half minute is a distraction in class.
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
