import { useDeferredValue, useEffect, useId, useMemo, useRef, useState, type ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { useAnnounce } from '../../ui/Announcer'
import { useFormat } from '../../i18n/format'
import { Button } from '../../ui/Button'
import { Icon } from '../../ui/Icon'
import { Empty } from '../../ui/Notice'
import { AsOf } from '../../course/AsOf'
import { StudentGrid } from './StudentGrid'
import { arrange, filters, sorts, type Filter, type Sort } from '../../course/arrangement'
import type { StudentView } from '../../course/view'

const ADDRESS_MS = 300

/** Search, filter and order of the list, as the page's address has them. */
export interface ListView {
  search: string
  filter: Filter
  sort: Sort
}

interface StudentListProps {
  views: readonly StudentView[]
  counts: Readonly<Record<Filter, number>>
  view: ListView
  onView: (change: Partial<ListView>) => void
  now: number
  onOpen: (studentId: string) => void
}

export function StudentList({ views, counts, view, onView, now, onOpen }: StudentListProps): ReactElement {
  const { t } = useTranslation()
  const format = useFormat()
  const ids = { search: useId(), sort: useId(), keys: useId(), filter: useId() }
  // Typed text is local state and written to the address after a pause: an input bound to the address loses characters
  // and breaks the composition of Japanese text.
  const [text, setText] = useState(view.search)
  const search = useDeferredValue(text)
  useEffect(() => {
    if (text === view.search) return
    const timer = setTimeout(() => onView({ search: text }), ADDRESS_MS)
    return () => clearTimeout(timer)
  }, [text, view.search, onView])
  const shown = useMemo(
    () => arrange(views, { search, filter: view.filter, sort: view.sort }, format.collator),
    [views, search, view.filter, view.sort, format.collator],
  )

  // The number is announced when a person narrows the list, not each time the class changes it.
  const announce = useAnnounce()
  const count = t('students.count', { shown: shown.length, count: views.length })
  const latest = useRef(count)
  useEffect(() => {
    latest.current = count
  }, [count])
  const narrowed = `${view.filter}\n${search}`
  const before = useRef(narrowed)
  useEffect(() => {
    if (before.current === narrowed) return
    before.current = narrowed
    announce('list', latest.current)
  }, [narrowed, announce])

  return (
    <section className="card students" aria-labelledby="students-title">
      <header className="card__header">
        <h2 id="students-title">{t('students.title')}</h2>
        <span className="card__note">{count}</span>
        <AsOf />
      </header>
      <div className="students__tools" role="search" aria-labelledby="students-title">
        <div className="field field--search">
          <label htmlFor={ids.search}>{t('students.search')}</label>
          <div className="field__box">
            <Icon name="search" />
            <input
              id={ids.search}
              type="search"
              value={text}
              placeholder={t('students.searchHint')}
              maxLength={100}
              autoComplete="off"
              spellCheck={false}
              onChange={(event) => setText(event.target.value)}
            />
          </div>
        </div>
        <div className="field">
          <label htmlFor={ids.sort}>{t('students.sort')}</label>
          <select id={ids.sort} value={view.sort} onChange={(event) => onView({ sort: event.target.value as Sort })}>
            {sorts.map((sort) => (
              <option key={sort} value={sort}>
                {t(`students.sorts.${sort}`)}
              </option>
            ))}
          </select>
        </div>
        <div className="chips" role="group" aria-label={t('students.filter')}>
          {filters.map((filter) => (
            <button
              key={filter}
              type="button"
              className="chip"
              aria-pressed={view.filter === filter}
              onClick={() => onView({ filter })}
            >
              {t(`students.filters.${filter}`)} <span className="chip__count">{format.number(counts[filter])}</span>
            </button>
          ))}
        </div>
      </div>
      {views.length === 0 ? (
        <Empty>{t('students.empty')}</Empty>
      ) : shown.length === 0 ? (
        <Empty>
          {t('students.noMatch')}{' '}
          <Button
            onClick={() => {
              setText('')
              onView({ filter: 'all' })
            }}
          >
            {t('students.reset')}
          </Button>
        </Empty>
      ) : (
        <>
          <p id={ids.keys} className="visually-hidden">
            {t('students.keys')}
          </p>
          <StudentGrid views={shown} sort={view.sort} now={now} describedBy={ids.keys} onOpen={onOpen} />
        </>
      )}
    </section>
  )
}
