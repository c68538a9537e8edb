import { useQuery } from '@tanstack/react-query'
import { Fragment, useId, useState, type FunctionComponent, type ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { configQuery } from '../../api/queries'
import type { SignedOutReason } from '../../api/session'
import { ErrorNotice } from '../../ui/ErrorNotice'
import { Loading, Notice } from '../../ui/Notice'
import { useTitle } from '../../ui/title'
import { HubLink } from './HubLink'
import { OidcLink } from './OidcLink'
import { PasswordForm } from './PasswordForm'
import { SignedOutNotice } from './SignInNotices'

/** A part of the page for one way to sign in; see `PasswordForm`. */
type Way = FunctionComponent<{ labelledBy: string; onAttempt: () => void; first: boolean; label: string | null }>

/** By `kind` of `GET config`. A way that is not here cannot be shown: the server may be newer than this page. */
const WAYS = new Map<string, Way>([
  ['jupyterhub', HubLink],
  ['oidc', OidcLink],
  ['password', PasswordForm],
])

/** Shown in place of any page while nobody is signed in, so that the address stays and the page comes back. */
export function SignInPage({ reason }: { reason: SignedOutReason }): ReactElement {
  const { t } = useTranslation()
  const title = useId()
  const [attempted, setAttempted] = useState(false)
  useTitle(t('signIn.title'))

  return (
    <div className="sign-in">
      <div className="card sign-in__card">
        <h1 id={title}>{t('signIn.title')}</h1>
        <p className="sign-in__lead">{t('signIn.lead')}</p>
        {!attempted && reason !== 'none' && (
          <SignedOutNotice reason={reason} />
        )}
        <Ways labelledBy={title} onAttempt={() => setAttempted(true)} />
      </div>
    </div>
  )
}

/** The ways to sign in that the server offers and this page knows, in the server's order. */
function Ways({ labelledBy, onAttempt }: { labelledBy: string; onAttempt: () => void }): ReactElement {
  const { t } = useTranslation()
  const config = useQuery(configQuery())
  if (config.isPending) return <Loading label={t('app.loading')} />
  if (config.isError) return <ErrorNotice error={config.error} onRetry={() => void config.refetch()} />
  const known = config.data.sign_in.flatMap(({ kind, label }) => {
    const way = WAYS.get(kind)
    return way === undefined ? [] : [{ kind, Way: way, label: label ?? null }]
  })
  if (known.length === 0) {
    return (
      <Notice tone="error" role="alert">
        {t('signIn.noWay')}
      </Notice>
    )
  }
  return (
    <>
      {known.map(({ kind, Way: Shown, label }, position) => (
        <Fragment key={kind}>
          {position > 0 && <p className="sign-in__or">{t(kind === 'password' ? 'signIn.or' : 'signIn.orElsewhere')}</p>}
          <Shown labelledBy={labelledBy} onAttempt={onAttempt} first={position === 0} label={label} />
        </Fragment>
      ))}
    </>
  )
}
