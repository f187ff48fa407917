/**
 * Somebody at the hub without a browser: a cookie jar, the forms, and a kernel's WebSocket, in code. What a script that
 * logs in as a person does, and what a hostile one does.
 */
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import type { LookupFunction } from 'node:net'
import { text } from 'node:stream/consumers'
import { WebSocket } from 'ws'

export interface Visitor {
  /** The cookies by name. */
  cookies: Map<string, string>
  /** Asks for a path below the hub's address, and follows no redirect. */
  request(path: string, options?: VisitOptions): Promise<Answer>
  /** Fills in a form of the hub: adds `_xsrf`, the value of the cookie. */
  post(path: string, fields?: Record<string, string>): Promise<Answer>
  logIn(username: string, password: string): Promise<Answer>
  /** Starts the server of the one who has logged in, and waits until it is ready. Throws what the hub says it died of. */
  startServer(): Promise<void>
  /** Events of a start, as the page gets them, until the stream ends. */
  progress(user: string): AsyncGenerator<ProgressEvent>
  /** The cookies that a browser sends to that path, and what Jupyter's own pages send with them. */
  headersFor(path: string): Record<string, string>
  /** A request as Jupyter's own pages send it, with the XSRF token of that server. */
  jupyter(method: string, path: string, body?: unknown): Promise<Answer>
  webSocket(path: string, headers?: Record<string, string>): WebSocket
}

export interface VisitOptions {
  method?: string
  headers?: Record<string, string>
  body?: string | Buffer
}

export interface Answer {
  status: number
  headers: Record<string, string | string[] | undefined>
  body: string
  /** Of a redirect. */
  location: string
}

export interface ProgressEvent {
  progress: number
  message: string
  ready?: boolean
  failed?: boolean
  url?: string
  end?: { what: string; why: string; fix: string; log: string[]; journal?: string }
}

/** For an address that begins with https. */
export interface TlsOptions {
  /** The only certificate authority that is trusted, or the certificate itself (PEM). */
  ca: string
  /** Where the name in the address leads to. */
  address: string
}

/** @param url without a slash at the end */
export function visit(url: string, tls?: TlsOptions): Visitor {
  const ask = tls ? httpsRequest : httpRequest
  const way = tls ? { ca: tls.ca, lookup: lookupOf(tls.address) } : {}
  const cookies = new Map<string, string>()
  let user = ''

  const cookieHeader = () => [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')

  function keep(setCookies: readonly string[]): void {
    for (const text of setCookies) {
      const [pair = '', ...attributes] = text.split(';')
      const name = pair.slice(0, pair.indexOf('='))
      // The hub and each server have an `_xsrf` of their own, told apart by their paths.
      const path = attributes.find(attribute => /^\s*path=/i.test(attribute))?.split('=')[1] ?? '/'
      const key = path.includes('/user/') ? `user:${name}` : name
      if (/max-age=0|expires=thu, 01 jan 1970/i.test(text)) cookies.delete(key)
      else cookies.set(key, pair.slice(name.length + 1))
    }
  }

  function headersFor(path: string): Record<string, string> {
    const isUserPath = path.includes('/user/')
    const sent = [...cookies].flatMap(([key, value]) => {
      if (key.startsWith('user:')) return isUserPath ? [`${key.slice(5)}=${value}`] : []
      return key === '_xsrf' && isUserPath ? [] : [`${key}=${value}`]
    })
    return sent.length ? { cookie: sent.join('; ') } : {}
  }

  function request(path: string, { method = 'GET', headers = {}, body }: VisitOptions = {}): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const call = ask(`${url}${path}`, {
        ...way,
        method,
        headers: { accept: 'text/html', ...headersFor(path), ...headers },
        agent: false,
      })
      call.on('error', reject)
      call.on('response', response => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('error', reject)
        response.on('end', () => {
          keep(response.headers['set-cookie'] ?? [])
          const { statusCode: status = 0, headers: received } = response
          resolve({
            status,
            headers: received,
            body: Buffer.concat(chunks).toString(),
            location: received.location ?? '',
          })
        })
      })
      call.end(body)
    })
  }

  const post: Visitor['post'] = (path, fields = {}) =>
    request(path, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams({ _xsrf: cookies.get('_xsrf') ?? '', ...fields }).toString(),
    })

  async function* progress(owner: string): AsyncGenerator<ProgressEvent> {
    const path = `/hub/api/users/${owner}/server/progress`
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const call = ask(`${url}${path}`, { ...way, headers: { cookie: cookieHeader() }, agent: false }, resolve)
      call.on('error', reject)
      call.end()
    })
    response.setEncoding('utf8')
    if (response.statusCode !== 200) throw new Error(`progress: ${response.statusCode} ${await text(response)}`)
    let rest = ''
    for await (const chunk of response as AsyncIterable<string>) {
      const events = (rest + chunk).split('\n\n')
      rest = events.pop() ?? ''
      for (const event of events) yield JSON.parse(event.replace(/^data: /, '')) as ProgressEvent
    }
  }

  return {
    cookies,
    request,
    post,
    async logIn(username, password) {
      await request('/hub/login')
      const answer = await post('/hub/login', { username, password })
      if (answer.status === 302) {
        user = username
        // A form of the hub's gives the token that belongs to the new session.
        await request('/hub/home')
      }
      return answer
    },
    async startServer() {
      await post('/hub/spawn')
      for await (const event of progress(user)) {
        if (event.failed) throw new Error(`${event.message}\n${JSON.stringify(event.end, null, 2)}`)
        if (!event.ready) continue
        const { status, body } = await request(`/user/${user}/lab`)
        if (status === 200) return
        throw new Error(`JupyterLab’s page: ${status} ${body}`)
      }
      throw new Error('the progress ended without a result')
    },
    progress,
    headersFor: path => ({ ...headersFor(path), 'x-xsrftoken': cookies.get('user:_xsrf') ?? '' }),
    jupyter: (method, path, body) =>
      request(`/user/${user}/${path}`, {
        method,
        headers: { accept: '*/*', 'x-xsrftoken': cookies.get('user:_xsrf') ?? '', 'content-type': 'application/json' },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      }),
    webSocket(path, headers = {}) {
      return new WebSocket(`${url.replace(/^http/, 'ws')}${path}`, {
        ...way,
        headers: { ...headersFor(path), ...headers },
      })
    },
  }
}

/** A name server that knows one address for all names. */
export function lookupOf(address: string): LookupFunction {
  return (_name, options, done) => (options.all ? done(null, [{ address, family: 4 }]) : done(null, address, 4))
}
