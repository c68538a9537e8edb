import type { ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { HUB_START, leaveForProvider } from '../../api/provider-sign-in'

/** Leads to JupyterHub, which sends the browser back signed in. */
export function HubLink(): ReactElement {
  const { t } = useTranslation()
  return (
    <a className="button button--primary sign-in__elsewhere" href={HUB_START} onClick={leaveForProvider}>
      {t('signIn.withHub')}
    </a>
  )
}
