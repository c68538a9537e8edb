import { useInfiniteQuery } from '@tanstack/react-query'
import { getRouteApi } from '@tanstack/react-router'
import type { ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { auditQuery } from '../../api/queries'
import { useServices } from '../../api/services'
import { CourseBar } from '../../course/CourseBar'
import { useCourseName } from '../../course/useCourseName'
import { AuditEntries } from '../../features/audit/AuditEntries'
import { AuditFilters } from '../../features/audit/AuditFilters'
import { faultOf, wishOf, type AuditSearch } from '../../features/audit/search'
import { Button } from '../../ui/Button'
import { ErrorNotice } from '../../ui/ErrorNotice'
import { courseErrorPage } from '../../ui/ErrorPage'
import { Loading } from '../../ui/Notice'
import { useTitle } from '../../ui/title'

const ofCourse = getRouteApi('/courses/$courseId/audit')
const ofSite = getRouteApi('/audit')

/** The audit log of a course, for its instructors. */
export function CourseAuditPage(): ReactElement {
  const { t } = useTranslation()
  const { courseId } = ofCourse.useParams()
  const navigate = ofCourse.useNavigate()
  const title = t('audit.titleOf', { course: useCourseName(courseId) })
  return (
    <AuditPage
      courseId={courseId}
      title={title}
      back={{ to: '/courses/$courseId/members', params: { courseId }, label: t('audit.toMembers') }}
      search={ofCourse.useSearch()}
      onSearch={(search) => void navigate({ search })}
    />
  )
}

/** The audit log of the whole site, for its administrators. */
export function SiteAuditPage(): ReactElement {
  const { t } = useTranslation()
  const navigate = ofSite.useNavigate()
  return (
    <AuditPage
      courseId={null}
      title={t('audit.title')}
      back={{ to: '/account', label: t('audit.toAccount') }}
      search={ofSite.useSearch()}
      onSearch={(search) => void navigate({ search })}
    />
  )
}

interface AuditPageProps {
  /** Null for the whole site. */
  courseId: string | null
  title: string
  back: Parameters<typeof CourseBar>[0]['back']
  search: AuditSearch
  onSearch: (search: AuditSearch) => void
}

function AuditPage({ courseId, title, back, search, onSearch }: AuditPageProps): ReactElement {
  const { t } = useTranslation()
  const { api } = useServices()
  const isFaulty = faultOf(search) !== null
  const log = useInfiniteQuery({ ...auditQuery(api, courseId, isFaulty ? {} : wishOf(search)), enabled: !isFaulty })
  useTitle(title)
  const errorPage = courseErrorPage(log.error)
  if (errorPage !== null) return errorPage
  const entries = log.data?.pages.flatMap((page) => page.entries)
  return (
    <>
      <CourseBar title={title} back={back} />
      <div className="page audit">
        <p className="hint">{t('audit.hint')}</p>
        <AuditFilters search={search} site={courseId === null} onChange={onSearch} />
        {log.isLoading && <Loading label={t('app.loading')} />}
        {!isFaulty && entries !== undefined && (
          <section className="card" aria-label={t('audit.entries')}>
            <AuditEntries entries={entries} withCourse={courseId === null} />
            {log.hasNextPage && (
              <Button pending={log.isFetchingNextPage} onClick={() => void log.fetchNextPage()}>
                {log.isFetchingNextPage ? t('audit.olderPending') : t('audit.older')}
              </Button>
            )}
            {!log.hasNextPage && entries.length > 0 && <p className="hint">{t('audit.end')}</p>}
          </section>
        )}
        {!isFaulty && log.isError && (
          <ErrorNotice
            error={log.error}
            onRetry={() => void (entries === undefined ? log.refetch() : log.fetchNextPage())}
          />
        )}
      </div>
    </>
  )
}
