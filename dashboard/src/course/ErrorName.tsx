import type { ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import type { ErrorRef } from '../api/types'
import { foreignErrorName } from '../i18n/foreign'
import { useFormat, type Place } from '../i18n/format'

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
  return (
    <>
      <code className="error-name">{foreignErrorName(error.name) || t('student.error')}</code>
      {where !== '' && <span className="fact-place"> {t('cell.at', { where })}</span>}
    </>
  )
}
