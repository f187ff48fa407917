/**
 * A student's browser at a hub, as far as a start of a server needs it: logging in, the click, the progress, the page.
 *
 * Our hub has JupyterHub's addresses, so the same lines of code drive both, and neither is asked for more than the other.
 * It does in the order in which a browser does: each redirect is followed, the page of the progress is loaded before
 * its events are.
 */
import { randomUUID } from 'node:crypto'
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http'
import { WebSocket } from 'ws'

export interface Start {
  /** CLOCK_MONOTONIC in microseconds, the clock of systemd's own timestamps, when the button was pressed. */
  clickUs: number
  /** Milliseconds after the click. */
  readyMs: number
  pageMs: number
}

export interface Student {
  name: string
  logIn(password: string): Promise<void>
  /** From the click to the whole page of JupyterLab. @throws what the hub says the server died of */
  startServer(): Promise<Start>
  /** Asks the hub for something by the cookies of the session, with the XSRF token; a POST is a form. */
  send(method: string, path: string, fields?: Record<string, string>): Promise<Answer>
  /** Starts a kernel in the server, and runs a cell in it to its end. */
  runCell(code: string): Promise<void>
  /** The events of a start or of a stop, to the last. */
  progress(): AsyncGenerator<ProgressEvent>
}

export interface Answer {
  status: number
  location: string
  body: string
}

export interface ProgressEvent {
  message?: string
  ready?: boolean
  failed?: boolean
}

interface Reply {
  header: { msg_type: string }
  content: { status?: string }
}

interface Cookie {
  name: string
  value: string
  path: string
}

/** JupyterHub gives up after a minute. */
const STEP_LIMIT_MS = 90_000
const MOST_REDIRECTS = 10

export function monotonicUs(): number {
  return Number(process.hrtime.bigint() / 1000n)
}

