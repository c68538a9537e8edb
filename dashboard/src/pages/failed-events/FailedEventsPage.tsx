import { useQuery } from '@tanstack/react-query'
import type { ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { coursesQuery } from '../../api/queries'
import { useServices } from '../../api/services'
import { FailedEventList } from '../../features/failed-events/FailedEventList'
import { waitingQuery } from '../../features/failed-events/failedEvents'
import { ReplayState } from '../../features/failed-events/ReplayState'
import { useReplay } from '../../features/failed-events/useReplay'
import { ReplayButton, WaitingGroups } from '../../features/failed-events/WaitingGroups'
import { foreign } from '../../i18n/foreign'
import { ErrorNotice } from '../../ui/ErrorNotice'
import { courseErrorPage } from '../../ui/ErrorPage'
import { Empty, Loading } from '../../ui/Notice'
import { useTitle } from '../../ui/title'

/** Events that could not be processed, for administrators of the site: why, what to do first, and queueing them again. */
export default function FailedEventsPage(): ReactElement {
  const { t } = useTranslation()
  const { api } = useServices()
  const waiting = useQuery(waitingQuery(api))
  const courses = useQuery(coursesQuery(api))
  const replay = useReplay()
  useTitle(t('failedEvents.title'))
  const errorPage = courseErrorPage(waiting.error)
  if (errorPage !== null) return errorPage
  const courseName = (courseId: string | null): string => {
    if (courseId === null) return t('failedEvents.noCourse')
    const title = courses.data?.find((each) => each.course_id === courseId)?.title ?? ''
    return foreign(title === '' ? courseId : title)
  }
  const total = waiting.data?.total ?? 0
  return (
    <div className="page failed-events">
      <h1>{t('failedEvents.title')}</h1>
      <p>{t('failedEvents.lead')}</p>
      {waiting.isPending && <Loading label={t('app.loading')} />}
      {waiting.isError && <ErrorNotice error={waiting.error} onRetry={() => void waiting.refetch()} />}
      <ReplayState replay={replay} />
      {waiting.data !== undefined && (
        <>
          <section className="card" aria-labelledby="waiting">
            <h2 id="waiting">{t('failedEvents.count', { count: total })}</h2>
            {total === 0 ? (
              <Empty>{t('failedEvents.empty')}</Empty>
            ) : (
              <>
                <WaitingGroups groups={waiting.data.groups} replay={replay} courseName={courseName} />
                <ReplayButton
                  label={t('failedEvents.replayAll')}
                  text={t('failedEvents.replayAll')}
                  count={total}
                  replay={replay}
                  selection={{}}
                />
              </>
            )}
          </section>
          <FailedEventList groups={waiting.data.groups} courseName={courseName} />
        </>
      )}
    </div>
  )
}
