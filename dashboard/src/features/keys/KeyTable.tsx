import { useDeferredValue, useState, type ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import type { ApiKey } from '../../api/types'
import { shownUsername } from '../../course/names'
import { fold, matching } from '../../course/search'
import { foreign } from '../../i18n/foreign'
import { useFormat } from '../../i18n/format'
import { useAnnounce } from '../../ui/Announcer'
import { Confirmed } from '../../ui/Confirmed'
import { FindField } from '../../ui/FindField'
import { Empty } from '../../ui/Notice'
import { ShowMore, usePortion } from '../../ui/ShowMore'
import { isScope, scopeLabels, stateOf } from './keys'
import { useRevokeKey } from './useKeys'

interface KeyTableProps {
  keys: readonly ApiKey[]
  /** The server's time in milliseconds since the epoch. */
  now: number
}

/** Keys with what they may do and how long; one that works can be revoked. */
export function KeyTable({ keys, now }: KeyTableProps): ReactElement {
  const { t } = useTranslation()
  const [text, setText] = useState('')
  const search = useDeferredValue(text.trim())
  const found = matching(keys, search, searchedOf)
  const portion = usePortion(found, search)
  return (
    <>
      <FindField label={t('keys.find')} value={text} onChange={setText} />
      {found.length === 0 && <Empty>{t('keys.noMatch')}</Empty>}
      <div className="records" hidden={found.length === 0}>
        <table className="records__stacked" aria-label={t('keys.title')}>
          <thead>
            <tr>
              <th scope="col">{t('keys.columns.name')}</th>
              <th scope="col">{t('keys.columns.may')}</th>
              <th scope="col">{t('keys.columns.as')}</th>
              <th scope="col">{t('keys.columns.used')}</th>
              <th scope="col">{t('keys.columns.ends')}</th>
              <th scope="col">
                <span className="visually-hidden">{t('keys.columns.actions')}</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {portion.shown.map((key) => (
              <Row key={key.key_id} apiKey={key} now={now} />
            ))}
          </tbody>
        </table>
      </div>
      <ShowMore portion={portion} searched={search !== ''} />
    </>
  )
}

/** What of a key is searched. */
function searchedOf({ key_id, name, username }: ApiKey): string {
  return fold([foreign(name), key_id, username === null ? '' : shownUsername(username)].join('\n'))
}

function Row({ apiKey, now }: { apiKey: ApiKey; now: number }): ReactElement {
  const { t } = useTranslation()
  const format = useFormat()
  const state = stateOf(apiKey, now)
  const ends = {
    works: format.date(apiKey.expires_at),
    over: t('keys.over', { date: format.date(apiKey.expires_at) }),
    revoked: t('keys.revoked', { date: format.date(apiKey.revoked_at ?? '') }),
  }[state]
  const { username } = apiKey
  const owner = username === null ? t('keys.program') : shownUsername(username)
  return (
    <tr>
      <th scope="row">
        {foreign(apiKey.name)}
        <span className="keys__id">{apiKey.key_id}</span>
      </th>
      <td data-label={t('keys.columns.may')}>
        {apiKey.scopes
          .map((scope) => (isScope(scope) ? t(`keys.scope.${scopeLabels[scope]}`) : foreign(scope)))
          .join(t('app.listSeparator'))}
      </td>
      <td data-label={t('keys.columns.as')}>
        <bdi>{owner}</bdi>
      </td>
      <td data-label={t('keys.columns.used')}>{apiKey.last_used_at === null ? t('keys.never') : format.ago(apiKey.last_used_at, now)}</td>
      <td data-label={t('keys.columns.ends')}>{ends}</td>
      <td className="records__actions">{state === 'works' && <Revoke apiKey={apiKey} />}</td>
    </tr>
  )
}

function Revoke({ apiKey }: { apiKey: ApiKey }): ReactElement {
  const { t } = useTranslation()
  const announce = useAnnounce()
  const name = foreign(apiKey.name)
  const revoke = useRevokeKey(apiKey.key_id)
  const texts = {
    ask: t('keys.revoke'),
    askFor: t('keys.revokeFor', { name }),
    sure: t('keys.revokeSure', { name }),
    pending: t('keys.revoking'),
    keep: t('keys.keep'),
  }
  const confirmed = (): void =>
    revoke.mutate(undefined, { onSuccess: () => announce('keys', t('keys.revokedDone', { name })) })
  return <Confirmed label={name} texts={texts} action={revoke} onConfirmed={confirmed} />
}
