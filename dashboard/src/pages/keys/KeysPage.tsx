import { useQuery } from '@tanstack/react-query'
import { useState, type ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { apiKeysQuery } from '../../api/queries'
import { useServices } from '../../api/services'
import { stateOf } from '../../features/keys/keys'
import { KeyTable } from '../../features/keys/KeyTable'
import { MakeKey } from '../../features/keys/MakeKey'
import { ErrorNotice } from '../../ui/ErrorNotice'
import { courseErrorPage } from '../../ui/ErrorPage'
import { Empty, Loading } from '../../ui/Notice'
import { useTitle } from '../../ui/title'

/** The keys of the site, for its administrators. */
export default function KeysPage(): ReactElement {
  const { t } = useTranslation()
  const { api } = useServices()
  const [withEnded, setWithEnded] = useState(false)
  const keys = useQuery(apiKeysQuery(api))
  useTitle(t('keys.title'))
  const errorPage = courseErrorPage(keys.error)
  if (errorPage !== null) return errorPage
  const now = keys.dataUpdatedAt
  const found = keys.data ?? []
  const working = found.filter((key) => stateOf(key, now) === 'works')
  const shown = withEnded ? found : working
  return (
    <div className="page keys">
      <h1>{t('keys.title')}</h1>
      <p>{t('keys.lead')}</p>
      {keys.isPending && <Loading label={t('app.loading')} />}
      {keys.isError && <ErrorNotice error={keys.error} onRetry={() => void keys.refetch()} />}
      {keys.data !== undefined && (
        <>
          <MakeKey />
          <section className="card" aria-label={t('keys.title')}>
            <h2>{t('keys.count', { count: working.length })}</h2>
            <label className="check">
              <input type="checkbox" checked={withEnded} onChange={(event) => setWithEnded(event.target.checked)} />
              {t('keys.withEnded')}
            </label>
            {shown.length === 0 ? <Empty>{t('keys.none')}</Empty> : <KeyTable keys={shown} now={now} />}
          </section>
        </>
      )}
    </div>
  )
}
