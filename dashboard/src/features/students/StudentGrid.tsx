import { defaultRangeExtractor, useWindowVirtualizer, type Range } from '@tanstack/react-virtual'
import {
  memo,
  useCallback,
  useEffect,
  useLayoutEffect,
  useRef,
  useState,
  type CSSProperties,
  type KeyboardEvent,
  type ReactElement,
} from 'react'
import { useTranslation } from 'react-i18next'

import { foreignError } from '../../i18n/foreign'
import { useFormat, type Length } from '../../i18n/format'
import { Clamped } from '../../course/Clamped'
import { ErrorName } from '../../course/ErrorName'
import { PersonName } from '../../course/PersonName'
import { StatusTag } from '../../course/StatusTag'
import type { Sort } from '../../course/arrangement'
import { placeOfCondition, type StudentView } from '../../course/view'

const columns = ['name', 'status', 'notebook', 'cell', 'error', 'since'] as const
const sortedColumn: Partial<Record<Sort, (typeof columns)[number]>> = {
  name: 'name',
  attention: 'status',
  activity: 'since',
  errors: 'error',
}

/** Height of a row before it is measured, in root font sizes. */
const ROW_REM = 2.5
/** Height of the sticky page heading. */
const STICKY_PX = 120
const PAGE_ROWS = 10
/** Up to this size all rows are drawn, so that the browser's own search and printing include them. */
const ALL_DRAWN = 80

interface StudentGridProps {
  views: readonly StudentView[]
  sort: Sort
  now: number
  describedBy: string
  onOpen: (studentId: string) => void
}

/**
 * The visible rows, and the focused one wherever it is. One row is in the tab order; the arrow keys,
 * Home, End and the page keys move between rows.
 */
export function StudentGrid({ views, sort, now, describedBy, onOpen }: StudentGridProps): ReactElement {
  const { t } = useTranslation()
  const body = useRef<HTMLDivElement>(null)
  const [top, setTop] = useState(0)
  /** The student, not the row: when the order changes the focus stays on the same student. */
  const [activeId, setActiveId] = useState<string | null>(null)
  const focusWanted = useRef(false)
  const found = views.findIndex((view) => view.id === activeId)
  const activeIndex = Math.max(0, found)

  useLayoutEffect(() => {
    const measure = (): void => {
      if (body.current !== null) setTop(Math.round(body.current.getBoundingClientRect().top + window.scrollY))
    }
    measure()
    // The height of the parts above the list changes with the class.
    const observer = new ResizeObserver(measure)
    observer.observe(document.body)
    return () => observer.disconnect()
  }, [])

  const virtualizer = useWindowVirtualizer({
    count: views.length,
    estimateSize: () => ROW_REM * (Number.parseFloat(getComputedStyle(document.documentElement).fontSize) || 16),
    getItemKey: (index) => views[index]?.id ?? index,
    overscan: views.length <= ALL_DRAWN ? views.length : 8,
    scrollMargin: top,
    scrollPaddingStart: STICKY_PX,
    scrollPaddingEnd: 16,
    rangeExtractor: useCallback(
      (range: Range) => {
        const indexes = new Set(defaultRangeExtractor(range))
        if (found >= 0) indexes.add(found)
        return [...indexes].sort((a, b) => a - b)
      },
      [found],
    ),
  })

  useEffect(() => {
    if (!focusWanted.current) return
    focusWanted.current = false
    body.current?.querySelector<HTMLElement>('[data-active="true"] button')?.focus({ preventScroll: true })
  }, [activeId])

  const onKeyDown = (event: KeyboardEvent): void => {
    const target = {
      ArrowDown: activeIndex + 1,
      ArrowUp: activeIndex - 1,
      PageDown: activeIndex + PAGE_ROWS,
      PageUp: activeIndex - PAGE_ROWS,
      Home: 0,
      End: views.length - 1,
    }[event.key]
    if (target === undefined || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return
    event.preventDefault()
    const index = Math.min(views.length - 1, Math.max(0, target))
    const next = views[index]
    if (next === undefined || next.id === activeId) return
    focusWanted.current = true
    setActiveId(next.id)
    virtualizer.scrollToIndex(index)
  }

  return (
    <div
      className="grid"
      role="grid"
      aria-label={t('students.grid')}
      aria-describedby={describedBy}
      aria-rowcount={views.length + 1}
      aria-colcount={columns.length}
    >
      <div className="grid__head" role="row" aria-rowindex={1}>
        {columns.map((column) => (
          <div
            key={column}
            role="columnheader"
            className={`grid__cell grid__cell--${column}`}
            aria-sort={
              sortedColumn[sort] !== column
                ? undefined
                : column === 'name'
                  ? 'ascending'
                  : 'descending'
            }
          >
            {t(`students.columns.${column}`)}
          </div>
        ))}
      </div>
      {/* Rows are focused through the button in each; the group only handles the keys that bubble. */}
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-element-interactions */}
      <div
        ref={body}
        role="rowgroup"
        className="grid__body"
        style={{ height: virtualizer.getTotalSize() }}
        onKeyDown={onKeyDown}
      >
        {virtualizer.getVirtualItems().map((item) => {
          const view = views[item.index]
          if (view === undefined) return null
          return (
            <StudentRow
              key={item.key}
              view={view}
              index={item.index}
              offset={item.start - top}
              active={item.index === activeIndex}
              now={now}
              measure={virtualizer.measureElement}
              onActive={setActiveId}
              onOpen={onOpen}
            />
          )
        })}
      </div>
    </div>
  )
}

