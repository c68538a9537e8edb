import { useId, useLayoutEffect, useRef, useState, type ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

interface HelpMessageProps {
  /** What the student wrote, safe to show. */
  text: string
  /** Whose message it is. */
  name: string
  quoted?: 'block' | 'inline'
}

/** A message: of a long one a few lines, and all of it at the press of a button. */
export function HelpMessage({ text, name, quoted = 'block' }: HelpMessageProps): ReactElement {
  const { t } = useTranslation()
  const id = useId()
  const body = useRef<HTMLQuoteElement>(null)
  const [long, setLong] = useState(false)
  const [whole, setWhole] = useState(false)

  useLayoutEffect(() => {
    const element = body.current
    // Shown as a whole, nothing of it is hidden that could be measured.
    if (element === null || whole) return
    const measure = (): void => setLong(element.scrollHeight > element.clientHeight)
    measure()
    // How many lines it has changes with the width of the list.
    const observer = new ResizeObserver(measure)
    observer.observe(element)
    return () => observer.disconnect()
  }, [text, whole])

  const Quote = quoted === 'block' ? 'blockquote' : 'q'
  const label = whole ? 'help.showLess' : 'help.showAll'
  return (
    <div className="help-message">
      <Quote
        ref={body}
        id={id}
        className={whole ? 'help-message__text' : 'help-message__text help-message__text--cut'}
        aria-label={quoted === 'block' ? t('help.message') : undefined}
      >
        {text}
      </Quote>
      {long && (
        <button
          type="button"
          className="link help-message__more"
          aria-expanded={whole}
          aria-controls={id}
          aria-label={t(`${label}For`, { name })}
          onClick={() => setWhole(!whole)}
        >
          {t(label)}
        </button>
      )}
    </div>
  )
}
