import type { ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { useFormat } from '../../i18n/format'
import type { Connection } from '../../live/machine'
import { closeCodes } from '../../live/protocol'
import { Button } from '../../ui/Button'
import { Icon, type IconName } from '../../ui/Icon'
import { Notice } from '../../ui/Notice'

const icons: Readonly<Record<Connection['kind'], IconName>> = {
  connecting: 'reconnecting',
  live: 'live',
  reconnecting: 'reconnecting',
  silent: 'offline',
  offline: 'offline',
  refused: 'offline',
}

/** Since when the page may be outdated; null while it is complete. */
export function staleSince(connection: Connection): number | null {
  return connection.kind === 'live' || connection.kind === 'connecting' ? null : connection.since
}

export function ConnectionBadge({ connection }: { connection: Connection }): ReactElement {
  const { t } = useTranslation()
  const format = useFormat()
  const since = staleSince(connection)
  const text =
    connection.kind === 'live' || connection.kind === 'connecting'
      ? t(`connection.${connection.kind}`)
      : t(`connection.${connection.kind}`, { time: format.time(since ?? 0) })
  return (
    <div
      className={`connection connection--${since === null ? connection.kind : 'stale'}`}
      role="group"
      aria-label={t('connection.label')}
    >
      <Icon name={icons[connection.kind]} />
      <span>{text}</span>
    </div>
  )
}

export function StaleBanner({
  connection,
  onRetry,
}: {
  connection: Connection
  onRetry: () => void
}): ReactElement | null {
  const { t } = useTranslation()
  const format = useFormat()
  if (connection.kind === 'live' || connection.kind === 'connecting') return null
  const { refusal } = connection
  const reason = (): string => {
    if (connection.kind === 'silent') return t('connection.staleSilent')
    if (connection.kind === 'offline') return t('connection.staleOffline')
    if (connection.kind === 'reconnecting') return t('connection.staleReconnecting')
    if (refusal === String(closeCodes.permissionDenied)) return t('connection.stale3507')
    return t('connection.staleRefused', { code: refusal ?? '–' })
  }
  return (
    <Notice
      tone="warning"
      action={connection.kind === 'refused' && <Button onClick={onRetry}>{t('connection.retry')}</Button>}
    >
      <strong>{t('connection.staleTitle', { time: format.timeWithSeconds(connection.since) })}</strong> {reason()}
    </Notice>
  )
}
