import { QueryClientProvider } from '@tanstack/react-query'
import { RouterContextProvider, RouterProvider, useRouterState } from '@tanstack/react-router'
import type { i18n } from 'i18next'
import { useEffect, useSyncExternalStore, type ReactElement, type ReactNode } from 'react'
import { I18nextProvider, useTranslation } from 'react-i18next'

import { SignInPage } from '../pages/sign-in/SignInPage'
import { RefusalNotice } from '../pages/sign-in/SignInNotices'
import { Button } from '../ui/Button'
import { Loading } from '../ui/Notice'
import { Announcer } from '../ui/Announcer'
import { Layout } from './Layout'
import type { createAppRouter } from './router'
import { ServicesContext, useServices, type Services } from '../api/services'
import { useTitle } from '../ui/title'

interface AppProps {
  services: Services
  router: ReturnType<typeof createAppRouter>
  i18n: i18n
}

export function App({ services, router, i18n }: AppProps): ReactElement {
  return (
    <I18nextProvider i18n={i18n}>
      <QueryClientProvider client={services.client}>
        <ServicesContext value={services}>
          <Announcer>
            <RouterContextProvider router={router}>
              <Gate>
                <RouterProvider router={router} />
              </Gate>
            </RouterContextProvider>
          </Announcer>
        </ServicesContext>
      </QueryClientProvider>
    </I18nextProvider>
  )
}

/** Shows the page to a person who is signed in, and the sign-in form at the same address otherwise. */
function Gate({ children }: { children: ReactNode }): ReactElement {
  const { session, client } = useServices()
  const state = useSyncExternalStore(session.subscribe, session.state)
  const path = useRouterState({ select: (router) => router.location.pathname })

  useEffect(() => {
    void session.start()
    document.addEventListener('visibilitychange', session.wake)
    window.addEventListener('online', session.wake)
    return () => {
      document.removeEventListener('visibilitychange', session.wake)
      window.removeEventListener('online', session.wake)
    }
  }, [session])

  useEffect(() => {
    // The next person at this browser must not see data of this one.
    if (state.status === 'signed-out') client.removeQueries({ predicate: (query) => query.queryKey[0] !== 'config' })
  }, [client, state.status])

  const signedIn = state.status === 'signed-in'
  return (
    <Layout signedIn={signedIn} pageKey={signedIn ? path : state.status}>
      {state.status === 'signed-in' && <RefusalNotice />}
      {state.status === 'signed-in' && children}
      {state.status === 'signed-out' && <SignInPage reason={state.reason} />}
      {state.status === 'starting' && <Starting />}
      {state.status === 'unreachable' && <Unreachable />}
    </Layout>
  )
}

function Starting(): ReactElement {
  const { t } = useTranslation()
  return (
    <div className="page page--narrow">
      <Loading label={t('session.starting')} />
    </div>
  )
}

function Unreachable(): ReactElement {
  const { t } = useTranslation()
  const { session } = useServices()
  useTitle(t('session.unreachableTitle'))
  return (
    <div className="page page--narrow error-page" role="alert">
      <h1>{t('session.unreachableTitle')}</h1>
      <p>{t('session.unreachable')}</p>
      <Button variant="primary" onClick={() => void session.start()}>
        {t('app.retry')}
      </Button>
    </div>
  )
}
