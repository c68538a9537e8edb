import type { TFunction } from 'i18next'
import type { ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { ApiError } from '../api/client'
import { Button } from './Button'
import { Notice } from './Notice'

/** Return what failed and what to do about it, in the page's language. */
export function explain(error: unknown, t: TFunction): string {
  if (!(error instanceof ApiError)) return t('errors.unreachable')
  if (error.type === 'timeseries_unavailable') return t('activity.unavailable')
  if (error.status >= 500) return t('errors.server', { code: error.status })
  return t('errors.message', { message: error.message, code: error.type })
}

export function ErrorNotice({ error, onRetry }: { error: unknown; onRetry?: () => void }): ReactElement {
  const { t } = useTranslation()
  return (
    <Notice tone="error" role="alert" action={onRetry && <Button onClick={onRetry}>{t('app.retry')}</Button>}>
      {explain(error, t)}
    </Notice>
  )
}
