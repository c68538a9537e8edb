import { useDeferredValue, useMemo, useState, type ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import type { CourseMember } from '../../api/types'
import { labels, shownUsername, type PersonLabel } from '../../course/names'
import { PersonName } from '../../course/PersonName'
import { fold, matching } from '../../course/search'
import { shortened } from '../../i18n/foreign'
import { useAnnounce } from '../../ui/Announcer'
import { Confirmed } from '../../ui/Confirmed'
import { FindField } from '../../ui/FindField'
import { Empty } from '../../ui/Notice'
import { ShowMore, usePortion } from '../../ui/ShowMore'
import { issuerName, signInApart } from './issuers'
import { useRemoveMember } from './useRoster'

interface MemberTableProps {
  courseId: string
  members: readonly CourseMember[]
  /** The viewer, who cannot remove themselves. */
  me: string
  /** Whether the viewer is an admin of the site, who alone removes instructors, and another admin from the staff. */
  admin: boolean
  /** The issuer of JupyterHub, or null. */
  hub: string | null
}

/** Who belongs to the course, with role and source: as many as are drawn in no time, or those who are looked for. */
export function MemberTable({ courseId, members, me, admin, hub }: MemberTableProps): ReactElement {
  const { t } = useTranslation()
  const [text, setText] = useState('')
  const search = useDeferredValue(text.trim())
  const people = useMemo(() => {
    const named = labels(members.map((member) => ({ ...member, id: member.person_id })), t)
    return members.flatMap((member) => {
      const label = named.get(member.person_id)
      return label === undefined ? [] : [{ member, label, searched: fold(`${label.text}\n${shownUsername(member.username)}`) }]
    })
  }, [members, t])
  const found = useMemo(() => matching(people, search, ({ searched }) => searched), [people, search])
  const apart = useMemo(() => signInApart(members), [members])
  const portion = usePortion(found, search)
  return (
    <>
      <FindField label={t('members.find')} value={text} onChange={setText} />
      {found.length === 0 && <Empty>{t('members.noMatch')}</Empty>}
      <div className="records members__table" hidden={found.length === 0}>
        <table aria-label={t('members.title')}>
          <thead>
            <tr>
              <th scope="col">{t('members.columns.name')}</th>
              <th scope="col">{t('members.columns.username')}</th>
              <th scope="col">{t('members.columns.role')}</th>
              <th scope="col">{t('members.columns.source')}</th>
              <th scope="col">
                <span className="visually-hidden">{t('members.columns.actions')}</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {portion.shown.map(({ member, label }) => (
              <Row
                key={member.person_id}
                courseId={courseId}
                member={member}
                label={label}
                own={member.person_id === me}
                admin={admin}
                places={apart ? member.issuers.map((issuer) => issuerName(issuer, hub, t)) : []}
              />
            ))}
          </tbody>
        </table>
      </div>
      <ShowMore portion={portion} searched={search !== ''} />
    </>
  )
}

interface RowProps {
  courseId: string
  member: CourseMember
  label: PersonLabel
  own: boolean
  admin: boolean
  /** Where they sign in, if that differs among the members. */
  places: readonly string[]
}

function Row({ courseId, member, label, own, admin, places }: RowProps): ReactElement {
  const { t } = useTranslation()
  const sourceName = (source: string): string =>
    ({
      roster: t('members.source.roster'),
      hub: t('members.source.hub'),
      lti: t('members.source.lti'),
      oidc: t('members.source.oidc'),
      join: t('members.source.join'),
    })[source] ??
    t('members.source.other')
  const username = shownUsername(member.username)
  const sources = Object.entries(member.sources)
  const agreed = sources.every(([, role]) => role === member.role)
  const removable = member.sources['roster'] != null || member.sources['join'] != null
  const listed = member.sources['roster'] ?? 'student'
  const guarded = admin ? null : member.site_admin && listed !== 'student' ? 'byAdmin' : listed === 'instructor' ? 'instructorByAdmin' : null
  return (
    <tr>
      <th scope="row">
        {/* The user name has a column of its own. */}
        <span className="clamped" title={label.text}>
          <PersonName label={label.account === username ? { ...label, account: null } : label} />
        </span>
      </th>
      <td>
        <bdi className="clamped" title={username}>
          {shortened(username)}
        </bdi>
        {places.length > 0 && <span className="members__places">{places.join(t('app.listSeparator'))}</span>}
      </td>
      <td>
        {t(`role.${member.role}`)}
        {member.site_admin && <span className="tag">{t('role.admin')}</span>}
      </td>
      <td>
        {sources
          .map(([source, role]) =>
            agreed
              ? sourceName(source)
              : t('members.sourceSays', {
                  source: sourceName(source),
                  role: role == null ? t('members.removed') : t(`role.${role}`),
                }),
          )
          .join(t('app.listSeparator'))}
      </td>
      <td className="records__actions">
        {!own && removable && guarded !== null && <span className="hint">{t(`members.${guarded}`, { role: t('role.instructor') })}</span>}
        {!own && removable && guarded === null && <Remove courseId={courseId} member={member} name={label.text} />}
        {!own && !removable && <span className="hint">{t('members.elsewhere')}</span>}
      </td>
    </tr>
  )
}

function Remove({ courseId, member, name }: { courseId: string; member: CourseMember; name: string }): ReactElement {
  const { t } = useTranslation()
  const announce = useAnnounce()
  const remove = useRemoveMember(courseId, member.person_id)
  const texts = {
    ask: t('members.remove'),
    askFor: t('members.removeFor', { name }),
    sure: t('members.removeSure', { name: shortened(name) }),
    pending: t('members.removing'),
    keep: t('members.keep'),
  }
  const confirmed = (): void =>
    remove.mutate(undefined, { onSuccess: () => announce('members', t('members.removedDone', { name })) })
  return <Confirmed label={name} texts={texts} action={remove} onConfirmed={confirmed} />
}
