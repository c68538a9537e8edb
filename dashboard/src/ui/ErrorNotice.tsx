import type { TFunction } from 'i18next'
import type { ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { ApiError, isOutcomeUnknown } from '../api/client'
import { Button } from './Button'
import { explainInput, isInputFault } from './input-faults'
import { Notice } from './Notice'

/** Return what failed and what to do about it, in the page's language. */
export function explain(error: unknown, t: TFunction): string {
  if (!(error instanceof ApiError)) return t('errors.unreachable')
  if (error.type === 'timeseries_unavailable') return t('activity.unavailable')
  if (error.type === 'member_protected') return t('members.protected', { role: t('role.instructor') })
  if (error.status >= 500) return t('errors.server', { code: error.status })
  return explainInput(error, t) ?? t('errors.message', { message: error.message, code: error.type })
}

/** The same for a request that was to change something: where nobody knows whether it did, that is said. */
export function explainChange(error: unknown, t: TFunction): string {
  if (!isOutcomeUnknown(error)) return explain(error, t)
  return error instanceof ApiError ? t('errors.unknownServer', { code: error.status }) : t('errors.unknown')
}

export function ChangeError({ error }: { error: unknown }): ReactElement {
  const { t } = useTranslation()
  return (
    <Notice tone="error" role="alert">
      {explainChange(error, t)}
    </Notice>
  )
}

export function ErrorNotice({ error, onRetry }: { error: unknown; onRetry?: () => void }): ReactElement {
  const { t } = useTranslation()
  // The same request would be refused again.
  const retry = isInputFault(error) ? undefined : onRetry
  return (
    <Notice tone="error" role="alert" action={retry && <Button onClick={retry}>{t('app.retry')}</Button>}>
      {explain(error, t)}
    </Notice>
  )
}
