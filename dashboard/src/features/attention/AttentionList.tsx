import { useRef, useState, type ReactElement, type RefObject } from 'react'
import { useTranslation } from 'react-i18next'

import type { Thresholds } from '../../api/types'
import { useFormat } from '../../i18n/format'
import { Button } from '../../ui/Button'
import { useFocusWhenGone } from '../../ui/focus'
import { Empty } from '../../ui/Notice'
import { AsOf } from '../../course/AsOf'
import { Clamped } from '../../course/Clamped'
import { PersonName } from '../../course/PersonName'
import { StatusTag } from '../../course/StatusTag'
import { compareUrgency, type StudentView } from '../../course/view'
import { ReasonText } from '../../course/ReasonText'

/** Items shown at first; the list shows how many follow. */
const SHOWN_FIRST = 8

interface AttentionListProps {
  views: readonly StudentView[]
  thresholds: Thresholds
  now: number
  onOpen: (studentId: string) => void
}

export function AttentionList({ views, thresholds, now, onOpen }: AttentionListProps): ReactElement {
  const { t } = useTranslation()
  const format = useFormat()
  const heading = useRef<HTMLHeadingElement>(null)
  const [all, setAll] = useState(false)
  const needy = views
    .filter((view) => view.reasons.length > 0)
    .sort((a, b) => compareUrgency(a.reasons, b.reasons) || format.collator.compare(a.label.name, b.label.name))
  const shown = all ? needy : needy.slice(0, SHOWN_FIRST)
  const hidden = needy.length - shown.length
  const rule = t('attention.rule', {
    errors: thresholds.stuck_errors,
    deaths: thresholds.kernel_deaths,
    run: format.span(thresholds.long_run_s),
    idle: format.span(thresholds.idle_s),
  })
  return (
    <section className="card attention" aria-labelledby="attention-title">
      <header className="card__header">
        <h2 id="attention-title" ref={heading} tabIndex={-1}>{t('attention.title')}</h2>
        <span className="count">{format.number(needy.length)}</span>
        <AsOf />
      </header>
      {needy.length === 0 ? (
        <Empty>{t('attention.empty')}</Empty>
      ) : (
        <ol className="attention__list" aria-label={t('attention.list')}>
          {shown.map((view) => (
            <AttentionItem key={view.id} view={view} now={now} onOpen={onOpen} heading={heading} />
          ))}
        </ol>
      )}
      <footer className="card__footer">
        {(hidden > 0 || all) && needy.length > SHOWN_FIRST && (
          <Button variant="quiet" aria-expanded={all} onClick={() => setAll(!all)}>
            {all ? t('attention.less') : t('attention.more', { count: hidden })}
          </Button>
        )}
        <p className="hint">{rule}</p>
      </footer>
    </section>
  )
}

interface AttentionItemProps {
  view: StudentView
  now: number
  onOpen: (studentId: string) => void
  heading: RefObject<HTMLElement | null>
}

function AttentionItem({ view, now, onOpen, heading }: AttentionItemProps): ReactElement {
  const format = useFormat()
  const item = useRef<HTMLLIElement>(null)
  useFocusWhenGone(item, heading)
  const { t } = useTranslation()
  const where = format.place(view.student)
  return (
    <li ref={item} className={`attention__item attention__item--${view.condition}`}>
      <StatusTag condition={view.condition} />
      <div className="attention__who">
        <button type="button" className="link attention__name" title={view.label.text} onClick={() => onOpen(view.id)}>
          <PersonName label={view.label} />
        </button>
        {where !== '' && (
          <Clamped
            className="attention__where"
            text={t('attention.now', { where })}
            whole={t('attention.now', { where: format.place(view.student, 'whole') })}
          />
        )}
      </div>
      <ul className="attention__reasons">
        {view.reasons.map((reason) => (
          <li key={reason.kind}>
            <ReasonText reason={reason} now={now} beside={view.student} />
          </li>
        ))}
      </ul>
    </li>
  )
}
