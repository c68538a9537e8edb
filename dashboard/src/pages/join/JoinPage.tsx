import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { getRouteApi } from '@tanstack/react-router'
import { useState, type ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { configQuery } from '../../api/queries'
import { useServices } from '../../api/services'
import type { JoinCode } from '../../api/types'
import { CourseBar } from '../../course/CourseBar'
import { useCourseName } from '../../course/useCourseName'
import { closeJoining, joinCodeKey, joinCodeQuery, openJoining, removeJoined } from '../../features/joining/joining'
import { useFormat } from '../../i18n/format'
import { Button } from '../../ui/Button'
import { Confirmed } from '../../ui/Confirmed'
import { ChangeError, ErrorNotice } from '../../ui/ErrorNotice'
import { courseErrorPage } from '../../ui/ErrorPage'
import { Loading, Notice } from '../../ui/Notice'
import { useTitle } from '../../ui/title'

const route = getRouteApi('/courses/$courseId/join')

/** How long a code may live; minutes. */
const lifetimes = [30, 90, 180, 480, 1440] as const
const usualLifetime = 180

/** The page that an instructor shows to the class: how to install the extension, the address and the code. */
export default function JoinPage(): ReactElement {
  const { courseId } = route.useParams()
  const { t } = useTranslation()
  const { api } = useServices()
  const query = useQuery(joinCodeQuery(api, courseId))
  const title = t('joining.titleOf', { course: useCourseName(courseId) })
  useTitle(title)
  const errorPage = courseErrorPage(query.error)
  if (errorPage !== null) return errorPage
  return (
    <>
      <CourseBar
        title={title}
        back={{ to: '/courses/$courseId', params: { courseId }, label: t('members.toCourse') }}
      />
      <div className="page page--narrow join">
        {query.isError && <ErrorNotice error={query.error} onRetry={() => void query.refetch()} />}
        {query.isPending && <Loading label={t('app.loading')} />}
        {query.data !== undefined && <Joining courseId={courseId} held={query.data} now={query.dataUpdatedAt} />}
      </div>
    </>
  )
}

function Joining({ courseId, held, now }: { courseId: string; held: JoinCode; now: number }): ReactElement {
  const { t } = useTranslation()
  const { api } = useServices()
  const cache = useQueryClient()
  const [minutes, setMinutes] = useState<number>(usualLifetime)
  const refresh = (): Promise<void> => cache.invalidateQueries({ queryKey: joinCodeKey(courseId) })
  const open = useMutation({
    mutationFn: () => openJoining(api, courseId, minutes),
    onSuccess: (code) => cache.setQueryData<JoinCode>(joinCodeKey(courseId), code),
    onError: refresh,
  })
  const close = useMutation({ mutationFn: () => closeJoining(api, courseId), onSettled: refresh })
  const remove = useMutation({ mutationFn: () => removeJoined(api, courseId), onSettled: refresh })
  const error = open.error ?? close.error
  const isOpen = held.code != null
  const renew = (): void => {
    close.reset()
    if (!remove.isPending) remove.reset()
    open.mutate()
  }
  const end = (): void => {
    open.reset()
    if (!remove.isPending) remove.reset()
    close.mutate()
  }
  return (
    <>
      {isOpen ? <Steps held={held} now={now} /> : <p className="hint">{t('joining.closed')}</p>}
      <div className="join__tools">
        <div className="field">
          <label htmlFor="join-lifetime">{t('joining.lifetime')}</label>
          <select id="join-lifetime" value={minutes} onChange={(event) => setMinutes(Number(event.target.value))}>
            {lifetimes.map((each) => (
              <option key={each} value={each}>
                {each < 60 ? t('joining.minutes', { count: each }) : t('joining.hours', { count: each / 60 })}
              </option>
            ))}
          </select>
        </div>
        <Button variant={isOpen ? 'plain' : 'primary'} pending={open.isPending} onClick={renew}>
          {isOpen ? t('joining.renew') : t('joining.open')}
        </Button>
        {isOpen && (
          <Button pending={close.isPending} onClick={end}>
            {t('joining.close')}
          </Button>
        )}
      </div>
      <p className="hint">{t('joining.toolsHint')}</p>
      <Confirmed
        label={t('joining.removeAllQuestion')}
        texts={{
          ask: t('joining.removeAll'),
          askFor: t('joining.removeAll'),
          question: t('joining.removeAllQuestion'),
          sure: t('joining.removeNow'),
          pending: t('members.removing'),
          keep: t('joining.keep'),
        }}
        action={remove}
        onConfirmed={(done) => {
          open.reset()
          close.reset()
          remove.mutate(undefined, { onSuccess: done })
        }}
      />
      {error !== null && <ChangeError error={error} />}
    </>
  )
}

/** Names by which no other computer reaches this one. */
const ownNames: readonly string[] = ['localhost', '127.0.0.1', '[::1]']

function Steps({ held, now }: { held: JoinCode; now: number }): ReactElement {
  const { t } = useTranslation()
  const format = useFormat()
  const config = useQuery(configQuery())
  const { origin, hostname } = window.location
  const extension = config.data?.extension
  return (
    <>
      {ownNames.includes(hostname) && (
        <Notice tone="warning" role="status">
          {t('joining.onlyHere')}
        </Notice>
      )}
      <ol className="join__steps">
        {extension != null && (
          <li>
            <h2>{t('joining.install')}</h2>
            <pre className="join__line">
              <code>{`pip install ${origin}${extension}`}</code>
            </pre>
            <p className="hint">{t('joining.installHint')}</p>
          </li>
        )}
        <li>
          <h2>{t('joining.start')}</h2>
          <p>{t('joining.startHint')}</p>
        </li>
        <li>
          <h2>{t('joining.enter')}</h2>
          <dl className="join__entries">
            <div>
              <dt>{t('joining.address')}</dt>
              <dd>{origin}</dd>
            </div>
            <div>
              <dt>{t('joining.code')}</dt>
              <dd className="join__code">{held.code}</dd>
            </div>
          </dl>
        </li>
      </ol>
      <p role="status">
        {t('joining.people', { count: held.people })}{' '}
        {held.expires_at != null && t('joining.until', { time: format.time(held.expires_at, now) })}
      </p>
      {held.people >= held.most && <Notice tone="warning">{t('joining.full')}</Notice>}
    </>
  )
}
