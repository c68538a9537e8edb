import { useId, useState, type ReactElement, type SyntheticEvent } from 'react'
import { useTranslation } from 'react-i18next'

import { Button } from '../../ui/Button'
import { Notice } from '../../ui/Notice'
import { faultOf, type AuditFault, type AuditSearch } from './search'
import { actions, courseActions } from './sentences'

interface AuditFiltersProps {
  search: AuditSearch
  /** Whether the log of the whole site is shown, which can be narrowed to a course. */
  site: boolean
  onChange: (search: AuditSearch) => void
}

/** Filters of the audit log; they apply when the form is sent. */
export function AuditFilters({ search, site, onChange }: AuditFiltersProps): ReactElement {
  const { t } = useTranslation()
  const ids = { action: useId(), person: useId(), course: useId(), from: useId(), until: useId() }
  const address = JSON.stringify(search)
  // Of what was tried last at this address, which may have a fault as well.
  const [refused, setRefused] = useState<{ address: string; fault: AuditFault } | null>(null)
  const fault = refused?.address === address ? refused.fault : faultOf(search)
  const submit = (event: SyntheticEvent<HTMLFormElement>): void => {
    event.preventDefault()
    const form = new FormData(event.currentTarget)
    const value = (name: keyof AuditSearch): string | undefined => {
      const typed = form.get(name)
      return typeof typed === 'string' && typed.trim() !== '' ? typed.trim() : undefined
    }
    const wish = {
      action: value('action'),
      person: value('person'),
      course: value('course'),
      from: value('from'),
      until: value('until'),
    }
    const found = faultOf(wish)
    setRefused(found && { address, fault: found })
    if (found === null) onChange(wish)
  }
  const ofDays = fault === 'day' || fault === 'order'
  const filtered = Object.values(search).some((value) => value !== undefined)
  return (
    // Filled in again whenever the address changes, as by the back button.
    <form
      key={address}
      className="audit-filters"
      aria-label={t('audit.filter.title')}
      noValidate
      onSubmit={submit}
    >
      <div className="field">
        <label htmlFor={ids.action}>{t('audit.filter.action')}</label>
        <select id={ids.action} name="action" defaultValue={search.action ?? ''}>
          <option value="">{t('audit.filter.all')}</option>
          {(site ? actions : courseActions).map((action) => (
            <option key={action} value={action}>
              {t(`audit.names.${action}`)}
            </option>
          ))}
        </select>
      </div>
      <div className="field">
        <label htmlFor={ids.person}>{t('audit.filter.person')}</label>
        <input id={ids.person} name="person" maxLength={150} autoComplete="off" defaultValue={search.person ?? ''} />
      </div>
      {site && (
        <div className="field">
          <label htmlFor={ids.course}>{t('audit.filter.course')}</label>
          <input
            id={ids.course}
            name="course"
            maxLength={63}
            autoComplete="off"
            autoCapitalize="none"
            spellCheck={false}
            aria-invalid={fault === 'course'}
            defaultValue={search.course ?? ''}
          />
        </div>
      )}
      <div className="field">
        <label htmlFor={ids.from}>{t('audit.filter.from')}</label>
        <input id={ids.from} name="from" type="date" aria-invalid={ofDays} defaultValue={search.from ?? ''} />
      </div>
      <div className="field">
        <label htmlFor={ids.until}>{t('audit.filter.until')}</label>
        <input id={ids.until} name="until" type="date" aria-invalid={ofDays} defaultValue={search.until ?? ''} />
      </div>
      {fault !== null && (
        <div className="audit-filters__fault">
          <Notice tone="error" role="alert">
            {t(`audit.filter.fault.${fault}`)}
          </Notice>
        </div>
      )}
      <div className="audit-filters__actions">
        <Button type="submit" variant="primary">
          {t('audit.filter.show')}
        </Button>
        {(filtered || fault !== null) && (
          <Button
            variant="quiet"
            type="reset"
            onClick={() => {
              setRefused(null)
              onChange({})
            }}
          >
            {t('audit.filter.clear')}
          </Button>
        )}
      </div>
    </form>
  )
}
