import { useRef, type ReactElement, type RefObject } from 'react'
import { useTranslation } from 'react-i18next'

import type { HelpState } from '../../api/types'
import { useFormat } from '../../i18n/format'
import { Empty } from '../../ui/Notice'
import { AsOf } from '../../course/AsOf'
import { usePeople } from '../../course/people'
import { compareRequests } from '../../course/requests'
import type { StudentView } from '../../course/view'
import { HelpRequest } from './HelpRequest'

interface HelpListProps {
  courseId: string
  views: readonly StudentView[]
  now: number
  onOpen: (studentId: string) => void
}

interface Asked {
  view: StudentView
  request: HelpState
}

/**
 * The requests of those who are here, ordered by the time of the request; a claimed one keeps its place, so that nothing
 * moves under the pointer. Below them the requests whose students have left.
 */
export function HelpList({ courseId, views, now, onOpen }: HelpListProps): ReactElement {
  const { t } = useTranslation()
  const format = useFormat()
  const { role } = usePeople()
  const heading = useRef<HTMLHeadingElement>(null)
  const asked = (word: 'needsHelp' | 'leftWaiting'): Asked[] =>
    views
      .flatMap((view) => (view.help !== null && view.words[word] ? [{ view, request: view.help }] : []))
      .sort((a, b) => compareRequests(a.request, b.request))
  const here = asked('needsHelp')
  const left = asked('leftWaiting')
  const waiting = here.some(({ request }) => request.status === 'open')
  const shared = { courseId, now, onOpen, heading }
  return (
    <section className="card help-list" aria-labelledby="help-title">
      <header className="card__header">
        <h2 id="help-title" ref={heading} tabIndex={-1}>{t('help.title')}</h2>
        <span className={`count ${waiting ? 'count--help' : ''}`}>{format.number(here.length)}</span>
        <AsOf />
      </header>
      {here.length === 0 ? <Empty>{t('help.empty')}</Empty> : <Requests items={here} label={t('help.list')} {...shared} />}
      {left.length > 0 && (
        <details className="help-list__left">
          <summary>{t('help.left', { count: left.length })}</summary>
          <p className="hint">{t('help.leftHint')}</p>
          <Requests items={left} label={t('help.leftList')} {...shared} />
        </details>
      )}
      {role === 'observer' && <p className="hint card__footer">{t('help.observer')}</p>}
    </section>
  )
}

interface RequestsProps {
  items: readonly Asked[]
  label: string
  courseId: string
  now: number
  onOpen: (studentId: string) => void
  heading: RefObject<HTMLElement | null>
}

function Requests({ items, label, courseId, now, onOpen, heading }: RequestsProps): ReactElement {
  return (
    <ol className="help-list__items" aria-label={label}>
      {items.map(({ view, request }) => (
        <li key={request.request_id}>
          <HelpRequest
            courseId={courseId}
            request={request}
            view={view}
            now={now}
            focusWhenGone={heading}
            onOpen={() => onOpen(view.id)}
          />
        </li>
      ))}
    </ol>
  )
}
