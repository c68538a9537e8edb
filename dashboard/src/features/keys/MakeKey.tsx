import { useId, useRef, useState, type ReactElement, type SyntheticEvent } from 'react'
import { useTranslation } from 'react-i18next'

import { ApiError } from '../../api/client'
import type { NewApiKey } from '../../api/types'
import { foreign } from '../../i18n/foreign'
import { Button } from '../../ui/Button'
import { explainChange } from '../../ui/ErrorNotice'
import { Notice } from '../../ui/Notice'
import { faultOf, MAX_DAYS, MAX_NAME, scopeLabels, scopes, type KeyFault, type Scope } from './keys'
import { useMakeKey } from './useKeys'

const DEFAULT_DAYS = 365

/** A form that makes a key, and shows it once. */
export function MakeKey(): ReactElement {
  const { t } = useTranslation()
  const id = useId()
  const [name, setName] = useState('')
  const [username, setUsername] = useState('')
  const [chosen, setChosen] = useState<ReadonlySet<Scope>>(new Set())
  const [days, setDays] = useState(String(DEFAULT_DAYS))
  const [fault, setFault] = useState<KeyFault | null>(null)
  /** Until each is said to be kept: nothing shows a key a second time. */
  const [made, setMade] = useState<readonly NewApiKey[]>([])
  const make = useMakeKey()

  const submit = (event: SyntheticEvent): void => {
    event.preventDefault()
    if (make.isPending) return
    const wish = {
      name: name.trim(),
      username: username.trim(),
      scopes: scopes.filter((scope) => chosen.has(scope)),
      days: Number(days),
    }
    const found = faultOf(wish)
    setFault(found)
    if (found !== null) {
      make.reset()
      return
    }
    make.mutate(wish, {
      onSuccess: (key) => {
        setMade((held) => [key, ...held])
        setName('')
        setUsername('')
        setChosen(new Set())
      },
    })
  }
  const toggle = (scope: Scope, on: boolean): void => {
    const next = new Set(chosen)
    if (on) next.add(scope)
    else next.delete(scope)
    setChosen(next)
  }

  return (
    <section className="card" aria-labelledby={`${id}-title`}>
      <h2 id={`${id}-title`}>{t('keys.make')}</h2>
      <form className="form" aria-labelledby={`${id}-title`} noValidate onSubmit={submit}>
        <div className="field">
          <label htmlFor={`${id}-name`}>{t('keys.name')}</label>
          <input
            id={`${id}-name`}
            maxLength={2 * MAX_NAME}
            autoComplete="off"
            aria-invalid={fault === 'name'}
            value={name}
            onChange={(event) => setName(event.target.value)}
          />
        </div>
        <fieldset className="keys__scopes" aria-invalid={fault === 'scopes'}>
          <legend>{t('keys.may')}</legend>
          {scopes.map((scope) => (
            <label key={scope} className="check">
              <input
                type="checkbox"
                checked={chosen.has(scope)}
                onChange={(event) => toggle(scope, event.target.checked)}
              />
              {t(`keys.scope.${scopeLabels[scope]}`)}
            </label>
          ))}
        </fieldset>
        <div className="field">
          <label htmlFor={`${id}-person`}>{t('keys.person')}</label>
          <input
            id={`${id}-person`}
            maxLength={300}
            autoComplete="off"
            spellCheck={false}
            aria-invalid={fault === 'person'}
            value={username}
            onChange={(event) => setUsername(event.target.value)}
          />
        </div>
        <div className="field">
          <label htmlFor={`${id}-days`}>{t('keys.days')}</label>
          <input
            id={`${id}-days`}
            type="number"
            min={1}
            max={MAX_DAYS}
            aria-invalid={fault === 'days'}
            value={days}
            onChange={(event) => setDays(event.target.value)}
          />
        </div>
        {fault !== null && (
          <Notice tone="error" role="alert">
            {t(`keys.fault.${fault}`)}
          </Notice>
        )}
        {make.isError && (
          <Notice tone="error" role="alert">
            {make.error instanceof ApiError && make.error.status === 404 ? t('keys.nobody') : explainChange(make.error, t)}
          </Notice>
        )}
        <Button type="submit" variant="primary" pending={make.isPending}>
          {make.isPending ? t('keys.making') : t('keys.make')}
        </Button>
      </form>
      {made.map((one) => (
        <Made
          key={one.key_id}
          made={one}
          onDone={() => {
            // Not kept in memory either; one that is being made is still waited for.
            if (!make.isPending) make.reset()
            setMade((held) => held.filter((other) => other !== one))
          }}
        />
      ))}
    </section>
  )
}

function Made({ made, onDone }: { made: NewApiKey; onDone: () => void }): ReactElement {
  const { t } = useTranslation()
  const id = useId()
  const field = useRef<HTMLInputElement>(null)
  const [copied, setCopied] = useState(false)
  const copy = (): void => {
    field.current?.select()
    // Absent on a page that is neither https nor on this machine; the text is selected then.
    const clipboard = navigator.clipboard as Clipboard | undefined
    clipboard?.writeText(made.key).then(
      () => setCopied(true),
      () => setCopied(false),
    )
  }
  return (
    <div className="form keys__made" role="status">
      <h3>{t('keys.made', { name: foreign(made.name) })}</h3>
      <p>{t('keys.once')}</p>
      <div className="field keys__key">
        <label htmlFor={id}>{t('keys.key')}</label>
        <input ref={field} id={id} readOnly value={made.key} onFocus={(event) => event.target.select()} />
      </div>
      <div className="confirmed">
        <Button onClick={copy}>{copied ? t('keys.copied') : t('keys.copy')}</Button>
        <Button variant="quiet" onClick={onDone}>
          {t('keys.done')}
        </Button>
      </div>
    </div>
  )
}
