import { useEffect, useRef, type ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { Button } from '../../ui/Button'
import { explainChange } from '../../ui/ErrorNotice'
import { Notice } from '../../ui/Notice'
import type { Replay } from './useReplay'

/** A replay that goes on, with the way to stop it; then its result. */
export function ReplayState({ replay }: { replay: Replay }): ReactElement | null {
  const { t } = useTranslation()
  const { mutation, progress, stop, stopping } = replay
  const panel = useRef<HTMLDivElement>(null)
  const { status } = mutation
  useEffect(() => {
    // The button that began it, or the one that stopped it, is gone.
    if (status !== 'idle') panel.current?.focus()
  }, [status])
  if (status === 'idle') return null
  const { queued, unreadable, remaining } = progress
  const tried = queued + unreadable
  const result = [
    mutation.isError && t('failedEvents.interrupted', { message: explainChange(mutation.error, t) }),
    t('failedEvents.queued', { count: queued }),
    unreadable > 0 && t('failedEvents.unreadable', { count: unreadable }),
    remaining > 0 && t('failedEvents.remain', { count: remaining }),
    queued > 0 && t('failedEvents.queuedNext'),
  ].filter((sentence) => sentence !== false)
  return (
    <div ref={panel} className="failed-events__replay" role="group" aria-label={t('failedEvents.replayTitle')} tabIndex={-1}>
      {mutation.isPending ? (
        <>
          <p role="status">
            {remaining > 0
              ? t('failedEvents.progress', { done: tried, count: tried + remaining })
              : t('failedEvents.starting')}
          </p>
          <progress
            aria-label={t('failedEvents.replayTitle')}
            {...(remaining > 0 && { value: tried, max: tried + remaining })}
          />
          <Button pending={stopping} onClick={stop}>
            {stopping ? t('failedEvents.stopping') : t('failedEvents.stop')}
          </Button>
        </>
      ) : (
        <Notice tone={mutation.isError ? 'error' : 'info'} role={mutation.isError ? 'alert' : 'status'}>
          {result.join(' ')}
        </Notice>
      )}
    </div>
  )
}
