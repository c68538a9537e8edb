import { useMutation, useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import type { ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { meQuery } from '../../api/queries'
import { useServices } from '../../api/services'
import { shownUsername } from '../../course/names'
import { Button } from '../../ui/Button'
import { ChangeError } from '../../ui/ErrorNotice'
import { useTitle } from '../../ui/title'
import { PasswordSection } from './PasswordSection'

/** What a person can do about their own password and sign-ins. */
export function AccountPage(): ReactElement {
  const { t } = useTranslation()
  const { api, session } = useServices()
  const me = useQuery(meQuery(api))
  const everywhere = useMutation({ mutationFn: () => session.signOutEverywhere() })
  useTitle(t('account.title'))
  return (
    <div className="page page--narrow account">
      <h1>{t('account.title')}</h1>
      {me.data !== undefined && <p>{t('account.username', { name: shownUsername(me.data.username) })}</p>}
      <PasswordSection me={me.data} />
      {me.data?.is_admin === true && (
        <section className="card" aria-labelledby="site">
          <h2 id="site">{t('account.site')}</h2>
          <ul className="account__links">
            <li>
              <Link to="/keys">{t('keys.title')}</Link>
            </li>
            <li>
              <Link to="/audit">{t('audit.title')}</Link>
            </li>
            <li>
              <Link to="/failed-events">{t('failedEvents.title')}</Link>
            </li>
          </ul>
        </section>
      )}
      <section className="card" aria-labelledby="everywhere">
        <h2 id="everywhere">{t('account.everywhere')}</h2>
        <p>{t('account.everywhereText')}</p>
        {everywhere.isError && <ChangeError error={everywhere.error} />}
        <Button pending={everywhere.isPending} onClick={() => everywhere.mutate()}>
          {t('account.everywhere')}
        </Button>
      </section>
    </div>
  )
}
