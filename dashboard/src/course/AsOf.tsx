import { createContext, use, type ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { useFormat } from '../i18n/format'

/** Since when what is shown is old, for every part of the page that has a heading. */
export const StaleContext = createContext<number | null>(null)

interface AsOfProps {
  /** For what is fetched beside the live connection: when it was last fetched, and whether it is older than it should be. */
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
