import type { ReactElement, ReactNode } from 'react'

import { Icon, type IconName } from './Icon'

interface NoticeProps {
  tone: 'info' | 'warning' | 'error'
  children: ReactNode
  action?: ReactNode
  /** Read out when it appears: `alert` at once, `status` in a pause. */
  role?: 'alert' | 'status'
}

const icons: Readonly<Record<NoticeProps['tone'], IconName>> = { info: 'info', warning: 'stuck', error: 'error' }

export function Notice({ tone, children, action, role }: NoticeProps): ReactElement {
  return (
    <div className={`notice notice--${tone}`} role={role}>
      <Icon name={icons[tone]} />
      <div className="notice__text">{children}</div>
      {action}
    </div>
  )
}

export function Empty({ children }: { children: ReactNode }): ReactElement {
  return <p className="empty">{children}</p>
}

export function Loading({ label }: { label: string }): ReactElement {
  return (
    <p className="loading" role="status">
      <span className="loading__dots" aria-hidden="true">
        <span />
        <span />
        <span />
      </span>
      {label}
    </p>
  )
}
