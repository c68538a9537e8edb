/**
 * A fake API and gateway, for working on the dashboard without the stack. It implements the REST and WebSocket contract
 * of docs/dev/contracts.md with a simulated class, serves `dist/` with its production policy, and switches faults on at
 * `POST /dev/<fault>`. See README.md here. Never part of the build.
 */

import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { extname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'

import { WebSocketServer } from 'ws'

import { Simulation } from './simulation.mjs'

const dist = fileURLToPath(new URL('../dist/', import.meta.url))
const HISTORY = 1000
const types = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' }
const policy =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
  "connect-src 'self' ws: wss:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

/** The accounts; the password of each is `password`. */
const people = {
  teacher: { id: '00000000-0000-7000-8000-000000000001', name: '青木 真理', role: 'instructor' },
  assistant: { id: '00000000-0000-7000-8000-000000000002', name: 'Tom Becker', role: 'assistant' },
  observer: { id: '00000000-0000-7000-8000-000000000003', name: 'Olga Ivanova', role: 'observer' },
  nobody: { id: '00000000-0000-7000-8000-000000000004', name: 'Nobody', role: null },
}

export async function startServer({ port = 8900, students = 30, seed = 7, stepsPerSecond = 2, tokenSeconds = 600 } = {}) {
  const simulation = new Simulation({ students, seed })
  const channel = `course:${simulation.courseId}`
  const tokens = new Map()
  const cookies = new Map()
  const sockets = new Set()
  const faults = { drop: false, silence: false, down: false, expire: false, noTimeSeries: false, frozen: false }
  let epoch = randomUUID().slice(0, 8)
  let offset = 0
  let history = []
  let waiting = []

  simulation.onChange((kind, state) => {
    offset += 1
    const publication = { channel, epoch, offset, kind, state }
    history = [...history.slice(1 - HISTORY), publication]
    waiting.push(publication)
  })

  function send(socket, frame) {
    if (!faults.silence && socket.readyState === socket.OPEN) socket.send(JSON.stringify(frame))
  }

  function flush() {
    const publications = waiting
    waiting = []
    if (publications.length === 0) return
    for (const socket of sockets) {
      if (socket.subscribed) send(socket, { type: 'publications', channel, publications })
    }
  }

  function onFrame(socket, text) {
    const frame = JSON.parse(text)
    const { id } = frame
    const fail = (code, type) => {
      send(socket, { type: 'error', id, error: { type, msg: type } })
      socket.close(code, type)
    }
    switch (frame.type) {
      case 'connect':
      case 'refresh': {
        if (!tokens.has(frame.token)) return fail(3500, 'invalid_token')
        socket.person = tokens.get(frame.token)
        const expires = new Date(Date.now() + tokenSeconds * 1000).toISOString()
        if (frame.type === 'refresh') return send(socket, { type: 'refreshed', id, expires_at: expires })
        return send(socket, { type: 'connected', id, ping_interval_s: 25, expires_at: expires })
      }
      case 'subscribe': {
        if (socket.person === undefined) return fail(3501, 'bad_request')
        if (frame.channel !== channel) return fail(3507, 'permission_denied')
        flush()
        const oldest = history[0]?.offset ?? offset + 1
        const recovered = frame.epoch === epoch && frame.offset <= offset && frame.offset >= oldest - 1
        socket.subscribed = recovered
        const publications = recovered ? history.filter((item) => item.offset > frame.offset) : []
        return send(socket, { type: 'subscribed', id, channel, epoch, offset, recovered, publications })
      }
      default:
        return undefined
    }
  }

  function answer(response, status, body, headers = {}) {
    response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store', ...headers })
    response.end(body === undefined ? '' : JSON.stringify(body))
  }

  const fault = (response, status, type, msg = type, headers = {}) =>
    answer(response, status, { detail: [{ type, msg }] }, headers)

  function issue(response, username, headers = {}) {
    const token = randomUUID()
    tokens.set(token, people[username])
    answer(response, 200, { access_token: token, token_type: 'bearer', expires_in: tokenSeconds }, headers)
  }

  async function readBody(request) {
    let text = ''
    for await (const chunk of request) text += chunk
    return text === '' ? {} : JSON.parse(text)
  }

  const cookieOf = (request) => /(?:^|; )cell_monitor_sign_in=([\w-]+)/u.exec(request.headers.cookie ?? '')?.[1] ?? ''

  async function handleAuth(path, request, response) {
    const attributes = 'Path=/api/v1/auth; HttpOnly; SameSite=Strict'
    if (path === 'auth/login') {
      const { username, password } = await readBody(request)
      if (username === 'limited') return fault(response, 429, 'rate_limited', 'too many attempts', { 'retry-after': '90' })
      if (!(username in people) || password !== 'password') return fault(response, 401, 'invalid_credentials')
      const cookie = randomUUID()
      cookies.set(cookie, username)
      faults.expire = false
      return issue(response, username, { 'set-cookie': `cell_monitor_sign_in=${cookie}; ${attributes}` })
    }
    if (path === 'auth/refresh') {
      const username = cookies.get(cookieOf(request))
      if (username === undefined || faults.expire) return fault(response, 401, 'not_authenticated')
      return issue(response, username)
    }
    if (path === 'auth/password') {
      const username = cookies.get(cookieOf(request))
      if (username === undefined) return fault(response, 401, 'not_authenticated')
      const state = { has_password: true, change: 'present_password', min_chars: 12, max_chars: 128 }
      if (request.method === 'GET') return answer(response, 200, state)
      const { present } = await readBody(request)
      return present === 'password' ? issue(response, username) : fault(response, 403, 'present_password_wrong')
    }
    cookies.delete(cookieOf(request))
    return answer(response, 204, undefined, { 'set-cookie': `cell_monitor_sign_in=; ${attributes}; Max-Age=0` })
  }

  function handleCourse(parts, url, request, response, person) {
    const [, courseId, what, id, more] = parts
    if (courseId !== simulation.courseId || person.role === null) return fault(response, 404, 'not_found')
    if (what === 'state') {
      flush()
      return answer(response, 200, {
        course: { course_id: courseId, title: simulation.title, thresholds: simulation.thresholds },
        epoch,
        offset,
        generated_at: new Date().toISOString(),
        students: [...simulation.students.values()],
        staff: simulation.staff,
        help: simulation.activeHelp(),
        counters: simulation.counters(),
      })
    }
    if (what === 'help' && request.method === 'POST') {
      if (person.role === 'observer') return fault(response, 403, 'forbidden')
      const result = simulation.actOnHelp(id, more, person.id)
      if (typeof result !== 'string') return answer(response, 200, { help: result, published: true })
      return fault(response, result === 'not_found' ? 404 : 409, result)
    }
    if (what === 'students') {
      const student = simulation.students.get(id)
      if (student === undefined) return fault(response, 404, 'not_found')
      if (more === 'runs') {
        const start = Number(url.searchParams.get('before') ?? 0)
        const limit = Number(url.searchParams.get('limit') ?? 50)
        const runs = simulation.runs.get(id)
        const next = start + limit < runs.length ? String(start + limit) : null
        return answer(response, 200, { runs: runs.slice(start, start + limit), next_before: next })
      }
      const help = [...simulation.help.values()].filter((item) => item.student_id === id)
      return answer(response, 200, { student, cells: simulation.cells(id), help })
    }
    if (what === 'activity') {
      if (faults.noTimeSeries) return fault(response, 503, 'timeseries_unavailable')
      const { start, stop, every } = Object.fromEntries(url.searchParams)
      const buckets = simulation.activity(Date.parse(start), Date.parse(stop), Number(every))
      return answer(response, 200, { source: 'postgresql', buckets })
    }
    return fault(response, 404, 'not_found')
  }

  async function handleApi(path, url, request, response) {
    if (path === 'config') return answer(response, 200, { gateway_url: '/ws', version: 'dev', sign_in: [{ kind: 'password' }] })
    if (faults.down) return fault(response, 503, 'unavailable')
    if (path.startsWith('auth/')) return handleAuth(path, request, response)
    const person = tokens.get((request.headers.authorization ?? '').replace(/^Bearer /u, ''))
    if (person === undefined || faults.expire) return fault(response, 401, 'token_expired')
    const course = { course_id: simulation.courseId, title: simulation.title, role: person.role }
    if (path === 'me') {
      return answer(response, 200, {
        person_id: person.id,
        username: person.name,
        display_name: person.name,
        is_admin: false,
        courses: person.role === null ? [] : [course],
      })
    }
    if (path === 'courses') {
      const { students: count, help_open: open } = simulation.counters()
      const courses = [
        { ...course, students: count, help_open: open, need_help: open, active: Math.round(count * 0.8), running: 4, left: 1 },
        { course_id: 'stats', title: 'Statistics II', role: person.role, students: 48, help_open: 0, need_help: 0, active: 0, running: 0, left: 0 },
        { course_id: 'ml', title: '機械学習セミナー', role: 'student', students: 12, help_open: 0, need_help: 0, active: 1, running: 0, left: 0 },
      ]
      return answer(response, 200, { courses: person.role === null ? [] : courses })
    }
    return handleCourse(path.split('/'), url, request, response, person)
  }

  async function handleFault(name, response) {
    if (name === 'drop') {
      faults.drop = true
      for (const socket of sockets) socket.terminate()
    } else if (name === 'refuse') {
      for (const socket of sockets) socket.close(3507, 'permission_denied')
    } else if (name === 'forget') {
      epoch = randomUUID().slice(0, 8)
      offset = 0
      history = []
      for (const socket of sockets) socket.close(3010, 'insufficient_state')
    } else if (name === 'resume') {
      for (const key of Object.keys(faults)) faults[key] = false
    } else if (name === 'help') {
      simulation.askForHelp([...simulation.students.keys()][3], 'どこが間違っているのか分かりません。')
    } else if (name in faults) {
      faults[name] = true
    } else {
      return fault(response, 404, 'not_found')
    }
    return answer(response, 200, faults)
  }

  async function serveFile(path, response) {
    const relative = normalize(path).replace(/^(\.\.[/\\])+/u, '')
    const found = extname(relative) === '' ? 'index.html' : relative
    try {
      const content = await readFile(join(dist, found))
      response.writeHead(200, {
        'content-type': types[extname(found)] ?? 'application/octet-stream',
        'content-security-policy': policy,
        'x-content-type-options': 'nosniff',
      })
      response.end(content)
    } catch {
      fault(response, 404, 'not_found', 'build the dashboard first: npm run build')
    }
  }

  const server = createServer((request, response) => {
    const url = new URL(request.url, 'http://stand-in')
    const done = url.pathname.startsWith('/api/v1/')
      ? handleApi(url.pathname.slice(8), url, request, response)
      : url.pathname.startsWith('/dev/') && request.method === 'POST'
        ? handleFault(url.pathname.slice(5), response)
        : serveFile(url.pathname, response)
    Promise.resolve(done).catch((error) => fault(response, 500, 'internal_error', String(error)))
  })

  const gateway = new WebSocketServer({ noServer: true, maxPayload: 16 * 1024 })
  server.on('upgrade', (request, socket, head) => {
    if (faults.drop || new URL(request.url, 'http://stand-in').pathname !== '/ws') {
      socket.destroy()
      return
    }
    gateway.handleUpgrade(request, socket, head, (client) => {
      sockets.add(client)
      client.on('message', (data) => onFrame(client, data.toString()))
      client.on('close', () => sockets.delete(client))
      client.on('error', () => client.terminate())
    })
  })

  const timers = [
    setInterval(() => {
      if (!faults.frozen) simulation.step(Math.max(1, Math.round(stepsPerSecond / 4)))
    }, 250),
    setInterval(flush, 50),
    setInterval(() => {
      for (const socket of sockets) send(socket, { type: 'ping' })
    }, 25_000),
  ]

  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve))
  const address = `http://127.0.0.1:${server.address().port}`
  return {
    address,
    simulation,
    faults,
    async stop() {
      for (const timer of timers) clearInterval(timer)
      for (const socket of sockets) socket.terminate()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { address } = await startServer({
    port: Number(process.env.PORT ?? 8900),
    students: Number(process.env.STUDENTS ?? 30),
    stepsPerSecond: Number(process.env.STEPS_PER_SECOND ?? 4),
  })
  process.stdout.write(`Stand-in API and gateway  ${address}  (teacher / password)\n`)
}