/** @param url without a slash at the end */
export function student(url: string, name: string): Student {
  const agent = new Agent({ keepAlive: true })
  let cookies: Cookie[] = []

  function cookiesFor(path: string): Cookie[] {
    // The longest path first, as RFC 6265 has it: a hub and a server each have an `_xsrf`.
    return cookies.filter(cookie => path.startsWith(cookie.path)).toSorted((a, b) => b.path.length - a.path.length)
  }

  function keep(setCookie: string): void {
    const [pair = '', ...attributes] = setCookie.split(';').map(part => part.trim())
    const path = attributes.find(attribute => /^path=/i.test(attribute))?.slice(5) || '/'
    const cookie = { name: pair.slice(0, pair.indexOf('=')), value: pair.slice(pair.indexOf('=') + 1), path }
    cookies = cookies.filter(other => other.name !== cookie.name || other.path !== path)
    const isOver = attributes.some(attribute => /^(max-age=0$|expires=.* (1970|19\d\d|200\d) )/i.test(attribute))
    if (!isOver && cookie.value !== '""' && cookie.value !== '') cookies.push(cookie)
  }

  function open(
    method: string,
    path: string,
    headers: Record<string, string>,
    body?: string,
  ): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const cookie = cookiesFor(path)
        .map(({ name, value }) => `${name}=${value}`)
        .join('; ')
      const signal = AbortSignal.timeout(STEP_LIMIT_MS)
      const call = httpRequest(url + path, { method, agent, signal, headers: { cookie, ...headers } })
      call.on('error', reject)
      call.on('response', response => {
        for (const text of response.headers['set-cookie'] ?? []) keep(text)
        resolve(response)
      })
      call.end(body)
    })
  }

  async function ask(
    method: string,
    path: string,
    headers: Record<string, string> = {},
    body?: string,
  ): Promise<Answer> {
    const response = await open(method, path, { accept: 'text/html', ...headers }, body)
    const { statusCode: status = 0, headers: received } = response
    const { pathname, search } = new URL(received.location ?? '', url)
    return { status, location: received.location ? pathname + search : '', body: await textOf(response) }
  }

  async function follow(answer: Answer): Promise<Answer> {
    let last = answer
    for (let count = 0; last.location !== ''; count++) {
      if (count === MOST_REDIRECTS) throw new Error(`${url} redirects without end, at last to ${last.location}`)
      last = await ask('GET', last.location)
    }
    return last
  }

  const xsrf = (path: string) => cookiesFor(path).find(cookie => cookie.name === '_xsrf')?.value ?? ''

  function send(method: string, path: string, fields: Record<string, string> = {}): Promise<Answer> {
    const headers = { 'x-xsrftoken': xsrf(path) }
    if (method !== 'POST') return ask(method, path, headers)
    const form = new URLSearchParams({ _xsrf: xsrf(path), ...fields }).toString()
    return ask(method, path, { ...headers, 'content-type': 'application/x-www-form-urlencoded' }, form)
  }

  async function* progress(): AsyncGenerator<ProgressEvent> {
    const path = `/hub/api/users/${name}/server/progress`
    const response = await open('GET', path, { accept: 'text/event-stream', 'x-xsrftoken': xsrf(path) })
    if (response.statusCode !== 200) throw new Error(`${path}: ${response.statusCode} ${await textOf(response)}`)
    let rest = ''
    for await (const chunk of response.setEncoding('utf8')) {
      const events = (rest + chunk).split('\n\n')
      rest = events.pop() ?? ''
      // An empty one is JupyterHub's sign of life.
      for (const event of events) if (event.startsWith('data:')) yield JSON.parse(event.slice(5)) as ProgressEvent
    }
  }

  /** Over the WebSocket of a kernel, by the Jupyter messaging protocol. */
  async function execute(path: string, code: string): Promise<void> {
    const cookie = cookiesFor(path)
      .map(one => `${one.name}=${one.value}`)
      .join('; ')
    const socket = new WebSocket(`${url.replace(/^http/, 'ws')}${path}`, { headers: { cookie, origin: url } })
    const ended = Promise.withResolvers<void>()
    const timer = setTimeout(() => ended.reject(new Error(`${name}'s cell at ${url} did not end`)), STEP_LIMIT_MS)
    const content = { code, silent: false, store_history: false, user_expressions: {}, allow_stdin: false }
    const header = { msg_id: randomUUID(), msg_type: 'execute_request', username: name, session: name, version: '5.3' }
    const message = { header, parent_header: {}, metadata: {}, content, buffers: [], channel: 'shell' }
    socket.on('open', () => socket.send(JSON.stringify(message)))
    socket.on('message', data => {
      const { header: answer, content: said } = JSON.parse(String(data)) as Reply
      if (answer.msg_type !== 'execute_reply') return
      if (said.status === 'ok') ended.resolve()
      else ended.reject(new Error(`${name}'s cell at ${url}: ${said.status}`))
    })
    socket.on('error', ended.reject)
    socket.on('close', () => ended.reject(new Error(`the WebSocket of ${name}'s kernel at ${url} was closed`)))
    try {
      await ended.promise
    } finally {
      clearTimeout(timer)
      socket.terminate()
    }
  }

  async function untilReady(): Promise<void> {
    for await (const event of progress()) {
      if (event.failed) throw new Error(`the server of ${name} at ${url} did not start: ${JSON.stringify(event)}`)
      if (event.ready) return
    }
    throw new Error(`the progress of ${name}'s server at ${url} ended without a result`)
  }

  return {
    name,
    send,
    progress,
    async logIn(password) {
      await ask('GET', '/hub/login')
      const answer = await send('POST', '/hub/login', { username: name, password })
      if (answer.status !== 302) throw new Error(`${name} cannot log in at ${url}: ${answer.status}\n${answer.body}`)
      // A page of the session has the token that belongs to it.
      await ask('GET', '/hub/home')
    },
    async runCell(code) {
      const path = `/user/${name}/api/kernels`
      const headers = { 'x-xsrftoken': xsrf(path), 'content-type': 'application/json' }
      const { status, body } = await ask('POST', path, headers, JSON.stringify({ name: 'python3' }))
      if (status !== 201) throw new Error(`no kernel for ${name} at ${url}: ${status} ${body.slice(0, 500)}`)
      const { id } = JSON.parse(body) as { id: string }
      await execute(`${path}/${id}/channels?session_id=${randomUUID()}`, code)
    },
    async startServer() {
      const clickUs = monotonicUs()
      const sinceClick = () => (monotonicUs() - clickUs) / 1000
      const clicked = await send('POST', '/hub/spawn')
      if (clicked.location.startsWith('/hub/spawn-pending/')) {
        await ask('GET', clicked.location)
        await untilReady()
      } else if (!clicked.location.startsWith('/user/')) {
        throw new Error(`POST /hub/spawn at ${url}: ${clicked.status} ${clicked.location}\n${clicked.body}`)
      }
      const readyMs = sinceClick()
      const page = await follow(await ask('GET', `/user/${name}/lab`))
      if (!isLab(page)) throw new Error(`/user/${name}/lab at ${url}: ${page.status}\n${page.body.slice(0, 2000)}`)
      return { clickUs, readyMs, pageMs: sinceClick() }
    },
  }
}

/** Whether it is the page of JupyterLab, and all of it. */
export function isLab({ status, body }: { status: number; body: string }): boolean {
  return status === 200 && body.includes('jupyter-config-data') && body.trimEnd().endsWith('</html>')
}

export async function textOf(response: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of response.setEncoding('utf8')) text += chunk
  return text
}
