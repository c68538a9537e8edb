import {
  createRootRoute,
  createRoute,
  createRouter,
  lazyRouteComponent,
  Outlet,
  redirect,
  type RouterHistory,
} from '@tanstack/react-router'
import type { ReactElement } from 'react'

import { AccountPage } from '../pages/account/AccountPage'
import { CoursePage } from '../pages/course/CoursePage'
import { CourseListPage } from '../pages/courses/CourseListPage'
import type { AuditSearch } from '../features/audit/search'
import { filters, sorts, type Filter, type Sort } from '../course/arrangement'
import { ErrorBoundary } from '../ui/ErrorBoundary'
import { ErrorPage } from '../ui/ErrorPage'

/** The part of the course page's state that is in its address, for reload, bookmarks and the back button. */
export interface CourseSearch {
  q?: string | undefined
  show?: Filter | undefined
  sort?: Sort | undefined
  student?: string | undefined
}

function oneOf<Value extends string>(values: readonly Value[], value: unknown): Value | undefined {
  return values.find((known) => known === value)
}

function text(value: unknown, max: number): string | undefined {
  // The router reads `?q=12` as a number.
  const read = typeof value === 'number' ? String(value) : value
  return typeof read === 'string' && read !== '' ? read.slice(0, max) : undefined
}

function validateSearch(search: Record<string, unknown>): CourseSearch {
  return {
    q: text(search['q'], 100),
    show: oneOf(filters, search['show']),
    sort: oneOf(sorts, search['sort']),
    student: text(search['student'], 64),
  }
}

const DAY = /^\d{4}-\d{2}-\d{2}$/u

function day(value: unknown): string | undefined {
  return typeof value === 'string' && DAY.test(value) && !Number.isNaN(Date.parse(value)) ? value : undefined
}

function validateAuditSearch(search: Record<string, unknown>): AuditSearch {
  return {
    action: text(search['action'], 50),
    person: text(search['person'], 150),
    course: text(search['course'], 63),
    from: day(search['from']),
    until: day(search['until']),
  }
}

function Root(): ReactElement {
  return (
    <ErrorBoundary fallback={<ErrorPage kind="unexpected" />}>
      <Outlet />
    </ErrorBoundary>
  )
}

const root = createRootRoute({
  component: Root,
  notFoundComponent: () => <ErrorPage kind="not-found" />,
  errorComponent: () => <ErrorPage kind="unexpected" />,
})

const home = createRoute({
  getParentRoute: () => root,
  path: '/',
  beforeLoad: () => {
    // eslint-disable-next-line @typescript-eslint/only-throw-error -- how this router redirects
    throw redirect({ to: '/courses', replace: true })
  },
})

const courses = createRoute({ getParentRoute: () => root, path: '/courses', component: CourseListPage })

const account = createRoute({ getParentRoute: () => root, path: '/account', component: AccountPage })

const course = createRoute({
  getParentRoute: () => root,
  path: '/courses/$courseId',
  component: CoursePage,
  validateSearch,
})

// The live page's users seldom need these, and one brings a parser of CSV.
const members = createRoute({
  getParentRoute: () => root,
  path: '/courses/$courseId/members',
  component: lazyRouteComponent(() => import('../pages/members/MembersPage')),
})

const settings = createRoute({
  getParentRoute: () => root,
  path: '/courses/$courseId/settings',
  component: lazyRouteComponent(() => import('../pages/settings/SettingsPage')),
})

const keys = createRoute({
  getParentRoute: () => root,
  path: '/keys',
  component: lazyRouteComponent(() => import('../pages/keys/KeysPage')),
})

const failedEvents = createRoute({
  getParentRoute: () => root,
  path: '/failed-events',
  component: lazyRouteComponent(() => import('../pages/failed-events/FailedEventsPage')),
})

const join = createRoute({
  getParentRoute: () => root,
  path: '/courses/$courseId/join',
  component: lazyRouteComponent(() => import('../pages/join/JoinPage')),
})

const courseAudit = createRoute({
  getParentRoute: () => root,
  path: '/courses/$courseId/audit',
  component: lazyRouteComponent(() => import('../pages/audit/AuditPages'), 'CourseAuditPage'),
  validateSearch: validateAuditSearch,
})

const siteAudit = createRoute({
  getParentRoute: () => root,
  path: '/audit',
  component: lazyRouteComponent(() => import('../pages/audit/AuditPages'), 'SiteAuditPage'),
  validateSearch: validateAuditSearch,
})

const routeTree = root.addChildren([home, courses, account, course, members, settings, join, keys, failedEvents, courseAudit, siteAudit])

export function createAppRouter(history?: RouterHistory) {
  return createRouter({
    routeTree,
    scrollRestoration: false,
    defaultPendingMinMs: 0,
    ...(history !== undefined && { history }),
  })
}

declare module '@tanstack/react-router' {
  interface Register {
    router: ReturnType<typeof createAppRouter>
  }
}
