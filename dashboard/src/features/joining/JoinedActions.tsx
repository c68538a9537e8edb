import { useMutation, useQueryClient } from '@tanstack/react-query'
import { useId, useState, type ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { membersKey, removeMember } from '../../api/queries'
import { useServices } from '../../api/services'
import type { StudentView } from '../../course/view'
import { stateKey } from '../../live/snapshot'
import { Button } from '../../ui/Button'
import { Confirmed } from '../../ui/Confirmed'
import { ChangeError } from '../../ui/ErrorNotice'
import { mergeMember } from './joining'

interface JoinedActionsProps {
  courseId: string
  /** A student who joined by code. */
  view: StudentView
  /** The course's other students. */
  others: readonly StudentView[]
  onDone: () => void
}

/** What an instructor can do about somebody who joined by code: merge them with another student, or remove them. */
export function JoinedActions({ courseId, view, others, onDone }: JoinedActionsProps): ReactElement {
  const { t } = useTranslation()
  const { api } = useServices()
  const cache = useQueryClient()
  const [into, setInto] = useState('')
  const id = useId()
  const refresh = async (): Promise<void> => {
    await Promise.all([
      cache.invalidateQueries({ queryKey: stateKey(courseId) }),
      cache.invalidateQueries({ queryKey: membersKey(courseId) }),
    ])
  }
  // Also after an error: it may have been done.
  const merge = useMutation({
    mutationFn: () => mergeMember(api, courseId, view.id, into),
    onSuccess: onDone,
    onSettled: refresh,
  })
  const remove = useMutation({
    mutationFn: () => removeMember(api, courseId, view.id),
    onSuccess: onDone,
    onSettled: refresh,
  })
  const mergeNow = (): void => {
    if (!remove.isPending) remove.reset()
    merge.mutate()
  }
  return (
    <section className="joined" aria-labelledby={`${id}-title`}>
      <h3 id={`${id}-title`}>{t('joining.joined')}</h3>
      <p className="hint">{t('joining.unproven')}</p>
      <div className="joined__row">
        <div className="field">
          <label htmlFor={`${id}-into`}>{t('joining.mergeWith')}</label>
          <select
            id={`${id}-into`}
            value={into}
            aria-describedby={`${id}-hint`}
            onChange={(event) => setInto(event.target.value)}
          >
            <option value="">{t('joining.choose')}</option>
            {others.map((other) => (
              <option key={other.id} value={other.id}>
                {other.label.text}
              </option>
            ))}
          </select>
        </div>
        <Button pending={merge.isPending || into === ''} onClick={mergeNow}>
          {t('joining.merge')}
        </Button>
      </div>
      <p className="hint" id={`${id}-hint`}>
        {t('joining.mergeHint')}
      </p>
      <Confirmed
        label={t('joining.removeQuestion')}
        texts={{
          ask: t('joining.remove'),
          askFor: t('joining.remove'),
          question: t('joining.removeQuestion'),
          sure: t('joining.removeNow'),
          pending: t('members.removing'),
          keep: t('joining.keep'),
        }}
        action={remove}
        onConfirmed={() => {
          merge.reset()
          remove.mutate()
        }}
      />
      {merge.error !== null && <ChangeError error={merge.error} />}
    </section>
  )
}
