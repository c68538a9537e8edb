import { useRef, type ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import type { HelpState } from '../../api/types'
import { useFormat } from '../../i18n/format'
import { Empty } from '../../ui/Notice'
import { AsOf } from '../../course/AsOf'
import { usePeople } from '../../course/people'
import { compareRequests, isActiveRequest } from '../../course/requests'
import { HelpRequest } from './HelpRequest'

interface HelpListProps {
  courseId: string
  requests: readonly HelpState[]
  nameOf: (studentId: string) => string
  now: number
  onOpen: (studentId: string) => void
}

/** Ordered by the time of the request. A claimed one keeps its place, so that nothing moves under the pointer. */
export function HelpList({ courseId, requests, nameOf, now, onOpen }: HelpListProps): ReactElement {
  const { t } = useTranslation()
  const format = useFormat()
  const { role } = usePeople()
  const heading = useRef<HTMLHeadingElement>(null)
  const shown = requests.filter(isActiveRequest).sort(compareRequests)
  const waiting = shown.some((request) => request.status === 'open')
  return (
    <section className="card help-list" aria-labelledby="help-title">
      <header className="card__header">
        <h2 id="help-title" ref={heading} tabIndex={-1}>{t('help.title')}</h2>
        <span className={`count ${waiting ? 'count--help' : ''}`}>{format.number(shown.length)}</span>
        <AsOf />
      </header>
      {shown.length === 0 ? (
        <Empty>{t('help.empty')}</Empty>
      ) : (
        <ol className="help-list__items" aria-label={t('help.list')}>
          {shown.map((request) => (
            <li key={request.request_id}>
              <HelpRequest
                courseId={courseId}
                request={request}
                name={nameOf(request.student_id)}
                now={now}
                focusWhenGone={heading}
                onOpen={() => onOpen(request.student_id)}
              />
            </li>
          ))}
        </ol>
      )}
      {role === 'observer' && <p className="hint card__footer">{t('help.observer')}</p>}
    </section>
  )
}
