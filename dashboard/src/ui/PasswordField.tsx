import { useId, type ReactElement, type ReactNode, type RefObject } from 'react'

interface PasswordFieldProps {
  label: string
  name: string
  /** Tells password managers which password it is. */
  autoComplete: 'current-password' | 'new-password'
  maxLength: number
  /** Whether what is typed is shown. */
  visible: boolean
  invalid: boolean
  /** Ids of the texts that explain the field. */
  describedBy: string | undefined
  ref: RefObject<HTMLInputElement | null>
  /** What is below the field. */
  children?: ReactNode
}

/** A password, which stays in the field and in no state of the page. */
export function PasswordField(props: PasswordFieldProps): ReactElement {
  const { label, name, autoComplete, maxLength, visible, invalid, describedBy, ref, children } = props
  const id = useId()
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      <input
        id={id}
        ref={ref}
        name={name}
        type={visible ? 'text' : 'password'}
        autoComplete={autoComplete}
        maxLength={maxLength}
        required
        aria-invalid={invalid}
        aria-describedby={describedBy}
      />
      {children}
    </div>
  )
}
