import type { ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { useFormat } from '../i18n/format'
import { usePeople } from './people'
import type { Reason } from './view'

/** One reason as a sentence. `now` is the server's time, milliseconds. */
export function ReasonText({ reason, now }: { reason: Reason; now: number }): ReactElement {
  const { t } = useTranslation()
  const format = useFormat()
  const { nameOf, me } = usePeople()
  const { since } = reason
  const text = (): string => {
    switch (reason.kind) {
      case 'help':
        return t('reason.help', { ago: format.ago(since, now) })
      case 'claimed': {
        const time = format.time(since, now)
        if (reason.by !== null && reason.by === me) return t('reason.claimedYou', { time })
        return t('reason.claimed', { name: nameOf(reason.by), time })
      }
      case 'streak': {
        const { count, error } = reason
        const time = format.time(since, now)
        return error === null
          ? t('reason.streakMixed', { count, time })
          : t('reason.streakSame', { count, error, time })
      }
      case 'long_run':
        return t('reason.longRun', { duration: format.duration(now - since) })
      case 'idle':
        return t('reason.idle', { duration: format.duration(now - since) })
    }
  }
  return <>{text()}</>
}
