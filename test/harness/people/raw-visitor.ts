/**
 * Somebody who goes from host to host with the manners of a browser, but whose requests a test can bend: cookies are kept by host and
 * path as RFC 6265 says (ports do not count), and every name leads to the one address of the test host.
 */
import { request as httpRequest } from 'node:http'
import { WebSocket } from 'ws'

export interface Wanderer {
  /** Asks for an address, and follows no redirect. */
  get(url: string, headers?: Record<string, string>): Promise<Reply>
  /** The same, as a browser: follows redirects to the end. */
  go(url: string): Promise<Reply>
  send(method: string, url: string, headers?: Record<string, string>, body?: string): Promise<Reply>
  /** Sends a form of the hub's with its token. */
  post(url: string, fields?: Record<string, string>, headers?: Record<string, string>): Promise<Reply>
  /** Opens one, and answers `open` or the status with which it was refused. */
  webSocket(url: string, headers?: Record<string, string>): Promise<string>
  /** The cookies for an address, by name. */
  cookies(url: string): Map<string, string>
  /** As a page or a server there could. */
  plant(cookie: { host: string; path: string; name: string; value: string; forAllBelow?: boolean }): void
  forget(host: string): void
}

export interface Reply {
  url: string
  status: number
  body: string
  location: string
  setCookies: readonly string[]
}

interface Cookie {
  host: string
  /** Hosts below get it as well. */
  forAllBelow: boolean
  path: string
  name: string
  value: string
}

/** What a browser says over a connection that is not safe. */
const asPage = { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' }

/** @param address of the test host */
export function wander(address: string): Wanderer {
  let jar: Cookie[] = []

  function cookiesFor(url: string): Cookie[] {
    const { hostname, pathname } = new URL(url)
    return jar
      .filter(({ host, forAllBelow }) => host === hostname || (forAllBelow && hostname.endsWith(`.${host}`)))
      .filter(({ path }) => pathname === path || pathname.startsWith(path.endsWith('/') ? path : `${path}/`))
      .toSorted((one, other) => other.path.length - one.path.length)
  }

  const cookieHeader = (url: string): Record<string, string> => {
    const pairs = cookiesFor(url).map(({ name, value }) => `${name}=${value}`)
    return pairs.length ? { cookie: pairs.join('; ') } : {}
  }

  function keep(url: string, text: string): void {
    const [pair = '', ...attributes] = text.split(';')
    const { hostname: host } = new URL(url)
    const name = pair.slice(0, pair.indexOf('='))
    const path = attributes.find(attribute => /^\s*path=/i.test(attribute))?.split('=')[1] ?? '/'
    jar = jar.filter(old => old.host !== host || old.name !== name || old.path !== path || old.forAllBelow)
    if (/max-age=0|expires=thu, 01 jan 1970/i.test(text)) return
    jar.push({ host, path, name, value: pair.slice(name.length + 1), forAllBelow: false })
  }

  function send(method: string, url: string, headers: Record<string, string> = {}, body?: string): Promise<Reply> {
    const { host, port } = new URL(url)
    // Byte for byte, as it was given.
    const path = url.slice(url.indexOf(host) + host.length) || '/'
    return new Promise((resolve, reject) => {
      const call = httpRequest({
        ...{ host: address, port: port || 80, path, method, agent: false },
        headers: { host, ...asPage, ...cookieHeader(url), ...headers },
      })
      call.on('error', reject)
      call.on('response', response => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('error', reject)
        response.on('end', () => {
          const setCookies = response.headers['set-cookie'] ?? []
          for (const text of setCookies) keep(url, text)
          const { statusCode: status = 0, headers: received } = response
          resolve({
            url,
            status,
            body: Buffer.concat(chunks).toString(),
            location: received.location ?? '',
            setCookies,
          })
        })
      })
      call.end(body)
    })
  }

  const wanderer: Wanderer = {
    get: (url, headers) => send('GET', url, headers),
    async go(url) {
      let reply = await send('GET', url)
      for (let hops = 0; reply.location && hops < 20; hops++) {
        reply = await send('GET', new URL(reply.location, reply.url).href)
      }
      return reply
    },
    send,
    post(url, fields = {}, headers = {}) {
      const token = wanderer.cookies(url).get('_xsrf') ?? ''
      const body = new URLSearchParams({ _xsrf: token, ...fields }).toString()
      return send('POST', url, { 'content-type': 'application/x-www-form-urlencoded', ...headers }, body)
    },
    webSocket(url, headers = {}) {
      const { host, hostname, port } = new URL(url)
      const socket = new WebSocket(url.replace(hostname, address), {
        headers: {
          host,
          origin: `http://${hostname}${port && `:${port}`}`,
          ...cookieHeader(url.replace(/^ws/, 'http')),
          ...headers,
        },
      })
      return new Promise((resolve, reject) => {
        socket.on('open', () => {
          resolve('open')
          socket.close()
        })
        socket.on('unexpected-response', (_request, response) => resolve(String(response.statusCode)))
        // After an answer it says nothing new.
        socket.on('error', reject)
      })
    },
    cookies: url => new Map(cookiesFor(url).map(({ name, value }) => [name, value])),
    plant: ({ forAllBelow = false, ...cookie }) => void jar.push({ ...cookie, forAllBelow }),
    forget(host) {
      jar = jar.filter(cookie => cookie.host !== host)
    },
  }
  return wanderer
}
