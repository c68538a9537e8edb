import { useId, type ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import type { CourseSettings, GroupLink, GroupRule } from '../../api/types'
import { foreign } from '../../i18n/foreign'
import { ShowMore, usePortion } from '../../ui/ShowMore'

/** What gives roles beside the links. It is set at the installation and where the groups are, and only shown here. */
export function GroupRules({ settings }: { settings: CourseSettings }): ReactElement | null {
  const { t } = useTranslation()
  const id = useId()
  const { rules, properties } = settings
  if (rules.length === 0 && properties.length === 0) return null
  return (
    <section className="group-rules" aria-labelledby={id}>
      <h3 id={id}>{t('settings.groups.rules.title')}</h3>
      <p className="hint">{t('settings.groups.rules.hint')}</p>
      {rules.map((rule) => (
        <Rule key={rule.issuer} rule={rule} />
      ))}
      {properties.length > 0 && <Properties properties={properties} />}
    </section>
  )
}

function Rule({ rule }: { rule: GroupRule }): ReactElement {
  const { t } = useTranslation()
  const words = Object.entries(rule.roles).map(([word, role]) =>
    t('settings.groups.rules.word', { word: foreign(word), role: t(`role.${role}`) }),
  )
  return (
    <dl className="facts">
      <div>
        <dt>{t('settings.groups.issuer')}</dt>
        <dd>{foreign(rule.issuer)}</dd>
      </div>
      <div>
        <dt>{t('settings.groups.rules.pattern')}</dt>
        <dd>{rule.pattern === null ? t('settings.groups.rules.none') : <code>{foreign(rule.pattern)}</code>}</dd>
      </div>
      {words.length > 0 && (
        <div>
          <dt>{t('settings.groups.rules.words')}</dt>
          <dd>{words.join(t('app.listSeparator'))}</dd>
        </div>
      )}
      {rule.property !== null && (
        <div>
          <dt>{t('settings.groups.rules.property')}</dt>
          <dd>
            <code>{rule.property}</code>
          </dd>
        </div>
      )}
    </dl>
  )
}

function Properties({ properties }: { properties: readonly GroupLink[] }): ReactElement {
  const { t } = useTranslation()
  const id = useId()
  const portion = usePortion(properties)
  return (
    <>
      <h4 id={id}>{t('settings.groups.rules.properties')}</h4>
      <div className="records">
        <table className="records__stacked" aria-labelledby={id}>
          <thead>
            <tr>
              <th scope="col">{t('settings.groups.group')}</th>
              <th scope="col">{t('settings.groups.issuer')}</th>
              <th scope="col">{t('settings.groups.role')}</th>
            </tr>
          </thead>
          <tbody>
            {portion.shown.map((said) => (
              <tr key={JSON.stringify(said)}>
                <th scope="row">{foreign(said.group)}</th>
                <td data-label={t('settings.groups.issuer')}>{foreign(said.issuer)}</td>
                <td data-label={t('settings.groups.role')}>{t(`role.${said.role}`)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <ShowMore portion={portion} />
    </>
  )
}