interface StudentRowProps {
  view: StudentView
  index: number
  offset: number
  active: boolean
  now: number
  measure: (element: HTMLElement | null) => void
  onActive: (studentId: string) => void
  onOpen: (studentId: string) => void
}

const StudentRow = memo(function StudentRow({
  view,
  index,
  offset,
  active,
  now,
  measure,
  onActive,
  onOpen,
}: StudentRowProps): ReactElement {
  const { t } = useTranslation()
  const format = useFormat()
  const { student } = view
  const run = student.last_execution
  const failed = run?.status === 'error' ? run.error : null
  const place = placeOfCondition(view)
  const where = (length: Length): string => (place === null ? '' : format.placeBeside(place, student, length))
  const style: CSSProperties = { transform: `translateY(${offset}px)` }
  const statusId = `status-${view.id}`
  const errorId = `error-${view.id}`
  return (
    <div
      ref={measure}
      data-index={index}
      data-active={active}
      role="row"
      aria-rowindex={index + 2}
      className={`grid__row grid__row--${view.condition}`}
      style={style}
    >
      <div role="rowheader" className="grid__cell grid__cell--name">
        <button
          type="button"
          className="grid__open"
          tabIndex={active ? 0 : -1}
          aria-describedby={failed == null ? statusId : `${statusId} ${errorId}`}
          aria-haspopup="dialog"
          title={view.label.text}
          onFocus={() => onActive(view.id)}
          onClick={() => onOpen(view.id)}
        >
          <PersonName label={view.label} />
        </button>
        {student.joined && <span className="grid__joined">{t('joining.joined')}</span>}
      </div>
      <div role="gridcell" className="grid__cell grid__cell--status">
        <StatusTag condition={view.condition} id={statusId} />
        {where('narrow') !== '' && (
          <Clamped
            className="fact-place"
            text={t('cell.at', { where: where('narrow') })}
            whole={t('cell.at', { where: where('whole') })}
          />
        )}
      </div>
      <div role="gridcell" className="grid__cell grid__cell--notebook">
        <Clamped text={format.notebook(student.notebook, 'narrow') || t('students.none')} whole={format.notebook(student.notebook, 'whole')} />
      </div>
      <div role="gridcell" className="grid__cell grid__cell--cell">
        <Clamped text={format.cell(student.cell, 'narrow') || t('students.none')} whole={format.cell(student.cell, 'whole')} />
      </div>
      <div role="gridcell" className="grid__cell grid__cell--error" id={errorId}>
        {run == null || failed == null ? (
          t('students.none')
        ) : (
          <>
            <ErrorName error={failed} fact={run} beside={student} />{' '}
            <span className="error-value">{foreignError(failed.value)}</span>
          </>
        )}
      </div>
      <div role="gridcell" className="grid__cell grid__cell--since">
        {student.last_activity_at == null ? (
          t('students.never')
        ) : (
          <time dateTime={student.last_activity_at}>{format.ago(student.last_activity_at, now)}</time>
        )}
      </div>
    </div>
  )
})
