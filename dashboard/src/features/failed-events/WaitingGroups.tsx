import type { ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import type { WaitingGroup } from '../../api/types'
import { useFormat } from '../../i18n/format'
import { foreign } from '../../i18n/foreign'
import { Confirmed } from '../../ui/Confirmed'
import type { FailedSelection } from './failedEvents'
import { reasonOf } from '../../course/failure-reasons'
import type { Replay } from './useReplay'

interface WaitingGroupsProps {
  groups: readonly WaitingGroup[]
  replay: Replay
  courseName: (courseId: string | null) => string
}

/** What waits, one part for each reason: what happened, what to do first, and its courses. */
export function WaitingGroups({ groups, replay, courseName }: WaitingGroupsProps): ReactElement {
  const { t } = useTranslation()
  const codes = [...new Set(groups.map(({ reason }) => reason))]
  return (
    <>
      {codes.map((code) => {
        const reason = reasonOf(code)
        return (
          <section key={code} className="failed-events__reason" aria-label={t(`failedEvents.reason.${reason}`)}>
            <h3>
              {t(`failedEvents.reason.${reason}`)} <code>{foreign(code)}</code>
            </h3>
            <dl>
              <dt>{t('failedEvents.happened')}</dt>
              <dd>{t(`failedEvents.what.${reason}`)}</dd>
              <dt>{t('failedEvents.doFirst')}</dt>
              <dd>{t(`failedEvents.first.${reason}`)}</dd>
            </dl>
            <div className="records">
              <table className="records__stacked" aria-label={t(`failedEvents.reason.${reason}`)}>
                <thead>
                  <tr>
                    <th scope="col">{t('failedEvents.columns.course')}</th>
                    <th scope="col">{t('failedEvents.columns.count')}</th>
                    <th scope="col">{t('failedEvents.columns.oldest')}</th>
                    <th scope="col">{t('failedEvents.columns.newest')}</th>
                    <th scope="col">
                      <span className="visually-hidden">{t('failedEvents.columns.actions')}</span>
                    </th>
                  </tr>
                </thead>
                <tbody>
                  {groups
                    .filter((group) => group.reason === code)
                    .map((group) => (
                      <Row key={group.course_id ?? ''} group={group} replay={replay} course={courseName(group.course_id)} />
                    ))}
                </tbody>
              </table>
            </div>
          </section>
        )
      })}
    </>
  )
}

interface RowProps {
  group: WaitingGroup
  replay: Replay
  course: string
}

function Row({ group, replay, course }: RowProps): ReactElement {
  const { t } = useTranslation()
  const format = useFormat()
  const { count } = group
  return (
    <tr>
      <th scope="row">{course}</th>
      <td data-label={t('failedEvents.columns.count')}>{format.number(count)}</td>
      <td data-label={t('failedEvents.columns.oldest')}>{format.moment(group.oldest)}</td>
      <td data-label={t('failedEvents.columns.newest')}>{format.moment(group.newest)}</td>
      <td className="records__actions">
        <ReplayButton
          label={t('failedEvents.replayFor', { course, reason: t(`failedEvents.reason.${reasonOf(group.reason)}`) })}
          count={count}
          replay={replay}
          selection={{ reason: group.reason, course: group.course_id }}
        />
      </td>
    </tr>
  )
}

interface ReplayButtonProps {
  /** Names what is replayed. */
  label: string
  count: number
  replay: Replay
  selection: FailedSelection
  text?: string
}

/** Begins a replay after a question; absent while one goes on, of which `ReplayState` tells. */
export function ReplayButton({ label, count, replay, selection, text }: ReplayButtonProps): ReactElement | null {
  const { t } = useTranslation()
  const { mutation } = replay
  if (mutation.isPending) return null
  const texts = {
    ask: text ?? t('failedEvents.replay'),
    askFor: label,
    question: t('failedEvents.question'),
    sure: t('failedEvents.sure', { count }),
    pending: t('failedEvents.starting'),
    keep: t('failedEvents.keep'),
  }
  return (
    <Confirmed
      label={label}
      texts={texts}
      action={null}
      onConfirmed={(done) => {
        done()
        mutation.mutate(selection)
      }}
    />
  )
}
