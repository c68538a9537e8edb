import type { ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { foreignError, foreignErrorName } from '../i18n/foreign'
import { useFormat, type Length, type Place } from '../i18n/format'
import { usePeople } from './people'
import type { Reason } from './view'

interface ReasonTextProps {
  reason: Reason
  /** The server's time, milliseconds. */
  now: number
  /** Where the student is: a reason of another notebook names that as well. */
  beside: Place
}

/** One reason as a sentence that names its cell. */
export function ReasonText({ reason, now, beside }: ReasonTextProps): ReactElement {
  const { t } = useTranslation()
  const format = useFormat()
  const { nameOf, me } = usePeople()
  const { since } = reason
  const sentence = (length: Length): string => {
    switch (reason.kind) {
      case 'help':
        return t('reason.help', { ago: format.ago(since, now) })
      case 'claimed': {
        const time = format.time(since, now)
        if (reason.by !== null && reason.by === me) return t('reason.claimedYou', { time })
        return t('reason.claimed', { name: nameOf(reason.by), time })
      }
      case 'streak': {
        const { count } = reason
        const time = format.time(since, now)
        const error = length === 'short' ? foreignErrorName(reason.error) : foreignError(reason.error)
        return error === ''
          ? t('reason.streakMixed', { count, time })
          : t('reason.streakSame', { count, error, time })
      }
      case 'kernel_deaths':
        return t('reason.kernelDeaths', { count: reason.count, time: format.time(since, now) })
      case 'long_run':
        return t('reason.longRun', { duration: format.duration(now - since) })
      case 'idle':
        return t('reason.idle', { duration: format.duration(now - since) })
    }
  }
  const elsewhere = reason.notebook !== null && reason.notebook.id !== beside.notebook?.id
  const text = (length: Length): string => {
    const where = elsewhere ? format.place(reason, length) : format.cell(reason.cell, length)
    return where === '' ? sentence(length) : t('reason.at', { what: sentence(length), where })
  }
  return <span title={text('whole')}>{text('short')}</span>
}
