import { Link } from '@tanstack/react-router'
import type { ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { ApiError } from '../api/client'
import { Button } from './Button'
import { isAddressFault } from './input-faults'
import { useTitle } from './title'

type Kind = 'not-found' | 'course-not-found' | 'forbidden' | 'unexpected'

/** Whether the server answered that there is nothing of the kind for this person, as it also does where a role is missing. */
export function isRefused(error: unknown): boolean {
  return error instanceof ApiError && (error.status === 403 || error.status === 404)
}

/** Return the page for a course that the server does not know or does not show to this person; null for other errors. */
export function courseErrorPage(error: unknown): ReactElement | null {
  if (!(error instanceof ApiError)) return null
  if (error.status === 404 || isAddressFault(error)) return <ErrorPage kind="course-not-found" />
  return error.status === 403 ? <ErrorPage kind="forbidden" /> : null
}

export function ErrorPage({ kind }: { kind: Kind }): ReactElement {
  const { t } = useTranslation()
  const [title, text] = {
    'not-found': [t('errors.notFoundTitle'), t('errors.notFound')],
    'course-not-found': [t('errors.courseNotFoundTitle'), t('errors.courseNotFound')],
    forbidden: [t('errors.forbiddenTitle'), t('errors.forbidden')],
    unexpected: [t('errors.title'), t('errors.unexpected')],
  }[kind] as [string, string]
  useTitle(title)
  return (
    <div className="page page--narrow error-page">
      <h1>{title}</h1>
      <p>{text}</p>
      <div className="error-page__actions">
        {kind === 'unexpected' && (
          <Button variant="primary" onClick={() => location.reload()}>
            {t('errors.reload')}
          </Button>
        )}
        <Link to="/courses" className="button button--plain">
          {t('errors.toCourses')}
        </Link>
      </div>
    </div>
  )
}
