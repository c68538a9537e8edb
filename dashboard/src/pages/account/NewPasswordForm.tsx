import { useQueryClient } from '@tanstack/react-query'
import { useId, useRef, useState, type ReactElement, type SyntheticEvent } from 'react'
import { useTranslation } from 'react-i18next'

import { ApiError, isOutcomeUnknown, UnreachableError } from '../../api/client'
import { passwordKey } from '../../api/queries'
import { useServices } from '../../api/services'
import type { Me, PasswordState } from '../../api/types'
import { useFormat } from '../../i18n/format'
import { Button } from '../../ui/Button'
import { explainChange } from '../../ui/ErrorNotice'
import { explainInput } from '../../ui/input-faults'
import { Notice } from '../../ui/Notice'
import { PasswordField } from '../../ui/PasswordField'

type Field = 'present' | 'new'

interface Refusal {
  message: string
  /** The field to correct, null where it is none of them. */
  field: Field | null
}

interface NewPasswordFormProps {
  state: PasswordState
  me: Me | undefined
}

/** Sets the password; asks for the present one where that is needed. */
export function NewPasswordForm({ state, me }: NewPasswordFormProps): ReactElement {
  const { t } = useTranslation()
  const format = useFormat()
  const { session } = useServices()
  const client = useQueryClient()
  const ids = { rule: useId(), error: useId() }
  const presentField = useRef<HTMLInputElement>(null)
  const newField = useRef<HTMLInputElement>(null)
  const [pending, setPending] = useState(false)
  const [visible, setVisible] = useState(false)
  const [refusal, setRefusal] = useState<Refusal | null>(null)
  const [changed, setChanged] = useState(false)
  // Not shown: password managers store the new password with it.
  const { username: accountName = '' } = me ?? {}
  const needsPresent = state.change === 'present_password'

  const explain = (cause: unknown): Refusal => {
    if (cause instanceof UnreachableError || (cause instanceof ApiError && isOutcomeUnknown(cause)))
      return { message: explainChange(cause, t), field: null }
    if (!(cause instanceof ApiError)) return { message: t('errors.unexpected'), field: null }
    switch (cause.type) {
      case 'password_too_short':
        return { message: t('account.password.tooShort', { count: state.min_chars }), field: 'new' }
      case 'password_too_long':
        return { message: t('account.password.tooLong', { count: state.max_chars }), field: 'new' }
      case 'password_common':
        return { message: t('account.password.common'), field: 'new' }
      case 'present_password_wrong':
        return { message: t('account.password.presentWrong'), field: 'present' }
      case 'rate_limited':
        return { message: t('signIn.limited', { duration: format.span(cause.retryAfterS ?? 60) }), field: null }
      default:
        return { message: t('account.password.failed', { message: explainInput(cause, t) ?? cause.message }), field: null }
    }
  }

  const refuse = (next: Refusal): void => {
    setRefusal(next)
    if (next.field === 'present') presentField.current?.focus()
    if (next.field === 'new') newField.current?.focus()
  }

  const submit = async (): Promise<void> => {
    const present = presentField.current?.value ?? ''
    const next = newField.current?.value ?? ''
    setChanged(false)
    if (needsPresent && present === '') {
      refuse({ message: t('account.password.presentMissing'), field: 'present' })
      return
    }
    // The server counts composed characters, too.
    if (Array.from(next.normalize('NFC')).length < state.min_chars) {
      refuse({ message: t('account.password.tooShort', { count: state.min_chars }), field: 'new' })
      return
    }
    setPending(true)
    setRefusal(null)
    try {
      await session.setPassword(needsPresent ? present : null, next)
      for (const field of [presentField.current, newField.current]) if (field !== null) field.value = ''
      setVisible(false)
      setChanged(true)
    } catch (cause) {
      refuse(explain(cause))
    }
    setPending(false)
    // Also after a refusal: the link with which the person signed in may count no longer.
    await client.invalidateQueries({ queryKey: passwordKey })
  }

  const onSubmit = (event: SyntheticEvent): void => {
    event.preventDefault()
    if (!pending) void submit()
  }

  const about = (field: Field): string | undefined => {
    const described = [field === 'new' && ids.rule, refusal?.field === field && ids.error].filter(Boolean)
    return described.length === 0 ? undefined : described.join(' ')
  }

  return (
    <form className="account__form" onSubmit={onSubmit} noValidate aria-labelledby="password">
      {refusal !== null && (
        <Notice tone="error" role="alert">
          <span id={ids.error}>{refusal.message}</span>
        </Notice>
      )}
      {changed && (
        <Notice tone="info" role="status">
          {t('account.password.changed')}
        </Notice>
      )}
      <input type="text" name="username" autoComplete="username" value={accountName} readOnly hidden />
      {needsPresent && (
        <PasswordField
          label={t('account.password.present')}
          name="present"
          autoComplete="current-password"
          maxLength={256}
          visible={visible}
          invalid={refusal?.field === 'present'}
          describedBy={about('present')}
          ref={presentField}
        />
      )}
      <PasswordField
        label={t('account.password.new')}
        name="new"
        autoComplete="new-password"
        maxLength={512}
        visible={visible}
        invalid={refusal?.field === 'new'}
        describedBy={about('new')}
        ref={newField}
      >
        <p id={ids.rule} className="account__rule">
          {t('account.password.rule', { count: state.min_chars })}
        </p>
      </PasswordField>
      <label className="check">
        <input type="checkbox" checked={visible} onChange={(event) => setVisible(event.target.checked)} />
        {t('account.password.show')}
      </label>
      <Button type="submit" variant="primary" pending={pending}>
        {t(state.has_password ? 'account.password.change' : 'account.password.set')}
      </Button>
    </form>
  )
}
