/**
 * What the self-test says to a server: what a browser would, by way of the hub. Requests go to the server's socket, with the headers
 * that the hub sets (hub/proxy/headers.ts); a cell goes over the kernel's WebSocket (the Jupyter messaging protocol, version 5.3, as JSON).
 */
import { randomUUID } from 'node:crypto'
import { request } from 'node:http'
import { text } from 'node:stream/consumers'
import { WebSocket } from 'ws'
import type { UserName } from '../../config/users/names.ts'

export interface Jupyter {
  /** Loads the page of JupyterLab. Throws an `Error` that says what the server did instead; so do the others. */
  open(): Promise<void>
  /** Starts a kernel, and answers its id. */
  startKernel(): Promise<string>
  /** Runs a cell to its end, and answers what it printed. */
  run(kernel: string, code: string): Promise<string>
}

export interface JupyterServer {
  /** The path of its unix socket. */
  socket: string
  user: UserName
  /** `/user/NAME/`, with the hub's base URL before it. */
  prefix: string
  /** Nothing is waited for beyond that. */
  signal: AbortSignal
}

interface Answer {
  status: number
  cookies: string[]
  body: string
}

interface Message {
  header?: { msg_type?: string }
  parent_header?: { msg_id?: string }
  content?: Record<string, unknown>
}

/** On a machine that is emulated, the first page and the first kernel take half a minute. */
const answerTimeoutMs = 2 * 60_000
/** More than any answer of a healthy server, and no burden for us. */
const mostBytes = 16 * 1024 ** 2

export function speakTo({ socket, user, prefix, signal }: JupyterServer): Jupyter {
  /** What its first page gave, and it wants back. */
  let cookie = ''
  let token = ''

  const fromHub = {
    'x-tljh-user': encodeURIComponent(user),
    'x-forwarded-for': '127.0.0.1',
    'x-forwarded-proto': 'http',
    host: 'localhost',
  }

  function ask(method: string, path: string, body = ''): Promise<Answer> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>()
    const headers = { ...fromHub, cookie, 'x-xsrftoken': token, 'content-type': 'application/json' }
    const until = AbortSignal.any([signal, AbortSignal.timeout(answerTimeoutMs)])
    const call = request({ socketPath: socket, method, path, headers, agent: false, signal: until }, response => {
      const answered = (content: string) =>
        resolve({ status: response.statusCode ?? 0, cookies: response.headers['set-cookie'] ?? [], body: content })
      text(response).then(answered, reject)
    })
    call.on('error', reject)
    call.end(body)
    return promise
  }

  return {
    async open() {
      const { status, cookies, body } = await ask('GET', `${prefix}lab`)
      if (status !== 200) throw unexpected('the page of JupyterLab', status, body)
      cookie = cookies.map(pair => pair.split(';', 1)[0]).join('; ')
      token = /(?:^|; )_xsrf=([^;]*)/.exec(cookie)?.[1] ?? ''
    },
    async startKernel() {
      const { status, body } = await ask('POST', `${prefix}api/kernels`, JSON.stringify({ name: 'python3' }))
      const { id } = status === 201 ? (JSON.parse(body) as { id?: unknown }) : {}
      if (typeof id !== 'string') throw unexpected('the wish for a kernel', status, body)
      return id
    },
    async run(kernel, code) {
      const session = randomUUID()
      const path = `${prefix}api/kernels/${encodeURIComponent(kernel)}/channels?session_id=${session}`
      const headers = { ...fromHub, cookie }
      const channel = new WebSocket(`ws+unix:${socket}:${path}`, { headers, maxPayload: mostBytes })
      try {
        return await runCell(channel, { session, user, code, signal })
      } finally {
        channel.terminate()
      }
    },
  }
}

interface Cell {
  session: string
  user: string
  code: string
  signal: AbortSignal
}

function runCell(channel: WebSocket, { session, user, code, signal }: Cell): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const id = randomUUID()
  let printed = ''
  let isAnswered = false
  let isIdle = false
  channel.on('open', () => {
    const header = { msg_id: id, msg_type: 'execute_request', username: user, session, version: '5.3' }
    const content = { code, silent: false, store_history: false, user_expressions: {}, allow_stdin: false }
    const date = new Date().toISOString()
    const message = { header: { ...header, date }, parent_header: {}, metadata: {}, content, channel: 'shell' }
    channel.send(JSON.stringify(message))
  })
  channel.on('message', data => {
    const { header, parent_header: parent, content = {} } = JSON.parse(String(data)) as Message
    const state = header?.msg_type === 'status' ? content.execution_state : undefined
    if (state === 'dead' || state === 'restarting') reject(new Error('the kernel died'))
    if (parent?.msg_id !== id) return
    if (header?.msg_type === 'stream') printed += String(content.text)
    if (header?.msg_type === 'error') reject(new Error(`the cell ended with ${content.ename}: ${content.evalue}`))
    if (header?.msg_type === 'execute_reply') isAnswered = true
    if (state === 'idle') isIdle = true
    if (isAnswered && isIdle) resolve(printed)
  })
  channel.on('error', reject)
  channel.on('close', () => reject(new Error('the server closed the WebSocket of the kernel')))
  const until = AbortSignal.any([signal, AbortSignal.timeout(answerTimeoutMs)])
  until.addEventListener('abort', () => reject(new Error('the kernel did not answer in time')), { once: true })
  return promise
}

function unexpected(what: string, status: number, body: string): Error {
  return new Error(`it answered ${what} with status ${status}: ${body.slice(0, 500)}`)
}
