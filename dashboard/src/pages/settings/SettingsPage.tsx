import { useQuery } from '@tanstack/react-query'
import { getRouteApi } from '@tanstack/react-router'
import type { ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { meQuery } from '../../api/queries'
import { useServices } from '../../api/services'
import { CourseBar } from '../../course/CourseBar'
import { rulingSourceName } from '../../course/settings'
import { useCourseName } from '../../course/useCourseName'
import { CourseForm } from '../../features/settings/CourseForm'
import { GroupLinks } from '../../features/settings/GroupLinks'
import { RulingSource } from '../../features/settings/RulingSource'
import { settingsQuery } from '../../features/settings/settings'
import { ErrorNotice } from '../../ui/ErrorNotice'
import { courseErrorPage } from '../../ui/ErrorPage'
import { Loading } from '../../ui/Notice'
import { useTitle } from '../../ui/title'

const route = getRouteApi('/courses/$courseId/settings')

/** The settings of a course: for its instructors, and more of them for admins of the site. */
export default function SettingsPage(): ReactElement {
  const { t } = useTranslation()
  const { courseId } = route.useParams()
  const { api } = useServices()
  const me = useQuery(meQuery(api))
  const settings = useQuery(settingsQuery(api, courseId))
  const title = t('settings.titleOf', { course: useCourseName(courseId) })
  useTitle(title)
  const errorPage = courseErrorPage(settings.error)
  if (errorPage !== null) return errorPage
  return (
    <>
      <CourseBar title={title} back={{ to: '/courses/$courseId', params: { courseId }, label: t('members.toCourse') }} />
      <div className="page page--narrow settings">
        {settings.isPending && <Loading label={t('app.loading')} />}
        {settings.isError && <ErrorNotice error={settings.error} onRetry={() => void settings.refetch()} />}
        {settings.data !== undefined && (
          <>
            <CourseForm key={courseId} courseId={courseId} settings={settings.data} />
            {me.data?.is_admin === true ? (
              <>
                <RulingSource
                  key={settings.data.ruling_source ?? ''}
                  courseId={courseId}
                  settings={settings.data}
                />
                <GroupLinks courseId={courseId} settings={settings.data} />
              </>
            ) : (
              <section className="card" aria-label={t('settings.ruling.title')}>
                <h2>{t('settings.ruling.title')}</h2>
                <p>{rulingSourceName(settings.data.ruling_source, t)}</p>
                <p className="hint">{t('settings.ruling.byAdmin')}</p>
              </section>
            )}
          </>
        )}
      </div>
    </>
  )
}
