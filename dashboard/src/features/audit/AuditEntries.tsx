import { useMemo, useState, type ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import type { AuditEntry } from '../../api/types'
import { useFormat } from '../../i18n/format'
import { useTick } from '../../ui/clock'
import { Empty } from '../../ui/Notice'
import { naming, particulars, sentence } from './sentences'

interface AuditEntriesProps {
  entries: readonly AuditEntry[]
  /** Whether entries of several courses are shown, so that each says its own. */
  withCourse: boolean
}

/** Entries of the audit log, each as a sentence with its time. */
export function AuditEntries({ entries, withCourse }: AuditEntriesProps): ReactElement {
  const { t } = useTranslation()
  const format = useFormat()
  const nameOf = useMemo(() => naming(t), [t])
  const [offset] = useState(() => Date.now() - performance.now())
  const now = useTick() + offset
  if (entries.length === 0) return <Empty>{t('audit.none')}</Empty>
  return (
    <ol className="audit-entries" aria-label={t('audit.entries')}>
      {entries.map((entry) => {
        const more = particulars(entry, withCourse, t)
        return (
          <li key={entry.entry_id} className="audit-entry">
            <p className="audit-entry__when">
              <time dateTime={entry.at}>{format.moment(entry.at)}</time>{' '}
              <span className="hint">{format.ago(entry.at, now)}</span>
            </p>
            <div className="audit-entry__what">
              <p>{sentence(entry, nameOf, t)}</p>
              {more.length > 0 && <p className="hint">{more.join(' · ')}</p>}
            </div>
          </li>
        )
      })}
    </ol>
  )
}
