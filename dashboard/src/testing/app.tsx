import { createMemoryHistory } from '@tanstack/react-router'
import { render, type RenderResult } from '@testing-library/react'
import { vi } from 'vitest'

import type { CourseSnapshot } from '../api/types'
import { App } from '../app/App'
import { createAppRouter } from '../app/router'
import { setMark } from '../api/sign-in-mark'
import { createServices, type Services } from '../api/services'
import { createI18n, type Language } from '../i18n'
import { snapshot } from './fixtures'

export interface Answer {
  status?: number
  body?: unknown
  headers?: Record<string, string>
}

type Route = (body: unknown, url: URL) => Answer | Promise<Answer>

/** A fake API: maps `GET me` and so on to an answer. */
export class FakeApi {
  readonly calls: string[] = []
  readonly routes = new Map<string, Route>()
  signedIn = true
  snapshot: CourseSnapshot = snapshot()

  constructor() {
    // As in a browser with an earlier sign-in.
    setMark()
    const token = { access_token: 'token', token_type: 'bearer', expires_in: 600 }
    this.on('POST auth/refresh', () =>
      this.signedIn ? { body: token } : { status: 401, body: fault('not_authenticated') },
    )
    this.on('POST auth/login', () => {
      this.signedIn = true
      return { body: token }
    })
    this.on('POST auth/logout', () => ({ status: 204 }))
    this.on('GET config', () => ({ body: { gateway_url: '/ws', version: '1.2.3', sign_in: [{ kind: 'password' }] } }))
    this.on('GET me', () => ({
      body: {
        person_id: 'p1',
        username: 'mari',
        display_name: 'Mari Aoki',
        is_admin: false,
        courses: [{ course_id: 'c1', title: 'Programming', role: 'instructor' }],
      },
    }))
    this.on('GET courses', () => ({
      body: {
        courses: [
          { course_id: 'c1', title: 'Programming', role: 'instructor', students: 30, help_open: 3, active: 21, running: 4, left: 5, need_help: 2 },
        ],
      },
    }))
    this.on('GET courses/c1/refusals', () => ({ body: { window_s: 150, refusals: [] } }))
    this.on('GET courses/c1/state', () => ({ body: this.snapshot }))
    this.on('GET courses/c1/activity', () => ({
      body: {
        source: 'postgresql',
        buckets: [
          { at: '2026-04-01T10:00:00Z', events: 9, executions: 6, errors: 2, students: 3 },
          { at: '2026-04-01T10:02:00Z', events: 3, executions: 2, errors: 0, students: 1 },
        ],
      },
    }))
    vi.stubGlobal('fetch', (path: string, init: RequestInit) => this.#answer(path, init))
  }

  on(route: string, handler: Route): this {
    this.routes.set(route, handler)
    return this
  }

  async #answer(path: string, init: RequestInit): Promise<Response> {
    const url = new URL(path, 'http://page.test')
    const route = `${init.method ?? 'GET'} ${url.pathname.replace('/api/v1/', '')}`
    this.calls.push(route)
    const handler = this.routes.get(route)
    const body: unknown = typeof init.body === 'string' ? JSON.parse(init.body) : undefined
    const answer = handler === undefined ? { status: 404, body: fault('not_found') } : await handler(body, url)
    const status = answer.status ?? 200
    const text = status === 204 ? null : JSON.stringify(answer.body ?? null)
    return new Response(text, { status, headers: { 'Content-Type': 'application/json', ...answer.headers } })
  }
}

export function fault(type: string, msg = type): unknown {
  return { detail: [{ type, msg }] }
}

export interface Rendered extends RenderResult {
  services: Services
}

export function renderApp(path: string, language: Language = 'en', link: string | null = null): Rendered {
  const services = createServices(link)
  services.client.setDefaultOptions({ queries: { retry: false } })
  const router = createAppRouter(createMemoryHistory({ initialEntries: [path] }))
  return { ...render(<App services={services} router={router} i18n={createI18n(language)} />), services }
}
