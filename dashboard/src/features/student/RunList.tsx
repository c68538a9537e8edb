import { useMemo, type ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import type { Run, RunOutput } from '../../api/types'
import { Clamped } from '../../course/Clamped'
import { plainText } from '../../i18n/ansi'
import { foreign, foreignError, foreignErrorName } from '../../i18n/foreign'
import { useFormat } from '../../i18n/format'
import { Button } from '../../ui/Button'
import { ErrorNotice } from '../../ui/ErrorNotice'
import { Icon, type IconName } from '../../ui/Icon'
import { Empty } from '../../ui/Notice'
import { highlight } from './highlight'

interface RunListProps {
  runs: readonly Run[]
  now: number
  more: boolean
  loadingMore: boolean
  error: Error | null
  onMore: () => void
}

/** Newest first; the newest is expanded. */
export function RunList({ runs, now, more, loadingMore, error, onMore }: RunListProps): ReactElement {
  const { t } = useTranslation()
  if (runs.length === 0) return <Empty>{t('student.noRuns')}</Empty>
  return (
    <>
      <ol className="runs" aria-label={t('student.runs')}>
        {runs.map((run, index) => (
          <li key={run.event_id}>
            <RunItem run={run} now={now} open={index === 0} />
          </li>
        ))}
      </ol>
      {error !== null && <ErrorNotice error={error} onRetry={onMore} />}
      {more ? (
        <Button pending={loadingMore} onClick={onMore}>
          {loadingMore ? t('student.olderPending') : t('student.older')}
        </Button>
      ) : (
        <p className="hint">{t('student.end')}</p>
      )}
    </>
  )
}

const icons: Readonly<Record<Run['status'], IconName>> = { ok: 'ok', error: 'error', aborted: 'aborted' }

function RunItem({ run, now, open }: { run: Run; now: number; open: boolean }): ReactElement {
  const { t } = useTranslation()
  const format = useFormat()
  const where = format.place(run)
  const whole = format.place(run, 'whole')
  const end = foreignErrorName(run.error?.name) || t(`student.runStatus.${run.status}`)
  // Of a cell that its author lets fail, also that it did not.
  const expected = run.error === null ? 'student.errorMissing' : 'student.errorExpected'
  const word = run.error_expected && run.status !== 'aborted' ? t(expected, { end }) : end
  return (
    <details className={`run run--${run.status}`} open={open}>
      <summary>
        <Icon name="chevron" />
        <span className={`run-status run-status--${run.status}`}>
          <Icon name={icons[run.status]} />
          {word}
        </span>
        <Clamped className="run__where" text={where} whole={whole} />
        <span className="run__when">
          <time dateTime={run.at}>{format.time(run.at, now)}</time>
          {run.duration_ms != null && (
            <span className="run__took">{t('student.took', { duration: format.exactDuration(run.duration_ms) })}</span>
          )}
        </span>
      </summary>
      <div className="run__body">
        {whole !== where && <p className="run__whole">{whole}</p>}
        <h3>{t('student.code')}</h3>
        {run.code === '' ? (
          <p className="hint">{t('student.noCode')}</p>
        ) : (
          <Code code={run.code} label={t('student.code')} />
        )}
        {run.code_truncated && <p className="hint">{t('student.truncatedPlain')}</p>}
        {run.outputs.length > 0 && (
          <>
            <h3>{t('student.output')}</h3>
            {run.outputs.map((output, index) => (
              // Outputs have no id, and those of a stored run never change their order.
              <Output key={index} output={output} />
            ))}
            {run.outputs_truncated && <p className="hint">{t('student.truncatedPlain')}</p>}
          </>
        )}
        {run.error != null && (
          <>
            <h3>{t('student.error')}</h3>
            <ErrorText run={run} />
          </>
        )}
      </div>
    </details>
  )
}

function Code({ code, label }: { code: string; label: string }): ReactElement {
  const tokens = useMemo(() => highlight(plainText(code)), [code])
  return (
    // eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- long lines scroll with the keyboard
    <pre className="code" role="group" aria-label={label} tabIndex={0}>
      <code>
        {tokens.map((token, index) => (
          <span key={index} className={`code__${token.kind}`}>
            {token.text}
          </span>
        ))}
      </code>
    </pre>
  )
}

function Output({ output }: { output: RunOutput }): ReactElement {
  const { t } = useTranslation()
  const format = useFormat()
  const text = useMemo(() => plainText(output.text), [output.text])
  if (text === '') {
    const mime = foreign(output.mime) || output.type
    return <p className="hint">{t('student.noText', { mime, size: format.bytes(output.size) })}</p>
  }
  return (
    <>
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- as above */}
      <pre className={`output output--${output.name === 'stderr' ? 'stderr' : output.type}`} role="group" aria-label={t('student.output')} tabIndex={0}>
        {text}
      </pre>
      {output.truncated === true && (
        <p className="hint">{t('student.truncated', { size: format.bytes(output.size) })}</p>
      )}
    </>
  )
}

function ErrorText({ run }: { run: Run }): ReactElement | null {
  const { t } = useTranslation()
  const { error } = run
  if (error == null) return null
  const traceback = plainText(error.traceback)
  const name = (foreignErrorName(error.name) && foreignError(error.name)) || t('student.error')
  return (
    <>
      <p className="run__error">
        <code className="error-name">{name}</code> {plainText(error.value)}
      </p>
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- as above */}
      <pre className="output output--error" role="group" aria-label={t('student.error')} tabIndex={0}>
        {traceback === '' ? `${name}: ${plainText(error.value)}` : traceback}
      </pre>
      {error.truncated === true && <p className="hint">{t('student.truncatedPlain')}</p>}
    </>
  )
}
