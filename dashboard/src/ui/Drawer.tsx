import { useEffect, useId, useRef, type ReactElement, type ReactNode } from 'react'
import { useTranslation } from 'react-i18next'

import { Button } from './Button'
import { Icon } from './Icon'

interface DrawerProps {
  title: ReactNode
  onClose: () => void
  children: ReactNode
}

/**
 * A modal dialog at the side of the page. The browser's own `<dialog>` keeps the focus inside, makes the rest inert,
 * closes on Esc and returns the focus to the element that opened it.
 */
export function Drawer({ title, onClose, children }: DrawerProps): ReactElement {
  const { t } = useTranslation()
  const dialog = useRef<HTMLDialogElement>(null)
  const heading = useRef<HTMLHeadingElement>(null)
  const titleId = useId()

  useEffect(() => {
    const element = dialog.current
    if (element === null) return
    const opener = document.activeElement
    if (!element.open) element.showModal()
    heading.current?.focus()
    return () => {
      element.close()
      if (opener instanceof HTMLElement && opener.isConnected) opener.focus()
    }
  }, [])

  return (
    // The click is a convenience in addition to the close button and Esc, which the element itself handles.
    // eslint-disable-next-line jsx-a11y/no-noninteractive-element-interactions, jsx-a11y/click-events-have-key-events
    <dialog
      ref={dialog}
      className="drawer"
      aria-labelledby={titleId}
      onCancel={(event) => {
        event.preventDefault()
        onClose()
      }}
      onClick={(event) => {
        if (event.target === dialog.current) onClose()
      }}
    >
      <div className="drawer__panel">
        <header className="drawer__header">
          <h2 id={titleId} ref={heading} tabIndex={-1} className="drawer__title">
            {title}
          </h2>
          <Button variant="quiet" className="button--icon" aria-label={t('app.close')} onClick={onClose}>
            <Icon name="close" />
          </Button>
        </header>
        <div className="drawer__body">{children}</div>
      </div>
    </dialog>
  )
}
