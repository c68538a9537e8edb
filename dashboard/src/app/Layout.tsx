import { useQuery, useQueryClient } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useEffect, useRef, type ReactElement, type ReactNode } from 'react'
import { useTranslation } from 'react-i18next'

import { configQuery, meQuery } from '../api/queries'
import type { Me } from '../api/types'
import { chooseLanguage, currentLanguage, languageNames, languages } from '../i18n'
import { useFormat } from '../i18n/format'
import { Button } from '../ui/Button'
import { isRefused } from '../ui/ErrorPage'
import { Icon } from '../ui/Icon'
import { useServices } from '../api/services'
import { nameAlone } from '../course/names'
import { chooseTheme, useTheme } from '../ui/theme'

interface LayoutProps {
  signedIn: boolean
  /** Changes with the page; the focus then moves to the new page's content. */
  pageKey: string
  children: ReactNode
}

export function Layout({ signedIn, pageKey, children }: LayoutProps): ReactElement {
  const { t, i18n } = useTranslation()
  const language = currentLanguage(i18n)
  const main = useRef<HTMLElement>(null)
  const shown = useRef(pageKey)

  useEffect(() => {
    document.documentElement.lang = language
  }, [language])

  useEffect(() => {
    if (shown.current === pageKey) return
    shown.current = pageKey
    // A page that has focused one of its own fields is left unchanged.
    if (main.current?.contains(document.activeElement) === false) main.current.focus({ preventScroll: true })
  }, [pageKey])

  return (
    <div className="layout">
      <a className="skip" href="#main">
        {t('app.skip')}
      </a>
      <header className="site-header">
        <div className="site-header__inner">
          <Brand signedIn={signedIn} />
          <div className="site-header__tools">
            <LanguageSwitch />
            <ThemeSwitch />
            {signedIn && <Account />}
          </div>
        </div>
      </header>
      <main id="main" ref={main} tabIndex={-1}>
        {children}
      </main>
      <Footer />
    </div>
  )
}

function Brand({ signedIn }: { signedIn: boolean }): ReactElement {
  const { t } = useTranslation()
  const mark = (
    <>
      <svg className="brand__mark" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
        <rect width="32" height="32" rx="7" />
        <path d="M5 16h6l3-6 4 12 3-6h6" />
      </svg>
      <span className="brand__name">{t('app.name')}</span>
    </>
  )
  return signedIn ? (
    <Link to="/courses" className="brand">
      {mark}
    </Link>
  ) : (
    <span className="brand">{mark}</span>
  )
}

function LanguageSwitch(): ReactElement {
  const { t, i18n } = useTranslation()
  const language = currentLanguage(i18n)
  return (
    <div className="segments" role="group" aria-label={t('app.language')}>
      {languages.map((code) => (
        <button
          key={code}
          type="button"
          className="segment"
          lang={code}
          aria-pressed={language === code}
          onClick={() => void chooseLanguage(i18n, code)}
        >
          {languageNames[code]}
        </button>
      ))}
    </div>
  )
}

function ThemeSwitch(): ReactElement {
  const { t } = useTranslation()
  const theme = useTheme()
  const label = theme === 'dark' ? t('app.themeLight') : t('app.themeDark')
  return (
    <Button
      variant="quiet"
      className="button--icon"
      aria-label={label}
      title={label}
      onClick={() => chooseTheme(theme === 'dark' ? 'light' : 'dark')}
    >
      <Icon name={theme === 'dark' ? 'sun' : 'moon'} />
    </Button>
  )
}

function Account(): ReactElement {
  const { t } = useTranslation()
  const { api, session } = useServices()
  const me = useQuery(meQuery(api))
  useRights(me.data, me.dataUpdatedAt)
  const name = me.data === undefined ? undefined : nameAlone({ ...me.data, id: me.data.person_id }, t)
  return (
    <>
      {name !== undefined && (
        <Link to="/account" className="site-header__user" aria-label={t('app.account', { name })} title={name}>
          {name}
        </Link>
      )}
      <Button variant="quiet" onClick={() => void session.signOut()}>
        {t('app.signOut')}
      </Button>
    </>
  )
}

/** Readings of the rights for which what is refused is asked for again: other answers follow a change within five seconds. */
const READINGS_AFTER_CHANGE = 4

/**
 * Ask again for everything that is shown when what this person may see changes: what is refused then is shown no longer,
 * and what is allowed again comes back. `readAt` is when the rights were read.
 */
function useRights(me: Me | undefined, readAt: number): void {
  const cache = useQueryClient()
  const rights = me && JSON.stringify([me.is_admin, me.courses.map((course) => [course.course_id, course.role])])
  const known = useRef(rights)
  const readings = useRef(0)
  useEffect(() => {
    if (rights === undefined) return
    const changed = known.current !== undefined && rights !== known.current
    known.current = rights
    if (changed) {
      readings.current = READINGS_AFTER_CHANGE
      void cache.invalidateQueries({ predicate: ({ queryKey: [first] }) => first !== 'me' && first !== 'config' })
      return
    }
    const recent = readings.current > 0
    readings.current -= recent ? 1 : 0
    // What was shown before: a right that ended and came back between two readings is no change.
    void cache.refetchQueries(
      { type: 'active', predicate: ({ state }) => isRefused(state.error) && (recent || state.data !== undefined) },
      { cancelRefetch: false },
    )
  }, [cache, readAt, rights])
}

function Footer(): ReactElement {
  const { t } = useTranslation()
  const format = useFormat()
  const config = useQuery(configQuery())
  return (
    <footer className="site-footer">
      <span>{t('app.timeZone', { zone: format.zone() })}</span>
      {config.data !== undefined && <span>{t('app.version', { version: config.data.version })}</span>}
    </footer>
  )
}
