import { useInfiniteQuery, useQuery, useQueryClient } from '@tanstack/react-query'
import { useEffect, useRef, useState, type KeyboardEvent, type ReactElement, type ReactNode } from 'react'
import { useTranslation } from 'react-i18next'

import { ApiError } from '../../api/client'
import { courseKey, runsQuery, studentQuery } from '../../api/queries'
import { useServices } from '../../api/services'
import { Drawer } from '../../ui/Drawer'
import { ErrorNotice } from '../../ui/ErrorNotice'
import { Empty, Loading, Notice } from '../../ui/Notice'
import { AsOf } from '../../course/AsOf'
import { StatusTag } from '../../course/StatusTag'
import { shownUsername } from '../../course/names'
import type { StudentView } from '../../course/view'
import { CellTable } from './CellTable'
import { RunList } from './RunList'
import { StudentSummary } from './StudentSummary'

const tabs = ['summary', 'cells', 'runs'] as const
type Tab = (typeof tabs)[number]

/** Minimum time between two fetches of runs and cells while the student works. */
const REFRESH_MS = 2_000

interface StudentDrawerProps {
  courseId: string
  /** The live row; undefined when the student is not (or no longer) in the course. */
  view: StudentView | undefined
  studentId: string
  /** The student's active help request with its actions, if there is one. */
  request: ReactNode
  /** What can be done about a student who joined by code; null for others. */
  joined: ReactNode
  now: number
  onClose: () => void
}

/** Everything about one student. The row is live; cells and runs are fetched again when the row's version changes. */
export function StudentDrawer({ courseId, view, studentId, request, joined, now, onClose }: StudentDrawerProps): ReactElement {
  const { t } = useTranslation()
  const { api } = useServices()
  const cache = useQueryClient()
  const [tab, setTab] = useState<Tab>('summary')
  const detail = useQuery({ ...studentQuery(api, courseId, studentId), enabled: view !== undefined })
  const runs = useInfiniteQuery({ ...runsQuery(api, courseId, studentId), enabled: view !== undefined })

  const version = view?.student.version
  const known = useRef(version)
  useEffect(() => {
    if (version === undefined || known.current === version) return
    const timer = setTimeout(() => {
      known.current = version
      void cache.invalidateQueries({ queryKey: [...courseKey(courseId), 'student', studentId] })
    }, REFRESH_MS)
    return () => clearTimeout(timer)
  }, [version, cache, courseId, studentId])

  const onTabKey = (event: KeyboardEvent): void => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key]
    const next =
      event.key === 'Home'
        ? tabs[0]
        : event.key === 'End'
          ? tabs.at(-1)
          : step === undefined
            ? undefined
            : tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length]
    if (next === undefined) return
    event.preventDefault()
    setTab(next)
    document.getElementById(`tab-${next}`)?.focus()
  }

  const gone =
    view === undefined || (detail.error instanceof ApiError && detail.error.status === 404 && detail.data === undefined)
  if (gone) {
    return (
      <Drawer title={view?.label.text ?? t('student.summary')} onClose={onClose}>
        <Empty>{t('student.gone')}</Empty>
      </Drawer>
    )
  }

  const { student } = view
  return (
    <Drawer
      title={
        <>
          <bdi className="person">{view.label.name}</bdi>{' '}
          <bdi className="drawer__username">{view.label.account ?? shownUsername(student.username)}</bdi>
        </>
      }
      onClose={onClose}
    >
      <div className="drawer__status">
        <StatusTag condition={view.condition} />
        <AsOf />
      </div>
      {request}
      {student.missing > 0 && <Notice tone="warning">{t('student.missing', { count: student.missing })}</Notice>}
      <div className="tabs" role="tablist" aria-label={view.label.text}>
        {tabs.map((name) => (
          <button
            key={name}
            id={`tab-${name}`}
            type="button"
            role="tab"
            className="tab"
            aria-selected={tab === name}
            aria-controls={`panel-${name}`}
            tabIndex={tab === name ? 0 : -1}
            onClick={() => setTab(name)}
            onKeyDown={onTabKey}
          >
            {t(`student.${name}`)}
          </button>
        ))}
      </div>
      <div id={`panel-${tab}`} role="tabpanel" aria-labelledby={`tab-${tab}`} className="tabpanel">
        {tab === 'summary' && (
          <>
            <StudentSummary view={view} history={detail.data?.help ?? []} now={now} />
            {joined}
          </>
        )}
        {tab === 'cells' &&
          (detail.data !== undefined ? (
            <CellTable cells={detail.data.cells} now={now} />
          ) : detail.isError ? (
            <ErrorNotice error={detail.error} onRetry={() => void detail.refetch()} />
          ) : (
            <Loading label={t('app.loading')} />
          ))}
        {tab === 'runs' &&
          (runs.data !== undefined ? (
            <RunList
              runs={runs.data.pages.flatMap((page) => page.runs)}
              now={now}
              more={runs.hasNextPage}
              loadingMore={runs.isFetchingNextPage}
              error={runs.isFetchNextPageError ? runs.error : null}
              onMore={() => void runs.fetchNextPage()}
            />
          ) : runs.isError ? (
            <ErrorNotice error={runs.error} onRetry={() => void runs.refetch()} />
          ) : (
            <Loading label={t('app.loading')} />
          ))}
      </div>
    </Drawer>
  )
}
