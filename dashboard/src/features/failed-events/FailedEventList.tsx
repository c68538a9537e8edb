import { useInfiniteQuery } from '@tanstack/react-query'
import { useId, useState, type ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { useServices } from '../../api/services'
import type { FailedEvent, WaitingGroup } from '../../api/types'
import { useFormat } from '../../i18n/format'
import { shownUsername } from '../../course/names'
import { foreign } from '../../i18n/foreign'
import { Button } from '../../ui/Button'
import { ErrorNotice } from '../../ui/ErrorNotice'
import { Empty, Loading } from '../../ui/Notice'
import { failedEventsQuery } from './failedEvents'
import { reasonOf, reasons } from '../../course/failure-reasons'

interface FailedEventListProps {
  groups: readonly WaitingGroup[]
  courseName: (courseId: string | null) => string
}

/** The values of the course filter that are no course's id. */
const ALL = ''
const NONE = '-'

/** Failed events, newest first; never what is in them. */
export function FailedEventList({ groups, courseName }: FailedEventListProps): ReactElement {
  const { t } = useTranslation()
  const { api } = useServices()
  const [reason, setReason] = useState(ALL)
  const [course, setCourse] = useState(ALL)
  const [withReplayed, setWithReplayed] = useState(false)
  const ids = { reason: useId(), course: useId() }
  const selection = {
    reason: reason === ALL ? undefined : reason,
    course: course === ALL ? undefined : course === NONE ? null : course,
  }
  const list = useInfiniteQuery(failedEventsQuery(api, selection, withReplayed))
  const events = list.data?.pages.flatMap((page) => page.failed_events)
  const courses = [...new Set([...groups.map((group) => group.course_id ?? NONE), ...(course === ALL ? [] : [course])])]
  return (
    <section className="card" aria-labelledby={`${ids.reason}-title`}>
      <h2 id={`${ids.reason}-title`}>{t('failedEvents.each')}</h2>
      <div className="failed-events__filters">
        <div className="field">
          <label htmlFor={ids.reason}>{t('failedEvents.columns.reason')}</label>
          <select id={ids.reason} value={reason} onChange={(event) => setReason(event.target.value)}>
            <option value={ALL}>{t('failedEvents.all')}</option>
            {reasons
              .filter((each) => each !== 'other')
              .map((each) => (
                <option key={each} value={each}>
                  {t(`failedEvents.reason.${each}`)}
                </option>
              ))}
          </select>
        </div>
        <div className="field">
          <label htmlFor={ids.course}>{t('failedEvents.columns.course')}</label>
          <select id={ids.course} value={course} onChange={(event) => setCourse(event.target.value)}>
            <option value={ALL}>{t('failedEvents.all')}</option>
            {courses.map((each) => (
              <option key={each} value={each}>
                {courseName(each === NONE ? null : each)}
              </option>
            ))}
          </select>
        </div>
        <label className="check">
          <input type="checkbox" checked={withReplayed} onChange={(event) => setWithReplayed(event.target.checked)} />
          {t('failedEvents.withReplayed')}
        </label>
      </div>
      {list.isPending && <Loading label={t('app.loading')} />}
      {events?.length === 0 && <Empty>{t('failedEvents.noMatch')}</Empty>}
      {events !== undefined && events.length > 0 && <EventTable events={events} courseName={courseName} />}
      {list.hasNextPage && (
        <Button pending={list.isFetchingNextPage} onClick={() => void list.fetchNextPage()}>
          {list.isFetchingNextPage ? t('failedEvents.olderPending') : t('failedEvents.older')}
        </Button>
      )}
      {list.isError && (
        <ErrorNotice
          error={list.error}
          onRetry={() => void (events === undefined ? list.refetch() : list.fetchNextPage())}
        />
      )}
    </section>
  )
}

interface EventTableProps {
  events: readonly FailedEvent[]
  courseName: (courseId: string | null) => string
}

function EventTable({ events, courseName }: EventTableProps): ReactElement {
  const { t } = useTranslation()
  return (
    <div className="records">
      <table className="records__stacked" aria-label={t('failedEvents.each')}>
        <thead>
          <tr>
            <th scope="col">{t('failedEvents.columns.when')}</th>
            <th scope="col">{t('failedEvents.columns.course')}</th>
            <th scope="col">{t('failedEvents.columns.sender')}</th>
            <th scope="col">{t('failedEvents.columns.reason')}</th>
            <th scope="col">{t('failedEvents.columns.detail')}</th>
          </tr>
        </thead>
        <tbody>
          {events.map((event) => (
            <EventRow key={event.failed_id} event={event} course={courseName(event.course_id)} />
          ))}
        </tbody>
      </table>
    </div>
  )
}

function EventRow({ event, course }: { event: FailedEvent; course: string }): ReactElement {
  const { t } = useTranslation()
  const format = useFormat()
  const { username } = event
  return (
    <tr>
      <td className="failed-events__when">
        <time dateTime={event.failed_at}>{format.moment(event.failed_at)}</time>
        {event.replayed_at !== null && (
          <span className="failed-events__more">
            {t('failedEvents.replayedAt', { time: format.moment(event.replayed_at) })}
          </span>
        )}
      </td>
      <td data-label={t('failedEvents.columns.course')}>
        <bdi>{course}</bdi>
      </td>
      <td data-label={t('failedEvents.columns.sender')}>
        <bdi>{username === null ? t('failedEvents.noSender') : shownUsername(username)}</bdi>
      </td>
      <td data-label={t('failedEvents.columns.reason')}>
        {t(`failedEvents.reason.${reasonOf(event.reason)}`)}
        <span className="failed-events__more">
          {event.group === 'influxdb' ? t('failedEvents.inSeries') : t('failedEvents.inFacts')}
        </span>
      </td>
      <td data-label={t('failedEvents.columns.detail')}>
        <bdi>{foreign(event.detail)}</bdi>
      </td>
    </tr>
  )
}
