import { createContext, use, type ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { useFormat } from '../i18n/format'

/** Since when the page may be outdated, milliseconds; null while it is live. */
export const StaleContext = createContext<number | null>(null)

interface AsOfProps {
  /** For data fetched apart from the live connection: when it was last fetched, and whether it is outdated. */
  fetchedAt?: number | undefined
  outdated?: boolean
}

export function AsOf({ fetchedAt, outdated = false }: AsOfProps): ReactElement | null {
  const { t } = useTranslation()
  const format = useFormat()
  const stale = use(StaleContext)
  const since = stale === null && !outdated ? null : (fetchedAt ?? stale)
  return since === null ? null : <span className="as-of">{t('connection.asOf', { time: format.time(since) })}</span>
}
