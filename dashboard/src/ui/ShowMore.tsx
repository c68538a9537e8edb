import { useRef, useState, type ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { Button } from './Button'

/** Rows that are drawn at once. A browser needs half a minute for twenty thousand, in which it does nothing else. */
export const ROWS_AT_ONCE = 200

interface Portion<Row> {
  shown: readonly Row[]
  total: number
  more: () => void
}

/** The beginning of a long list, which grows on request and begins again when the list is narrowed otherwise. */
export function usePortion<Row>(rows: readonly Row[], narrowedBy = ''): Portion<Row> {
  const [grown, setGrown] = useState({ narrowedBy, count: ROWS_AT_ONCE })
  const count = grown.narrowedBy === narrowedBy ? grown.count : ROWS_AT_ONCE
  return {
    shown: rows.slice(0, count),
    total: rows.length,
    more: () => setGrown({ narrowedBy, count: count + ROWS_AT_ONCE }),
  }
}

interface ShowMoreProps {
  portion: Portion<unknown>
  /** Whether something was searched for, so that the count is of interest although everything is shown. */
  searched?: boolean
}

/** How much of a list is shown, which is read out when it changes, and a button for more. */
export function ShowMore({ portion: { shown, total, more }, searched = false }: ShowMoreProps): ReactElement {
  const { t } = useTranslation()
  const status = useRef<HTMLParagraphElement>(null)
  const rest = total - shown.length
  return (
    <div className="show-more">
      <p ref={status} role="status" tabIndex={-1} className="hint">
        {(searched || total > ROWS_AT_ONCE) && t('app.shown', { shown: shown.length, count: total })}
      </p>
      {rest > 0 && (
        <Button
          onClick={() => {
            // The button goes with the last rows; the focus stays where it was.
            if (rest <= ROWS_AT_ONCE) status.current?.focus()
            more()
          }}
        >
          {t('app.showMore')}
        </Button>
      )}
    </div>
  )
}
