import { useEffect, useRef, useState, type ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { Button } from './Button'
import { explainChange } from './ErrorNotice'

interface ConfirmedProps {
  /** Names what the action concerns. */
  label: string
  /** The button that asks, with its accessible name; what it asks; the button that acts, before and while it does; the way back. */
  texts: { ask: string; askFor: string; question?: string; sure: string; pending: string; keep: string }
  /** The action and its last try; null where the page shows these elsewhere. */
  action: { isPending: boolean; error: unknown; reset: () => void } | null
  /** `done` shows the first button again, where the component stays on the page. */
  onConfirmed: (done: () => void) => void
}

/** An action that cannot be undone: it is carried out after a second click only, and says why it failed. */
export function Confirmed({ label, texts, action, onConfirmed }: ConfirmedProps): ReactElement {
  const { t } = useTranslation()
  const [asked, setAsked] = useState(false)
  const isPending = action?.isPending === true
  // Why the last try failed is said until the question is answered or asked again. What goes on is still to be reported.
  const ask = (next: boolean): void => {
    if (!isPending) action?.reset()
    setAsked(next)
  }
  const group = useRef<HTMLDivElement>(null)
  const was = useRef(asked)
  useEffect(() => {
    // The button that was pressed is gone; the focus goes to the first one that took its place.
    if (was.current !== asked) group.current?.querySelector('button')?.focus()
    was.current = asked
  }, [asked])
  return (
    <div ref={group} className="confirmed" role="group" aria-label={label}>
      {asked ? (
        <>
          {texts.question !== undefined && <span>{texts.question}</span>}
          <Button variant="primary" pending={isPending} onClick={() => onConfirmed(() => setAsked(false))}>
            {isPending ? texts.pending : texts.sure}
          </Button>
          <Button onClick={() => ask(false)}>{texts.keep}</Button>
        </>
      ) : (
        <Button variant="quiet" aria-label={texts.askFor} onClick={() => ask(true)}>
          {texts.ask}
        </Button>
      )}
      {action !== null && action.error !== null && (
        <p className="confirmed__error" role="alert">
          {explainChange(action.error, t)}
        </p>
      )}
    </div>
  )
}
