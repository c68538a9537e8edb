import { useQuery } from '@tanstack/react-query'
import type { ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { refusalsQuery } from '../../api/queries'
import { useServices } from '../../api/services'
import { Notice } from '../../ui/Notice'

/** Reasons with a text of their own; docs/operations/refusals.md lists all. */
const known = [
  'course_forbidden',
  'course_required',
  'course_unknown',
  'no_course',
  'rate_limited',
  'unsupported_schema_version',
] as const

type Known = (typeof known)[number]

const isKnown = (reason: string): reason is Known => known.some((each) => each === reason)

/** Tell staff how many people's work is not recorded, and what to do about it; nothing where all is recorded. */
export function RefusalNotice({ courseId }: { courseId: string }): ReactElement | null {
  const { t } = useTranslation()
  const { api } = useServices()
  const { data } = useQuery(refusalsQuery(api, courseId))
  if (data === undefined || data.refusals.length === 0) return null
  return (
    <Notice tone="warning" role="status">
      <ul className="notice__list" aria-label={t('refusals.title')}>
        {data.refusals.map(({ reason, people }) => (
          <li key={reason}>{t(`refusals.${isKnown(reason) ? reason : 'other'}`, { count: people })}</li>
        ))}
      </ul>
    </Notice>
  )
}
