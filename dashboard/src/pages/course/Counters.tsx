import type { ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import type { CourseState } from '../../api/types'
import { useFormat } from '../../i18n/format'
import type { Filter } from '../../course/arrangement'

interface CountersProps {
  counts: Readonly<Record<Filter, number>>
  counters: CourseState
}

export function Counters({ counts, counters }: CountersProps): ReactElement {
  const { t } = useTranslation()
  const format = useFormat()
  const rate = counters.runs === 0 ? t('course.noRuns') : format.percent(counters.errors / counters.runs)
  const figures = [
    { id: 'students', value: format.number(counts.all), tone: '' },
    { id: 'active', value: format.number(counts.active), tone: '' },
    { id: 'running', value: format.number(counts.running), tone: '' },
    { id: 'stuck', value: format.number(counts.stuck), tone: counts.stuck > 0 ? 'stuck' : '' },
    { id: 'needHelp', value: format.number(counts.help), tone: counts.help > 0 ? 'help' : '' },
    { id: 'left', value: format.number(counts.left), tone: '' },
    { id: 'runs', value: format.number(counters.runs), tone: '' },
    { id: 'errorRate', value: rate, tone: counters.runs === 0 ? 'none' : '' },
  ] as const
  return (
    <section aria-label={t('course.counters')}>
      <dl className="counters">
        {figures.map(({ id, value, tone }) => (
          <div key={id} className={`counter ${tone === '' ? '' : `counter--${tone}`}`}>
            <dt>{t(`course.${id}`)}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </section>
  )
}
