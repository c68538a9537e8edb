import { createContext, use, type ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { useFormat } from '../i18n/format'

/** How current the page is. Times are milliseconds of the server's clock. */
export interface Currency {
  now: number
  /** Since when the page may be outdated; null while it is live. */
  stale: number | null
}

export const CurrencyContext = createContext<Currency>({ now: 0, stale: null })

interface AsOfProps {
  /** For data fetched apart from the live connection: when it was last fetched by the server's clock, and whether it is outdated. */
  fetchedAt?: number | undefined
  outdated?: boolean
}

export function AsOf({ fetchedAt, outdated = false }: AsOfProps): ReactElement | null {
  const { t } = useTranslation()
  const format = useFormat()
  const { now, stale } = use(CurrencyContext)
  const since = stale === null && !outdated ? null : (fetchedAt ?? stale)
  return since === null ? null : <span className="as-of">{t('connection.asOf', { time: format.time(since, now) })}</span>
}
