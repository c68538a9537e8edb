import { useId, useState, type ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import type { ChangedSettings, CourseSettings } from '../../api/types'
import { rulingSourceName } from '../../course/settings'
import { Confirmed } from '../../ui/Confirmed'
import { useChangeSettings } from './settings'

const NONE = ''

/** Which source of memberships rules in a course, for admins of the site. */
export function RulingSource({ courseId, settings }: { courseId: string; settings: CourseSettings }): ReactElement {
  const { t } = useTranslation()
  const id = useId()
  const stored = settings.ruling_source ?? NONE
  const [chosen, setChosen] = useState(stored)
  const change = useChangeSettings(courseId)
  const wish = (chosen === NONE ? null : chosen) as NonNullable<ChangedSettings['ruling_source']> | null
  const choose = (source: string): void => {
    // The error was that of another choice.
    if (!change.isPending) change.reset()
    setChosen(source)
  }
  return (
    <section className="card" aria-labelledby={`${id}-title`}>
      <h2 id={`${id}-title`}>{t('settings.ruling.title')}</h2>
      <p className="hint">{t('settings.ruling.hint')}</p>
      <div className="field">
        <label htmlFor={`${id}-source`}>{t('settings.ruling.label')}</label>
        <select id={`${id}-source`} value={chosen} onChange={(event) => choose(event.target.value)}>
          {[NONE, ...settings.ruling_sources].map((source) => (
            <option key={source} value={source}>
              {rulingSourceName(source === NONE ? null : source, t)}
            </option>
          ))}
        </select>
      </div>
      {chosen !== stored && (
        <Confirmed
          label={t('settings.ruling.change')}
          texts={{
            ask: t('settings.ruling.change'),
            askFor: t('settings.ruling.change'),
            question: t('settings.ruling.question'),
            sure: t('settings.ruling.sure'),
            pending: t('settings.saving'),
            keep: t('settings.ruling.keep'),
          }}
          action={change}
          onConfirmed={(done) => change.mutate({ ruling_source: wish }, { onSuccess: done })}
        />
      )}
    </section>
  )
}
