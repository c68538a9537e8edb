import { useQuery } from '@tanstack/react-query'
import { getRouteApi, Link } from '@tanstack/react-router'
import type { ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { membersQuery, meQuery } from '../../api/queries'
import { useServices } from '../../api/services'
import { CourseBar } from '../../course/CourseBar'
import { useCourseName } from '../../course/useCourseName'
import { AddStudents } from '../../features/members/AddStudents'
import { MemberTable } from '../../features/members/MemberTable'
import { ErrorNotice } from '../../ui/ErrorNotice'
import { courseErrorPage } from '../../ui/ErrorPage'
import { Loading, Notice } from '../../ui/Notice'
import { useTitle } from '../../ui/title'

const route = getRouteApi('/courses/$courseId/members')

/** Who belongs to a course, for those who may change it. */
export default function MembersPage(): ReactElement {
  const { t } = useTranslation()
  const { courseId } = route.useParams()
  const { api } = useServices()
  const me = useQuery(meQuery(api))
  const members = useQuery(membersQuery(api, courseId))
  const title = t('members.titleOf', { course: useCourseName(courseId) })
  useTitle(title)
  const errorPage = courseErrorPage(members.error)
  if (errorPage !== null) return errorPage
  return (
    <>
      <CourseBar title={title} back={{ to: '/courses/$courseId', params: { courseId }, label: t('members.toCourse') }}>
        <Link to="/courses/$courseId/audit" params={{ courseId }} className="button button--plain">
          {t('audit.title')}
        </Link>
      </CourseBar>
      <div className="page members">
        {members.isPending && <Loading label={t('app.loading')} />}
        {members.isError && <ErrorNotice error={members.error} onRetry={() => void members.refetch()} />}
        {members.data !== undefined && (
          <>
            <AddStudents courseId={courseId} {...members.data} />
            <section className="card" aria-label={t('members.title')}>
              <h2>{t('members.count', { count: members.data.members.length })}</h2>
              {members.data.members.every((member) => member.role !== 'instructor') && (
                <Notice tone="info">
                  {t('members.noInstructor', { role: t('role.instructor'), course: courseId, user: t('signIn.placeholder') })}
                </Notice>
              )}
              <MemberTable
                courseId={courseId}
                members={members.data.members}
                hub={members.data.hub}
                me={me.data?.person_id ?? ''}
                admin={me.data?.is_admin === true}
              />
            </section>
          </>
        )}
      </div>
    </>
  )
}
