import { createContext, use, useEffect, useMemo, useRef, useState, type ReactElement, type ReactNode } from 'react'

/** Announcements within this time are read out together, so that a busy minute is one sentence and not twenty. */
const THROTTLE_MS = 3_000

type Announce = (topic: string, text: string) => void

const AnnouncerContext = createContext<Announce>(() => undefined)

/** Announce a text to screen readers (`polite`). A later text on the same topic replaces one not yet announced. */
export function useAnnounce(): Announce {
  return use(AnnouncerContext)
}

export function Announcer({ children }: { children: ReactNode }): ReactElement {
  const [text, setText] = useState('')
  const waiting = useRef(new Map<string, string>())
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined)
  const lastAt = useRef(Number.NEGATIVE_INFINITY)

  const announce = useMemo<Announce>(() => {
    const flush = (): void => {
      timer.current = undefined
      lastAt.current = performance.now()
      setText([...waiting.current.values()].join(' '))
      waiting.current.clear()
    }
    return (topic, message) => {
      waiting.current.set(topic, message)
      timer.current ??= setTimeout(flush, Math.max(250, lastAt.current + THROTTLE_MS - performance.now()))
    }
  }, [])

  useEffect(
    () => () => {
      clearTimeout(timer.current)
      timer.current = undefined
    },
    [],
  )

  return (
    <AnnouncerContext value={announce}>
      {children}
      <div className="visually-hidden" role="status" aria-live="polite" aria-atomic="true" data-testid="announcer">
        {text}
      </div>
    </AnnouncerContext>
  )
}
