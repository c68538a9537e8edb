import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import type { ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { coursesQuery, meQuery, passwordQuery } from '../../api/queries'
import type { CourseSummary } from '../../api/types'
import { useServices } from '../../api/services'
import { AddCourse } from '../../features/courses/AddCourse'
import { useTitle } from '../../ui/title'
import { foreign } from '../../i18n/foreign'
import { useFormat } from '../../i18n/format'
import { ErrorNotice } from '../../ui/ErrorNotice'
import { Icon } from '../../ui/Icon'
import { Empty, Loading, Notice } from '../../ui/Notice'
import { ShowMore, usePortion } from '../../ui/ShowMore'

export function CourseListPage(): ReactElement {
  const { t } = useTranslation()
  const format = useFormat()
  const { api } = useServices()
  const courses = useQuery(coursesQuery(api))
  const portion = usePortion(courses.data ?? [])
  const password = useQuery(passwordQuery())
  const me = useQuery(meQuery(api))
  useTitle(t('courses.title'))
  return (
    <div className="page page--narrow">
      <h1>{t('courses.title')}</h1>
      {password.data?.change === 'link' && !password.data.has_password && (
        <Notice
          tone="info"
          role="status"
          action={
            <Link className="button button--plain" to="/account">
              {t('account.password.set')}
            </Link>
          }
        >
          {t('courses.noPassword')}
        </Notice>
      )}
      {courses.isError && courses.data === undefined && (
        <ErrorNotice error={courses.error} onRetry={() => void courses.refetch()} />
      )}
      {courses.isError && courses.data !== undefined && (
        <Notice tone="warning" role="status">
          {t('courses.refreshFailed', { time: format.time(courses.dataUpdatedAt, courses.errorUpdatedAt) })}
        </Notice>
      )}
      {courses.isPending && <Loading label={t('app.loading')} />}
      {courses.data?.length === 0 && (
        <div className="card course-list__none">
          <Empty>{t(me.data?.is_admin === true ? 'courses.emptySite' : 'courses.empty')}</Empty>
        </div>
      )}
      {courses.data !== undefined && courses.data.length > 0 && (
        <ul className="course-list" aria-label={t('courses.list')}>
          {portion.shown.map((course) => (
            <CourseCard key={course.course_id} course={course} />
          ))}
        </ul>
      )}
      <ShowMore portion={portion} />
      {me.data?.is_admin === true && <AddCourse />}
    </div>
  )
}

function CourseCard({ course }: { course: CourseSummary }): ReactElement {
  const { t } = useTranslation()
  const asStudent = course.role === 'student'
  const title = foreign(course.title) || course.course_id
  return (
    <li className={`card course-card ${course.need_help > 0 && !asStudent ? 'course-card--help' : ''}`}>
      <div className="course-card__head">
        <h2>
          {asStudent ? (
            title
          ) : (
            <Link
              className="course-card__link"
              to="/courses/$courseId"
              params={{ courseId: course.course_id }}
            >
              {title}
            </Link>
          )}
        </h2>
        <span className="tag">{t(`role.${course.role ?? 'admin'}`)}</span>
      </div>
      {asStudent ? (
        <p className="hint">{t('courses.asStudent')}</p>
      ) : (
        <ul className="course-card__figures">
          <li>{t('courses.students', { count: course.students })}</li>
          <li>{t('courses.active', { count: course.active })}</li>
          {course.left > 0 && <li>{t('courses.left', { count: course.left })}</li>}
          <li className={course.need_help > 0 ? 'course-card__help' : undefined}>
            {course.need_help > 0 && <Icon name="hand" />}
            {course.need_help > 0 ? t('courses.helpOpen', { count: course.need_help }) : t('courses.noHelp')}
          </li>
        </ul>
      )}
    </li>
  )
}
