import { useQuery } from '@tanstack/react-query'
import { getRouteApi, Link } from '@tanstack/react-router'
import { lazy, Suspense, useCallback, useEffect, useMemo, useRef, type ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { meQuery } from '../../api/queries'
import { Button } from '../../ui/Button'
import { useAnnounce } from '../../ui/Announcer'
import { useTick } from '../../ui/clock'
import { courseErrorPage } from '../../ui/ErrorPage'
import { useServices } from '../../api/services'
import { useTitle } from '../../ui/title'
import { foreign } from '../../i18n/foreign'
import { useFormat } from '../../i18n/format'
import type { LiveSnapshot } from '../../live/patch'
import { ErrorNotice } from '../../ui/ErrorNotice'
import { Loading, Notice } from '../../ui/Notice'
import { newestRun } from '../../features/activity/series'
import { AttentionList } from '../../features/attention/AttentionList'
import { viewStudents, type StudentView } from '../../course/view'
import { silentSince } from '../../features/attention/silence'
import { RefusalNotice } from '../../features/refusals/RefusalNotice'
import { JoinedActions } from '../../features/joining/JoinedActions'
import { HelpList } from '../../features/help/HelpList'
import { HelpRequest } from '../../features/help/HelpRequest'
import { StudentDrawer } from '../../features/student/StudentDrawer'
import { StudentList, type ListView } from '../../features/students/StudentList'
import { countByFilter } from '../../course/arrangement'
import { ConnectionBadge, isDenied, StaleBanner, staleSince } from './Connection'
import { CurrencyContext, type Currency } from '../../course/AsOf'
import { CourseBar } from '../../course/CourseBar'
import { Counters } from './Counters'
import { labelsOf } from '../../course/names'
import { PeopleContext, type People } from '../../course/people'
import { inServerTime } from '../../live/connection'
import { useLiveCourse, type LiveCourse } from '../../live/useLiveCourse'

// Chart.js is the largest part of the bundle and at the bottom of the page.
const ActivityChart = lazy(() => import('../../features/activity/ActivityChart'))

const route = getRouteApi('/courses/$courseId')

export function CoursePage(): ReactElement {
  const { courseId } = route.useParams()
  // A new component for another course, so that no state of the one before is shown.
  return <Course key={courseId} courseId={courseId} />
}

function Course({ courseId }: { courseId: string }): ReactElement {
  const { t } = useTranslation()
  const live = useLiveCourse(courseId)
  const { query } = live
  // Before the answer to a snapshot, which for somebody who lost the right is that there is no such course.
  if (isDenied(live.connection)) return <DeniedCourse courseId={courseId} snapshot={query.data} live={live} />
  const errorPage = courseErrorPage(query.error)
  if (errorPage !== null) return errorPage
  if (query.data !== undefined) return <LiveCoursePage courseId={courseId} snapshot={query.data} live={live} />
  return (
    <div className="page">
      <h1 className="visually-hidden">{t('app.courses')}</h1>
      {query.isError ? (
        <ErrorNotice error={query.error} onRetry={() => void query.refetch()} />
      ) : (
        <Loading label={t('app.loading')} />
      )}
    </div>
  )
}

interface DeniedCourseProps {
  courseId: string
  snapshot: LiveSnapshot | undefined
  live: LiveCourse
}

/** The page of a course that this person may no longer watch: nothing of what it held is shown. */
function DeniedCourse({ courseId, snapshot, live }: DeniedCourseProps): ReactElement {
  const { t } = useTranslation()
  const title = foreign(snapshot?.course.title ?? '') || courseId
  const clock = snapshot?.clock_offset_ms ?? 0
  const now = useTick() + clock
  useRetryWithRights(courseId, live)
  useTitle(title)
  return (
    <>
      <CourseBar title={title} back={{ to: '/courses', label: t('errors.toCourses') }}>
        <ConnectionBadge connection={inServerTime(live.connection, clock)} now={now} />
      </CourseBar>
      <div className="page">
        <Notice tone="warning" role="alert" action={<Button onClick={live.retry}>{t('connection.retry')}</Button>}>
          {t('connection.stale3507')}
        </Notice>
      </div>
    </>
  )
}

/** Connect again with each reading of the rights that says that this person may watch the course. */
function useRetryWithRights(courseId: string, { connection, retry }: LiveCourse): void {
  const { api } = useServices()
  const me = useQuery(meQuery(api))
  const role = me.data?.courses.find((course) => course.course_id === courseId)?.role
  const allowed = me.data?.is_admin === true || (role !== undefined && role !== 'student')
  const readAt = me.dataUpdatedAt
  const asked = useRef(readAt)
  const refused = connection.kind === 'refused'
  useEffect(() => {
    // The reading at which the page was refused may be older than the refusal.
    if (!allowed || !refused || asked.current === readAt) return
    asked.current = readAt
    retry()
  }, [allowed, readAt, refused, retry])
}

interface LiveCoursePageProps {
  courseId: string
  snapshot: LiveSnapshot
  live: LiveCourse
}

function LiveCoursePage({ courseId, snapshot, live }: LiveCoursePageProps): ReactElement {
  const { t } = useTranslation()
  const format = useFormat()
  const { api } = useServices()
  const me = useQuery(meQuery(api))
  const navigate = route.useNavigate()
  const search = route.useSearch()
  const tick = useTick()
  const clock = snapshot.clock_offset_ms
  // Everything is in the server's time: this computer's clock may be wrong, and may be set while the page is open.
  const connection = inServerTime(live.connection, clock)
  const stale = staleSince(connection)
  // Durations stop with the live connection: whether "no activity for 9 min" still holds is not known.
  const now = stale ?? tick + clock
  const currency = useMemo<Currency>(() => ({ now: tick + clock, stale }), [tick, clock, stale])

  const { thresholds } = snapshot.course
  const { students, staff } = snapshot
  const named = useMemo(() => labelsOf({ students, staff }, t), [students, staff, t])
  const views = useMemo(() => viewStudents(snapshot, thresholds, now, named), [snapshot, thresholds, now, named])
  const counts = useMemo(() => countByFilter(views), [views])
  const silent = useMemo(() => silentSince(views, thresholds, now), [views, thresholds, now])
  const waiting = useMemo(
    () => views.flatMap((view) => (view.words.needsHelp && view.help?.status === 'open' ? [view] : [])),
    [views],
  )
  const newestRunAt = useMemo(() => newestRun(snapshot.students), [snapshot.students])
  const people = useMemo<People>(() => {
    const mine = me.data?.courses.find((course) => course.course_id === courseId)?.role
    return {
      staff: named,
      me: me.data?.person_id ?? '',
      role: mine ?? (me.data?.is_admin === true ? 'instructor' : 'observer'),
    }
  }, [named, me.data, courseId])

  const open = useCallback(
    (student: string) => void navigate({ search: (held) => ({ ...held, student }), resetScroll: false }),
    [navigate],
  )
  const close = useCallback(
    () => void navigate({ search: (held) => ({ ...held, student: undefined }), resetScroll: false }),
    [navigate],
  )
  const show = useCallback(
    (change: Partial<ListView>) =>
      void navigate({
        search: (held) => ({
          ...held,
          ...(change.search !== undefined && { q: change.search === '' ? undefined : change.search }),
          ...(change.filter !== undefined && { show: change.filter === 'all' ? undefined : change.filter }),
          ...(change.sort !== undefined && { sort: change.sort === 'name' ? undefined : change.sort }),
        }),
        replace: true,
        resetScroll: false,
      }),
    [navigate],
  )

  const chosen = views.find((view) => view.id === search.student)
  const title = foreign(snapshot.course.title) || courseId
  useTitle(waiting.length > 0 ? t('course.titleWithHelp', { count: waiting.length, title }) : title)
  useAnnouncements(waiting, stale, now, connection.kind === 'delayed')

  return (
    <CurrencyContext value={currency}>
      <PeopleContext value={people}>
        <CourseBar title={title} back={{ to: '/courses', label: t('errors.toCourses') }}>
          {people.role === 'instructor' && (
            <>
              <Link to="/courses/$courseId/members" params={{ courseId }} className="button button--quiet">
                {t('members.title')}
              </Link>
              <Link to="/courses/$courseId/join" params={{ courseId }} className="button button--quiet">
                {t('joining.title')}
              </Link>
              <Link to="/courses/$courseId/settings" params={{ courseId }} className="button button--quiet">
                {t('settings.title')}
              </Link>
            </>
          )}
          <ConnectionBadge connection={connection} now={currency.now} />
        </CourseBar>
        <div className={`page course ${stale === null ? '' : 'course--stale'}`} data-stale={stale !== null}>
          <StaleBanner connection={connection} onRetry={live.retry} />
          {silent !== null && stale === null && (
            <Notice tone="warning" role="status">
              {t('attention.silent', { time: format.time(silent, now) })}
            </Notice>
          )}
          <RefusalNotice courseId={courseId} />
          <Counters counts={counts} counters={snapshot.counters} />
          <div className="course__grid">
            <AttentionList views={views} thresholds={thresholds} now={now} onOpen={open} />
            <HelpList courseId={courseId} views={views} now={now} onOpen={open} />
            <StudentList
              views={views}
              counts={counts}
              view={{ search: search.q ?? '', filter: search.show ?? 'all', sort: search.sort ?? 'name' }}
              onView={show}
              now={now}
              onOpen={open}
            />
            <Suspense fallback={<Loading label={t('app.loading')} />}>
              <ActivityChart
                courseId={courseId}
                runs={snapshot.counters.runs}
                newestRunAt={newestRunAt}
                now={now}
                clockOffsetMs={clock}
              />
            </Suspense>
          </div>
        </div>
        {search.student !== undefined && (
          <StudentDrawer
            key={search.student}
            courseId={courseId}
            studentId={search.student}
            view={chosen}
            request={
              chosen?.help != null && (
                <HelpRequest courseId={courseId} request={chosen.help} view={chosen} now={now} />
              )
            }
            joined={
              chosen?.student.joined === true &&
              people.role === 'instructor' && (
                <JoinedActions
                  courseId={courseId}
                  view={chosen}
                  others={views.filter((view) => view.id !== chosen.id)}
                  onDone={close}
                />
              )
            }
            now={now}
            onClose={close}
          />
        )}
      </PeopleContext>
    </CurrencyContext>
  )
}

const ANNOUNCED_TOGETHER_MS = 3_000

function requestId(view: StudentView): string {
  return view.help?.request_id ?? ''
}

/** Announce new requests, and whether the page is live, to screen readers. */
function useAnnouncements(waiting: readonly StudentView[], stale: number | null, now: number, delayed: boolean): void {
  const { t } = useTranslation()
  const format = useFormat()
  const announce = useAnnounce()
  const known = useRef<Set<string> | null>(null)
  const fresh = useRef<{ id: string; at: number }[]>([])
  const wasStale = useRef(false)

  useEffect(() => {
    const ids = waiting.map(requestId)
    if (known.current !== null) {
      const added = ids.filter((id) => known.current?.has(id) === false)
      if (added.length > 0) {
        // Requests that arrive before an announcement is made are announced with it.
        const tick = performance.now()
        fresh.current = [
          ...fresh.current.filter((held) => tick - held.at < ANNOUNCED_TOGETHER_MS),
          ...added.map((id) => ({ id, at: tick })),
        ]
        const together = new Set(fresh.current.map((held) => held.id))
        const students = waiting.filter((view) => together.has(requestId(view)))
        announce(
          'help',
          t('announce.help', {
            count: students.length,
            names: students.map((view) => view.label.text).join(t('app.listSeparator')),
          }),
        )
      }
    }
    known.current = new Set([...(known.current ?? []), ...ids])
  }, [waiting, announce, t])

  // Outside of the effect, which would otherwise run each time the clock goes on.
  const time = stale === null ? null : format.time(stale, now)
  useEffect(() => {
    if (time !== null && !wasStale.current) {
      announce('connection', delayed ? t('announce.delayed') : t('announce.stale', { time }))
    }
    if (time === null && wasStale.current) announce('connection', t('announce.live'))
    wasStale.current = time !== null
  }, [time, delayed, announce, t])
}
