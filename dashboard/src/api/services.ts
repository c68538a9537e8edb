import { QueryClient } from '@tanstack/react-query'
import { createContext, use } from 'react'

import { ApiClient } from './client'
import { worthRetrying } from './queries'
import { Session } from './session'

/** The objects that all pages share. */
export interface Services {
  session: Session
  api: ApiClient
  client: QueryClient
}

export function createServices(): Services {
  const session = new Session()
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
