import { QueryClient } from '@tanstack/react-query'
import { createContext, use } from 'react'

import { ApiClient } from './client'
import type { ProviderFailure } from './provider-sign-in'
import { worthRetrying } from './queries'
import { Session } from './session'

/** The objects that all pages share. */
export interface Services {
  session: Session
  api: ApiClient
  client: QueryClient
}

/**
 * `link` is the secret of the link that the page was opened with, `providerFailure` why a sign-in at another
 * site failed that the browser came back from, if any.
 */
export function createServices(link: string | null = null, providerFailure: ProviderFailure | null = null): Services {
  const session = new Session(link, providerFailure)
  const client = new QueryClient({
    defaultOptions: {
      queries: { retry: worthRetrying, retryDelay: (failures) => 500 * 2 ** failures, staleTime: 5_000 },
      mutations: { retry: false },
    },
  })
  return { session, api: new ApiClient(session), client }
}

export const ServicesContext = createContext<Services | null>(null)

export function useServices(): Services {
  const services = use(ServicesContext)
  if (services === null) throw new Error('useServices outside of ServicesContext')
  return services
}
