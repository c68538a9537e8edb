import type { ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import type { ErrorRef } from '../api/types'
import { foreignError, foreignErrorName } from '../i18n/foreign'
import { useFormat, type Place } from '../i18n/format'
import { Clamped } from './Clamped'

interface ErrorNameProps {
  error: Pick<ErrorRef, 'name'>
  /** Where the error happened. */
  fact: Place
  /** The place that is shown beside it: the error names its own cell where that is another one. */
  beside: Place
}

export function ErrorName({ error, fact, beside }: ErrorNameProps): ReactElement {
  const { t } = useTranslation()
  const format = useFormat()
  const where = format.placeBeside(fact, beside)
  const whole = t('cell.at', { where: format.placeBeside(fact, beside, 'whole') })
  return (
    <>
      <code className="error-name clamped" title={foreignError(error.name)}>
        {foreignErrorName(error.name) || t('student.error')}
      </code>
      {where !== '' && (
        <>
          {' '}
          <Clamped className="fact-place" text={t('cell.at', { where })} whole={whole} />
        </>
      )}
    </>
  )
}
