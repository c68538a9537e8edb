// Hazard: the page says Live while what students do no longer reaches it.

import { act, screen, waitFor } from '@testing-library/react'
import { beforeEach, describe, expect, it } from 'vitest'

import { FakeApi, renderApp } from '../../testing/app'
import { snapshot } from '../../testing/fixtures'
import { FakeSocket, installFakeSockets } from '../../testing/sockets'

const SERVER_TIME = 1_775_034_000_000

beforeEach(() => {
  installFakeSockets()
  new FakeApi().snapshot = snapshot({ generated_at: new Date().toISOString() })
})

async function open(language: 'en' | 'ja' = 'en') {
  renderApp('/courses/c1', language)
  await waitFor(() => expect(FakeSocket.opened).toHaveLength(1))
  act(() => FakeSocket.newest().goLive('e1', 10, [], true))
}

/** A watermark that was made `ageMs` before it left the server. */
function watermark(ageMs: number) {
  const times = { at: SERVER_TIME - ageMs, published_at: SERVER_TIME }
  act(() => FakeSocket.newest().frame({ type: 'watermark', channel: 'course:c1', epoch: 'e1', offset: 10, ...times }))
}

const connection = () => screen.getByRole('group', { name: /Connection|接続状態/u })
const announcer = () => screen.getByTestId('announcer')

describe('connection', () => {
  it('says Live only once a watermark has arrived', async () => {
    await open()
    expect(connection()).toHaveTextContent('Connecting …')
    watermark(40)
    expect(connection()).toHaveTextContent('Live')
  })

  it('says by how much it is delayed, counts up, and says Live again after the backlog', async () => {
    await open()
    watermark(40)
    watermark(45_000)
    expect(connection()).toHaveTextContent('Delayed 45 s')
    expect(screen.getByText('Delayed 45 s: help requests may not arrive.')).toBeVisible()
    await waitFor(() => expect(connection()).toHaveTextContent('Delayed 46 s'), { timeout: 4_000 })
    watermark(40)
    expect(connection()).toHaveTextContent('Live')
    expect(screen.queryByText(/help requests may not arrive/u, { selector: 'strong' })).toBeNull()
  })

  it('announces a delay once and not with each second', async () => {
    await open()
    watermark(40)
    watermark(45_000)
    await waitFor(() => expect(announcer()).toHaveTextContent('Delayed: help requests may not arrive.'))
    const texts: (string | null)[] = []
    const observer = new MutationObserver(() => texts.push(announcer().textContent))
    observer.observe(announcer(), { childList: true, characterData: true, subtree: true })
    await waitFor(() => expect(connection()).toHaveTextContent('Delayed 47 s'), { timeout: 5_000 })
    observer.disconnect()
    expect(texts).toEqual([])
    expect(screen.getByText(/^Delayed 47 s: help/u).closest('[role=status], [role=alert], [aria-live]')).toBeNull()
  })

  it('names no figure while it is unknown how far the server is behind', async () => {
    await open()
    await waitFor(() => expect(connection()).toHaveTextContent(/^Delayed$/u), { timeout: 6_000 })
    expect(screen.getByText('Delayed: help requests may not arrive.', { selector: 'strong' })).toBeVisible()
  })

  it('never says that it is delayed by nothing', async () => {
    await open()
    watermark(40)
    const texts: (string | null)[] = []
    const observer = new MutationObserver(() => texts.push(connection().textContent))
    observer.observe(document.body, { childList: true, characterData: true, subtree: true })
    await waitFor(() => expect(connection()).toHaveTextContent(/Delayed \d+ s/u), { timeout: 5_000 })
    observer.disconnect()
    expect(texts.join(' ')).not.toMatch(/Delayed 0 s/u)
    expect(screen.getByText(/What has happened since is not shown yet/u)).toBeVisible()
  })

  it('is translated into Japanese', async () => {
    await open('ja')
    watermark(45_000)
    expect(connection()).toHaveTextContent('45 秒の遅延')
    expect(screen.getByText('45 秒遅れています：ヘルプの要求が届いていない可能性があります。')).toBeVisible()
  })
})
