import type { ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import type { HelpState } from '../../api/types'
import { Clamped } from '../../course/Clamped'
import { ErrorName } from '../../course/ErrorName'
import { HelpMessage } from '../../course/HelpMessage'
import { foreign, foreignError } from '../../i18n/foreign'
import { useFormat } from '../../i18n/format'
import { ReasonText } from '../../course/ReasonText'
import type { StudentView } from '../../course/view'

interface StudentSummaryProps {
  view: StudentView
  history: readonly HelpState[]
  now: number
}

export function StudentSummary({ view, history, now }: StudentSummaryProps): ReactElement {
  const { t } = useTranslation()
  const format = useFormat()
  const { student, reasons } = view
  const run = student.last_execution
  const deaths = student.kernel_deaths
  const running = { notebook: student.running_notebook, cell: student.running_cell }
  const since = student.running_since == null ? '' : format.ago(student.running_since, now)
  return (
    <>
      <dl className="facts">
        {reasons.length > 0 && (
          <div>
            <dt>{t('student.reasons')}</dt>
            <dd>
              <ul className="plain-list">
                {reasons.map((reason) => (
                  <li key={reason.kind}>
                    <ReasonText reason={reason} now={now} beside={student} />
                  </li>
                ))}
              </ul>
            </dd>
          </div>
        )}
        <div>
          <dt>{t('student.now')}</dt>
          <dd>
            <Clamped text={format.place(student) || t('students.none')} whole={format.place(student, 'whole')} />
          </dd>
        </div>
        {view.words.running && (
          <div>
            <dt>{t('student.running')}</dt>
            <dd>
              <Clamped text={format.place(running)} whole={format.place(running, 'whole')} /> <time dateTime={student.running_since ?? undefined}>{since}</time>
            </dd>
          </div>
        )}
        <div>
          <dt>{t('student.lastActivity')}</dt>
          <dd>
            {student.last_activity_at == null ? (
              t('students.never')
            ) : (
              <time dateTime={student.last_activity_at}>{format.ago(student.last_activity_at, now)}</time>
            )}
          </dd>
        </div>
        <div>
          <dt>{t('student.lastRun')}</dt>
          <dd>
            {run == null ? (
              t('students.none')
            ) : (
              <>
                <span className={`run-status run-status--${run.status}`}>{t(`student.runStatus.${run.status}`)}</span>{' '}
                <time dateTime={run.at}>{format.time(run.at, now)}</time>{' '}
                <Clamped text={format.place(run)} whole={format.place(run, 'whole')} />
                {run.error != null && (
                  <span className="facts__error">
                    <ErrorName error={run.error} fact={run} beside={run} /> {foreignError(run.error.value)}
                  </span>
                )}
              </>
            )}
          </dd>
        </div>
        {deaths != null && (
          <div>
            <dt>{t('student.kernelDeaths')}</dt>
            <dd>
              {t('student.kernelDeathsText', { count: deaths.count, time: format.time(deaths.since, now) })}{' '}
              <Clamped text={format.place(deaths)} whole={format.place(deaths, 'whole')} />
            </dd>
          </div>
        )}
        <div>
          <dt>{t('student.totals')}</dt>
          <dd>
            {t('student.totalsText', {
              count: student.runs,
              errors: format.number(student.errors),
              aborted: format.number(student.aborted),
            })}
          </dd>
        </div>
        <div>
          <dt>{t('student.cellsOk')}</dt>
          <dd>{format.number(student.cells_ok)}</dd>
        </div>
      </dl>
      {history.length > 0 && (
        <section aria-labelledby="help-history">
          <h3 id="help-history">{t('student.helpHistory')}</h3>
          <ul className="plain-list history">
            {history.map((request) => (
              <li key={request.request_id}>
                <time dateTime={request.requested_at}>{format.time(request.requested_at, now)}</time>
                <span className="history__status">{t(`student.helpStatus.${request.status}`)}</span>
                {foreign(request.message) !== '' && (
                  <HelpMessage text={foreign(request.message)} name={format.time(request.requested_at, now)} quoted="inline" />
                )}
              </li>
            ))}
          </ul>
        </section>
      )}
    </>
  )
}
