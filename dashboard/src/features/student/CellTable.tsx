import type { ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import type { CellProgress } from '../../api/types'
import { Clamped } from '../../course/Clamped'
import { useFormat } from '../../i18n/format'
import { Empty } from '../../ui/Notice'

export function CellTable({ cells, now }: { cells: readonly CellProgress[]; now: number }): ReactElement {
  const { t } = useTranslation()
  const format = useFormat()
  if (cells.length === 0) return <Empty>{t('student.noCells')}</Empty>
  return (
    // Wide content scrolls horizontally; it is focusable so that the keyboard can scroll it.
    // eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex
    <div className="scroll-x" role="group" aria-label={t('student.cells')} tabIndex={0}>
      <table className="table">
        <thead>
          <tr>
            <th scope="col">{t('student.columns.cell')}</th>
            <th scope="col">{t('student.columns.last')}</th>
            <th scope="col" className="table__number">
              {t('student.columns.runs')}
            </th>
            <th scope="col" className="table__number">
              {t('student.columns.errors')}
            </th>
            <th scope="col" className="table__number">
              {t('student.columns.streak')}
            </th>
            <th scope="col">{t('student.columns.at')}</th>
          </tr>
        </thead>
        <tbody>
          {cells.map((row) => (
            <tr key={`${row.notebook.id}:${row.cell.source_id}`}>
              <th scope="row">
                <Clamped text={format.cellOf(row, 'narrow') || t('students.none')} whole={format.cellOf(row, 'whole')} />
                <Clamped
                  className="table__sub"
                  text={format.notebook(row.notebook, 'narrow')}
                  whole={format.notebook(row.notebook, 'whole')}
                />
              </th>
              <td>
                {row.last_status == null ? (
                  t('students.none')
                ) : (
                  <span className={`run-status run-status--${row.last_status}`}>
                    {t(`student.runStatus.${row.last_status}`)}
                  </span>
                )}
              </td>
              <td className="table__number">{format.number(row.runs)}</td>
              <td className="table__number">{format.number(row.errors)}</td>
              <td className="table__number">{format.number(row.error_streak)}</td>
              <td>
                {row.last_at == null ? (
                  t('students.none')
                ) : (
                  <time dateTime={row.last_at}>{format.time(row.last_at, now)}</time>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}
