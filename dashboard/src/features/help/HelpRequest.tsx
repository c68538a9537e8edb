import type { TFunction } from 'i18next'
import { useEffect, useRef, type ReactElement, type RefObject } from 'react'
import { useTranslation } from 'react-i18next'

import { ApiError, isOutcomeUnknown } from '../../api/client'
import type { HelpAction } from '../../api/queries'
import type { HelpState } from '../../api/types'
import { foreignLines } from '../../i18n/foreign'
import { useFormat } from '../../i18n/format'
import { Button } from '../../ui/Button'
import { explain, explainChange } from '../../ui/ErrorNotice'
import { useFocusWhenGone } from '../../ui/focus'
import { Icon } from '../../ui/Icon'
import { Clamped } from '../../course/Clamped'
import { ErrorName } from '../../course/ErrorName'
import { HelpMessage } from '../../course/HelpMessage'
import { PersonName } from '../../course/PersonName'
import { usePeople } from '../../course/people'
import type { StudentView } from '../../course/view'
import { MIN_PENDING_MS, useHelpAction } from './useHelpAction'

export function explainHelpError(error: unknown, t: TFunction): string {
  if (error instanceof ApiError) {
    if (error.type === 'help_already_claimed') return t('help.conflictClaimed')
    if (error.type === 'help_closed') return t('help.conflictClosed')
    if (error.status === 403) return t('help.forbidden')
  }
  if (isOutcomeUnknown(error)) return explainChange(error, t)
  return t('help.failed', { message: explain(error, t) })
}

/** Whether a request, which is still active, is no longer as it was when this was offered: its outcome is seen. */
function isSettled(action: HelpAction, request: HelpState, me: string | null): boolean {
  if (action === 'claim') return request.status !== 'open'
  return action === 'release' && request.claimed_by !== me
}

interface HelpRequestProps {
  courseId: string
  request: HelpState
  /** The student's row. */
  view: StudentView
  /** The server's time, milliseconds. */
  now: number
  onOpen?: () => void
  /** Gets the focus if the request is removed while it contains the focus. */
  focusWhenGone?: RefObject<HTMLElement | null>
}

/** One request with the actions that the viewer may take. */
export function HelpRequest({ courseId, request, view, now, onOpen, focusWhenGone }: HelpRequestProps): ReactElement {
  const { t } = useTranslation()
  const format = useFormat()
  const { me, role, nameOf } = usePeople()
  const article = useRef<HTMLElement>(null)
  useFocusWhenGone(article, focusWhenGone)
  const action = useHelpAction(courseId, request.request_id)
  const name = view.label.text
  const mine = request.claimed_by != null && request.claimed_by === me
  const pending = action.isPending ? action.variables : null
  const { reset } = action
  const seen = action.variables !== undefined && isSettled(action.variables, request, me)
  const settled = seen && action.isError && isOutcomeUnknown(action.error)
  const answered = seen && action.isPending
  useEffect(() => {
    // Permanently: the request may be open again later.
    if (settled) reset()
    if (!answered) return undefined
    // The feed shows the outcome, and the answer itself may never come: a proxy may hold it until the time-out.
    const wait = setTimeout(reset, MIN_PENDING_MS)
    return () => clearTimeout(wait)
  }, [settled, answered, reset])
  const offered: HelpAction[] =
    // A request known from the row only has no version yet, and no action can be taken on it.
    role === 'observer' || role === 'student' || request.version === 0
      ? []
      : request.status === 'open'
        ? ['claim', 'resolve']
        : mine
          ? ['resolve', 'release']
          : ['resolve']
  const pendingText = { claim: t('help.claiming'), release: t('help.releasing'), resolve: t('help.resolving') }
  const label = (name_: HelpAction): string =>
    ({
      claim: t('help.claimFor', { name }),
      release: t('help.releaseFor', { name }),
      resolve: t('help.resolveFor', { name }),
    })[name_]
  const claimedAt = format.time(request.claimed_at ?? '', now)
  const where = format.place(request)
  const message = foreignLines(request.message ?? '')
  const failed = { notebook: request.error_notebook, cell: request.error_cell }
  return (
    <article ref={article} className={`help help--${request.status}`} aria-label={name}>
      <div className="help__head">
        <Icon name={request.status === 'open' ? 'hand' : 'helper'} />
        {onOpen === undefined ? (
          <span className="help__name">
            <PersonName label={view.label} />
          </span>
        ) : (
          <button type="button" className="link help__name" title={name} onClick={onOpen}>
            <PersonName label={view.label} />
          </button>
        )}
        <span className="help__wait">
          {view.words.leftWaiting
            ? t('help.askedAt', { time: format.time(request.requested_at, now) })
            : t('help.waiting', { duration: format.duration(now - Date.parse(request.requested_at)) })}
        </span>
      </div>
      {message !== '' && (
        <div className="help__message">
          <HelpMessage text={message} name={name} />
        </div>
      )}
      {(where !== '' || request.error != null) && (
        <p className="help__where">
          {where !== '' && <Clamped text={where} whole={format.place(request, 'whole')} />}
          {request.error != null && <ErrorName error={request.error} fact={failed} beside={request} />}
        </p>
      )}
      {request.status === 'claimed' && (
        <p className="help__claimed">
          {mine
            ? t('help.claimedByYou', { time: claimedAt })
            : t('help.claimedBy', { name: nameOf(request.claimed_by ?? null), time: claimedAt })}
        </p>
      )}
      {offered.length > 0 && (
        <div className="help__actions">
          {offered.map((name_, index) => (
            <Button
              // Keyed by position: the focus stays when one action replaces another.
              key={index}
              variant={index === 0 ? 'primary' : 'plain'}
              pending={pending !== null}
              aria-label={pending === name_ ? pendingText[name_] : label(name_)}
              onClick={() => action.mutate(name_)}
            >
              {pending === name_ ? pendingText[name_] : t(`help.${name_}`)}
            </Button>
          ))}
        </div>
      )}
      {action.isError && !settled && (
        <p className="help__error" role="alert">
          <Icon name="error" />
          {explainHelpError(action.error, t)}
        </p>
      )}
    </article>
  )
}
