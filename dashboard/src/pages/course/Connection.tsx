import { useLayoutEffect, useState, type ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { useFormat } from '../../i18n/format'
import type { Connection } from '../../live/connection'
import { closeCodes } from '../../live/protocol'
import { Button } from '../../ui/Button'
import { Icon, type IconName } from '../../ui/Icon'
import { Notice } from '../../ui/Notice'

const icons: Readonly<Record<Connection['kind'], IconName>> = {
  connecting: 'reconnecting',
  live: 'live',
  delayed: 'clock',
  reconnecting: 'reconnecting',
  silent: 'offline',
  offline: 'offline',
  refused: 'offline',
}

/** Since when the page may be outdated; null while it is complete. */
export function staleSince(connection: Connection): number | null {
  return connection.kind === 'live' || connection.kind === 'connecting' ? null : connection.since
}

/** Whether the gateway said that this person may no longer watch the course, and it has not been live since. */
export function isDenied(connection: Connection): boolean {
  return 'refusal' in connection && connection.refusal === String(closeCodes.permissionDenied)
}

/** How far the page is behind, in milliseconds, updated once a second; null where it is not, or not known. */
function useDelay(connection: Connection): number | null {
  const provenAt = connection.kind === 'delayed' ? connection.provenAt : null
  const [now, setNow] = useState(() => performance.now())
  // Before it is painted: the time held is that of an earlier delay.
  useLayoutEffect(() => {
    if (provenAt === null) return undefined
    const tick = (): void => setNow(performance.now())
    tick()
    const timer = setInterval(tick, 1_000)
    return () => clearInterval(timer)
  }, [provenAt])
  const delay = provenAt === null ? 0 : now - provenAt
  return delay < 1_000 ? null : delay
}

/** `connection` and `now` are in the server's time. */
export function ConnectionBadge({ connection, now }: { connection: Connection; now: number }): ReactElement {
  const { t } = useTranslation()
  const format = useFormat()
  const since = staleSince(connection)
  const delay = useDelay(connection)
  const text = (): string => {
    switch (connection.kind) {
      case 'live':
      case 'connecting':
        return t(`connection.${connection.kind}`)
      case 'delayed':
        return delay === null ? t('connection.delayed') : t('connection.delayedBy', { delay: format.delay(delay) })
      default:
        return t(`connection.${connection.kind}`, { time: format.time(since ?? 0, now) })
    }
  }
  return (
    <div
      className={`connection connection--${since === null ? connection.kind : 'stale'}`}
      role="group"
      aria-label={t('connection.label')}
    >
      <Icon name={icons[connection.kind]} />
      <span>{text()}</span>
    </div>
  )
}

/** `connection` is in the server's time. */
export function StaleBanner({
  connection,
  onRetry,
}: {
  connection: Connection
  onRetry: () => void
}): ReactElement | null {
  const { t } = useTranslation()
  const format = useFormat()
  const delay = useDelay(connection)
  if (connection.kind === 'live' || connection.kind === 'connecting') return null
  const { refusal } = connection
  const title = (): string => {
    const time = format.timeWithSeconds(connection.since)
    if (connection.kind !== 'delayed') return t('connection.staleTitle', { time })
    return delay === null ? t('connection.help') : t('connection.helpDelayed', { delay: format.delay(delay) })
  }
  const reason = (): string => {
    if (connection.kind === 'delayed') {
      if (delay === null) return t('connection.staleUnknown')
      return t('connection.staleDelayed', { time: format.timeWithSeconds(connection.since) })
    }
    if (connection.kind === 'silent') return t('connection.staleSilent')
    if (connection.kind === 'offline') return t('connection.staleOffline')
    if (connection.kind === 'reconnecting') return t('connection.staleReconnecting')
    return t('connection.staleRefused', { code: refusal ?? '–' })
  }
  // Not a live region: its seconds change. That the page is delayed is announced once.
  return (
    <Notice
      tone="warning"
      action={connection.kind === 'refused' && <Button onClick={onRetry}>{t('connection.retry')}</Button>}
    >
      <strong>{title()}</strong> {reason()}
    </Notice>
  )
}
