import { useId, useState, type ReactElement, type SyntheticEvent } from 'react'
import { useTranslation } from 'react-i18next'

import { isOutcomeUnknown } from '../../api/client'
import type { ChangedSettings, CourseSettings } from '../../api/types'
import { MAX_TITLE, thresholdNames, type ThresholdName } from '../../course/settings'
import { Button } from '../../ui/Button'
import { ChangeError } from '../../ui/ErrorNotice'
import { Notice } from '../../ui/Notice'
import { changesOf, faultOf, formOf, useChangeSettings, type SettingsFault } from './settings'

interface CourseFormProps {
  courseId: string
  settings: CourseSettings
}

/** Title and thresholds of a course. */
export function CourseForm({ courseId, settings }: CourseFormProps): ReactElement {
  const { t } = useTranslation()
  const id = useId()
  const [form, setForm] = useState(() => formOf(settings))
  // The form is compared with what it was filled from, not with what somebody else has set since.
  const [before, setBefore] = useState(settings)
  const [fault, setFault] = useState<SettingsFault | null>(null)
  const [same, setSame] = useState(false)
  const [unsure, setUnsure] = useState<ChangedSettings | null>(null)
  const save = useChangeSettings(courseId)
  const set = (name: ThresholdName, value: string): void =>
    setForm({ ...form, thresholds: { ...form.thresholds, [name]: value } })

  const submit = (event: SyntheticEvent): void => {
    event.preventDefault()
    if (save.isPending) return
    const found = faultOf(form, settings)
    setFault(found)
    setSame(false)
    save.reset()
    if (found !== null) return
    const changes = changesOf(form, before, unsure)
    if (changes === null) {
      setSame(true)
      return
    }
    save.mutate(changes, {
      onSuccess: (stored) => {
        setBefore(stored)
        setForm(formOf(stored))
        setUnsure(null)
      },
      onError: (error) => {
        if (isOutcomeUnknown(error)) setUnsure(changes)
      },
    })
  }

  return (
    <section className="card" aria-labelledby={`${id}-title`}>
      <h2 id={`${id}-title`}>{t('settings.course')}</h2>
      <form className="form" aria-labelledby={`${id}-title`} noValidate onSubmit={submit}>
        <div className="field">
          <label htmlFor={`${id}-name`}>{t('settings.name')}</label>
          <input
            id={`${id}-name`}
            maxLength={2 * MAX_TITLE}
            autoComplete="off"
            aria-invalid={fault?.in === 'title'}
            value={form.title}
            onChange={(event) => setForm({ ...form, title: event.target.value })}
          />
        </div>
        <p className="hint">{t('settings.hint')}</p>
        {thresholdNames.map((name) => (
          <div key={name} className="field">
            <label htmlFor={`${id}-${name}`}>{t(`settings.threshold.${name}`)}</label>
            <input
              id={`${id}-${name}`}
              type="number"
              step={1}
              min={settings.bounds[name]?.lowest}
              max={settings.bounds[name]?.highest}
              aria-invalid={fault?.in === name}
              aria-describedby={`${id}-${name}-bounds`}
              value={form.thresholds[name]}
              onChange={(event) => set(name, event.target.value)}
            />
            <span id={`${id}-${name}-bounds`} className="hint">
              {t('settings.bounds', {
                lowest: settings.bounds[name]?.lowest ?? 1,
                highest: settings.bounds[name]?.highest ?? 1,
                usual: settings.defaults[name],
              })}
            </span>
          </div>
        ))}
        {fault !== null && (
          <Notice tone="error" role="alert">
            {fault.in === 'title'
              ? t('settings.fault.title')
              : t('settings.fault.threshold', {
                  what: t(`settings.threshold.${fault.in}`),
                  lowest: fault.lowest,
                  highest: fault.highest,
                })}
          </Notice>
        )}
        {save.isError && <ChangeError error={save.error} />}
        {(same || save.isSuccess) && (
          <p className="hint" role="status">
            {same ? t('settings.same') : t('settings.saved')}
          </p>
        )}
        <div className="confirmed">
          <Button type="submit" variant="primary" pending={save.isPending}>
            {save.isPending ? t('settings.saving') : t('settings.save')}
          </Button>
          <Button
            variant="quiet"
            onClick={() => setForm({ ...formOf({ ...settings, thresholds: settings.defaults }), title: form.title })}
          >
            {t('settings.defaults')}
          </Button>
        </div>
      </form>
    </section>
  )
}
