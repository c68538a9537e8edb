import { useEffect, useId, useRef, useState, type ReactElement, type SyntheticEvent } from 'react'
import { useTranslation } from 'react-i18next'

import { ApiError, UnreachableError } from '../../api/client'
import { useServices } from '../../api/services'
import { useFormat } from '../../i18n/format'
import { Button } from '../../ui/Button'
import { explainInput } from '../../ui/input-faults'
import { Notice } from '../../ui/Notice'
import { PasswordField } from '../../ui/PasswordField'

interface PasswordFormProps {
  /** Id of the heading that names the form. */
  labelledBy: string
  /** Called when the first attempt is made, so that the reason for which the page was shown can go. */
  onAttempt: () => void
  /** Whether this is the first way to sign in, whose field gets the focus. */
  first: boolean
}

/** Signs in with the user name and the password of a local account. */
export function PasswordForm({ labelledBy, onAttempt, first }: PasswordFormProps): ReactElement {
  const { t } = useTranslation()
  const format = useFormat()
  const { session } = useServices()
  const ids = { username: useId(), error: useId() }
  const usernameField = useRef<HTMLInputElement>(null)
  const passwordField = useRef<HTMLInputElement>(null)
  const [pending, setPending] = useState(false)
  const [visible, setVisible] = useState(false)
  const [error, setError] = useState<string | null>(null)

  useEffect(() => {
    if (first) usernameField.current?.focus()
  }, [first])

  const explain = (cause: unknown): string => {
    if (cause instanceof UnreachableError) return t('signIn.unreachable')
    if (cause instanceof ApiError) {
      if (cause.status === 401) return t('signIn.invalid')
      if (cause.status === 429) return t('signIn.limited', { duration: format.span(cause.retryAfterS ?? 60) })
      return t('signIn.failed', { message: explainInput(cause, t) ?? cause.message })
    }
    return t('errors.unexpected')
  }

  const submit = async (): Promise<void> => {
    const username = usernameField.current?.value.trim() ?? ''
    const password = passwordField.current?.value ?? ''
    onAttempt()
    if (username === '' || password === '') {
      setError(t('signIn.missing'))
      const field = username === '' ? usernameField : passwordField
      field.current?.focus()
      return
    }
    setPending(true)
    setError(null)
    try {
      await session.signIn(username, password)
    } catch (cause) {
      setError(explain(cause))
      setPending(false)
      passwordField.current?.select()
      passwordField.current?.focus()
    }
  }

  const onSubmit = (event: SyntheticEvent): void => {
    event.preventDefault()
    if (!pending) void submit()
  }

  return (
    <form className="sign-in__way" onSubmit={onSubmit} noValidate aria-labelledby={labelledBy}>
      {error !== null && (
        <Notice tone="error" role="alert">
          <span id={ids.error}>{error}</span>
        </Notice>
      )}
      <div className="field">
        <label htmlFor={ids.username}>{t('signIn.username')}</label>
        <input
          id={ids.username}
          ref={usernameField}
          name="username"
          type="text"
          autoComplete="username"
          autoCapitalize="none"
          spellCheck={false}
          maxLength={150}
          required
          aria-invalid={error !== null}
          aria-describedby={error === null ? undefined : ids.error}
        />
      </div>
      <PasswordField
        label={t('signIn.password')}
        name="password"
        autoComplete="current-password"
        maxLength={1024}
        visible={visible}
        invalid={error !== null}
        describedBy={error === null ? undefined : ids.error}
        ref={passwordField}
      />
      <label className="check">
        <input type="checkbox" checked={visible} onChange={(event) => setVisible(event.target.checked)} />
        {t('signIn.showPassword')}
      </label>
      <Button type="submit" variant="primary" pending={pending}>
        {pending ? t('signIn.pending') : t('signIn.submit')}
      </Button>
    </form>
  )
}
