import { useSyncExternalStore, type ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { useServices } from '../../api/services'
import type { SignedOutReason } from '../../api/session'
import { Button } from '../../ui/Button'
import { Notice } from '../../ui/Notice'

/** Prints a new link; without a user name one for the instructor of the sample course, see `cell-monitor sign-in-link --help`. */
const linkCommand = (username: string): string => `cell-monitor sign-in-link ${username}`
/** The same in the folder of the sources, for the server that `make up` starts. */
const folderCommand = (username: string): string => `.venv/bin/${linkCommand(username)} --data-dir var`

/** Why nobody is signed in; for a refused link also how to get another. */
export function SignedOutNotice({ reason }: { reason: Exclude<SignedOutReason, 'none'> }): ReactElement {
  const refused = reason !== 'expired' && reason !== 'idle' && reason !== 'signed-out'
  return (
    <Notice tone={refused ? 'error' : 'info'} role={refused ? 'alert' : 'status'}>
      <Reason reason={reason} />
    </Notice>
  )
}

/** That the link, or the other site, that the page was opened with signed nobody in, where somebody is signed in already. */
export function RefusalNotice(): ReactElement | null {
  const { t } = useTranslation()
  const { session } = useServices()
  const reason = useSyncExternalStore(session.subscribe, session.refusal)
  if (reason === null) return null
  return (
    <div className="page">
      <Notice tone="warning" role="alert" action={<Button onClick={() => session.dismissRefusal()}>{t('app.close')}</Button>}>
        {t('signIn.stays')} <Reason reason={reason} />
        {reason === 'link-of-another' && (
          <Button onClick={() => void session.changePerson()}>{t('signIn.changePerson')}</Button>
        )}
      </Notice>
    </div>
  )
}

function Reason({ reason }: { reason: Exclude<SignedOutReason, 'none'> }): ReactElement {
  const { t } = useTranslation()
  const placeholder = t('signIn.placeholder')
  return (
    <>
      {t(`signIn.reasons.${reason}`)}{' '}
      {reason.startsWith('link-') && reason !== 'link-of-another' && (
        <>
          <code className="sign-in__command">{linkCommand(placeholder)}</code> {t('signIn.afterMakeUp')}{' '}
          <code className="sign-in__command">{folderCommand(placeholder)}</code>{' '}
          {t('signIn.placeholderHint', { placeholder })}
        </>
      )}
    </>
  )
}
