import type { ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { OIDC_START, leaveForProvider } from '../../api/provider-sign-in'

/** Leads to the OpenID Connect provider, which sends the browser back signed in. */
export function OidcLink({ label }: { label: string | null }): ReactElement {
  const { t } = useTranslation()
  return (
    <a className="button button--primary sign-in__elsewhere" href={OIDC_START} onClick={leaveForProvider}>
      {label === null ? t('signIn.withOrganisation') : t('signIn.withLabel', { label })}
    </a>
  )
}
