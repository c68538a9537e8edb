import { useId, useState, type ReactElement, type SyntheticEvent } from 'react'
import { useTranslation } from 'react-i18next'

import type { CourseSettings, GroupLink, Role } from '../../api/types'
import { isName } from '../../course/settings'
import { foreign } from '../../i18n/foreign'
import { Button } from '../../ui/Button'
import { Confirmed } from '../../ui/Confirmed'
import { ChangeError } from '../../ui/ErrorNotice'
import { Empty, Notice } from '../../ui/Notice'
import { GroupRules } from './GroupRules'
import { isEffective, MAX_GROUP, rolesOf, useLinkGroup, useUnlinkGroup } from './settings'

interface GroupLinksProps {
  courseId: string
  settings: CourseSettings
}

/** Which groups of a Hub or a sign-in service have which role in a course, for admins of the site. */
export function GroupLinks({ courseId, settings }: GroupLinksProps): ReactElement {
  const { t } = useTranslation()
  const id = useId()
  const { links, issuers } = settings
  return (
    <section className="card" aria-labelledby={id}>
      <h2 id={id}>{t('settings.groups.title')}</h2>
      <p className="hint">{t(issuers.length > 0 ? 'settings.groups.hint' : 'settings.groups.noIssuer')}</p>
      {links.length === 0 && issuers.length > 0 && <Empty>{t('settings.groups.none')}</Empty>}
      {links.length > 0 && <LinkTable courseId={courseId} settings={settings} />}
      {issuers.length > 0 && <LinkForm courseId={courseId} settings={settings} />}
      <GroupRules settings={settings} />
    </section>
  )
}

function LinkTable({ courseId, settings }: GroupLinksProps): ReactElement {
  const { t } = useTranslation()
  const { links } = settings
  return (
    <>
      <div className="records">
        <table className="records__stacked" aria-label={t('settings.groups.title')}>
          <thead>
            <tr>
              <th scope="col">{t('settings.groups.group')}</th>
              <th scope="col">{t('settings.groups.issuer')}</th>
              <th scope="col">{t('settings.groups.role')}</th>
              <th scope="col">{t('settings.groups.action')}</th>
            </tr>
          </thead>
          <tbody>
            {links.map((link) => (
              <LinkRow key={JSON.stringify(link)} courseId={courseId} link={link} effective={isEffective(link, settings)} />
            ))}
          </tbody>
        </table>
      </div>
      {links.some((link) => !isEffective(link, settings)) && <p className="hint">{t('settings.groups.noEffectHint')}</p>}
    </>
  )
}

interface LinkRowProps {
  courseId: string
  link: GroupLink
  /** Whether it gives the role to anybody. */
  effective: boolean
}

function LinkRow({ courseId, link, effective }: LinkRowProps): ReactElement {
  const { t } = useTranslation()
  const unlink = useUnlinkGroup(courseId)
  const group = foreign(link.group)
  const name = t('settings.groups.removeOf', { group })
  return (
    <tr>
      <th scope="row">{group}</th>
      <td data-label={t('settings.groups.issuer')}>{foreign(link.issuer)}</td>
      <td data-label={t('settings.groups.role')}>
        {t(`role.${link.role}`)}
        {!effective && <span className="tag">{t('settings.groups.noEffect')}</span>}
      </td>
      <td>
        <Confirmed
          label={name}
          texts={{
            ask: t('settings.groups.remove'),
            askFor: name,
            sure: t('settings.groups.sure'),
            pending: t('settings.groups.removing'),
            keep: t('settings.groups.keep'),
          }}
          action={unlink}
          onConfirmed={() => unlink.mutate(link)}
        />
      </td>
    </tr>
  )
}

function LinkForm({ courseId, settings }: GroupLinksProps): ReactElement {
  const { t } = useTranslation()
  const { issuers } = settings
  const id = useId()
  const [issuer, setIssuer] = useState(issuers[0] ?? '')
  const [group, setGroup] = useState('')
  const [chosen, setRole] = useState<Role>('student')
  const [isFault, setIsFault] = useState(false)
  const link = useLinkGroup(courseId)
  const staffOnly = settings.staff_only_issuers.includes(issuer)
  const offered = rolesOf(issuer, settings)
  const role = offered.includes(chosen) ? chosen : 'observer'

  const submit = (event: SyntheticEvent): void => {
    event.preventDefault()
    if (link.isPending) return
    const fault = !isName(group, MAX_GROUP)
    setIsFault(fault)
    if (fault) {
      link.reset()
      return
    }
    link.mutate({ issuer, group, role }, { onSuccess: () => setGroup('') })
  }

  return (
    <form className="form" aria-label={t('settings.groups.add')} noValidate onSubmit={submit}>
      {issuers.length > 1 && (
        <div className="field">
          <label htmlFor={`${id}-issuer`}>{t('settings.groups.issuer')}</label>
          <select id={`${id}-issuer`} value={issuer} onChange={(event) => setIssuer(event.target.value)}>
            {issuers.map((each) => (
              <option key={each} value={each}>
                {each}
              </option>
            ))}
          </select>
        </div>
      )}
      <div className="field">
        <label htmlFor={`${id}-group`}>{t('settings.groups.group')}</label>
        <input
          id={`${id}-group`}
          maxLength={2 * MAX_GROUP}
          autoComplete="off"
          spellCheck={false}
          aria-invalid={isFault}
          value={group}
          onChange={(event) => setGroup(event.target.value)}
        />
      </div>
      <div className="field">
        <label htmlFor={`${id}-role`}>{t('settings.groups.role')}</label>
        <select
          id={`${id}-role`}
          value={role}
          aria-describedby={staffOnly ? `${id}-staff` : undefined}
          onChange={(event) => setRole(offered.find((each) => each === event.target.value) ?? role)}
        >
          {offered.map((each) => (
            <option key={each} value={each}>
              {t(`role.${each}`)}
            </option>
          ))}
        </select>
        {staffOnly && (
          <span id={`${id}-staff`} className="hint">
            {t('settings.groups.staffOnly')}
          </span>
        )}
      </div>
      {isFault && (
        <Notice tone="error" role="alert">
          {t('settings.groups.fault')}
        </Notice>
      )}
      {link.isError && <ChangeError error={link.error} />}
      <Button type="submit" variant="primary" pending={link.isPending}>
        {link.isPending ? t('settings.groups.adding') : t('settings.groups.add')}
      </Button>
    </form>
  )
}
