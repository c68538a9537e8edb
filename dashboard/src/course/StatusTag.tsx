import type { ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { Icon, type IconName } from '../ui/Icon'
import type { Condition } from './view'

const icons: Readonly<Record<Condition, IconName>> = {
  help: 'hand',
  helped: 'helper',
  stuck: 'stuck',
  kernelDied: 'error',
  longRun: 'clock',
  error: 'error',
  running: 'running',
  idle: 'idle',
  left: 'left',
  ok: 'ok',
  working: 'working',
  waiting: 'waiting',
}

export function StatusTag({ condition, id }: { condition: Condition; id?: string }): ReactElement {
  const { t } = useTranslation()
  return (
    <span className={`status status--${condition}`} id={id}>
      <Icon name={icons[condition]} />
      {t(`status.${condition}`)}
    </span>
  )
}
