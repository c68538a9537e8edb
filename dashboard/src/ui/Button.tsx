import type { ButtonHTMLAttributes, ReactElement, ReactNode } from 'react'

interface ButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  variant?: 'primary' | 'plain' | 'quiet'
  /** While an action is in progress: the button keeps the focus and a label of the action, and ignores clicks. */
  pending?: boolean
  children: ReactNode
}

export function Button({
  variant = 'plain',
  pending = false,
  type = 'button',
  className,
  onClick,
  children,
  ...rest
}: ButtonProps): ReactElement {
  return (
    <button
      {...rest}
      type={type}
      className={['button', `button--${variant}`, className].filter(Boolean).join(' ')}
      aria-disabled={pending || undefined}
      onClick={(event) => {
        // A disabled button would lose the focus; `aria-disabled` keeps it.
        if (pending) event.preventDefault()
        else onClick?.(event)
      }}
    >
      {children}
    </button>
  )
}
