import { useQuery } from '@tanstack/react-query'
import type { ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { passwordQuery } from '../../api/queries'
import type { Me, PasswordState } from '../../api/types'
import { ErrorNotice } from '../../ui/ErrorNotice'
import { Loading } from '../../ui/Notice'
import { NewPasswordForm } from './NewPasswordForm'

/** What a person can do about their password, or why nothing can be done here. */
export function PasswordSection({ me }: { me: Me | undefined }): ReactElement {
  const { t } = useTranslation()
  const state = useQuery(passwordQuery())
  return (
    <section className="card" aria-labelledby="password">
      <h2 id="password">{t('account.password.title')}</h2>
      {state.isPending && <Loading label={t('app.loading')} />}
      {state.isError && state.data === undefined && (
        <ErrorNotice error={state.error} onRetry={() => void state.refetch()} />
      )}
      {state.data !== undefined && <Change state={state.data} me={me} />}
    </section>
  )
}

function Change({ state, me }: { state: PasswordState; me: Me | undefined }): ReactElement {
  const { t } = useTranslation()
  const settable = state.change === 'link' || state.change === 'present_password'
  return (
    <>
      <p>
        {state.change === 'link' && state.has_password
          ? t('account.password.linkInstead')
          : t(`account.password.ways.${state.change}`)}
      </p>
      {settable && <NewPasswordForm state={state} me={me} />}
    </>
  )
}
