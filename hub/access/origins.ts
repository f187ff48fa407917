/**
 * Which host and port serve what. An origin (scheme, host, port) is what browsers keep pages apart by, so this is where it is decided
 * whose pages can reach whose.
 *
 * There are three arrangements:
 *
 *   shared     one origin for the hub and all servers: nothing else is set
 *   visits     the same, and a second port (`admins.visit_port`) for the visits of administrators to the servers of others
 *   domains    the hub on `https.user_domains`, and each user's server on a subdomain of its own
 *
 * All of it is computed from the head of a request and the configuration; nothing is asked of anybody. A host's label is one to one
 * with its user, and a request whose host and path do not belong together is never served.
 */
import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import type { Config } from '../../config/meaning/config.ts'
import { isUserName, type UserName } from '../../config/users/names.ts'
import { shortest, withoutMapping } from '../../machine/endpoints.ts'
import type { ProblemError } from '../../problem.ts'
import { challengePath } from '../tls/challenges.ts'
import { isSecure } from '../web/cookies.ts'
import { ambiguousAddress, misdirected, noPage, tlsAlone, tlsInFront } from '../web/refusals.ts'

/** Where a request has arrived. */
export type OriginPlace =
  /** The one origin for all. */
  | { kind: 'shared' }
  /** The port for visits. */
  | { kind: 'visits' }
  /** The hub's own host. */
  | { kind: 'hub' }
  /** The host of one user's server. */
  | { kind: 'server'; label: string }
  /** An address of this machine, without a name: what checks of its health use. */
  | { kind: 'machine' }
  /** A name that is not ours. */
  | { kind: 'foreign' }

/** What is to be done with a request before anybody looks further. */
export type Verdict =
  | { kind: 'serve' }
  /** Permanent: with the same method, and whoever is led there need not ask here again. */
  | { kind: 'redirect'; to: string; isPermanent?: boolean }
  | { kind: 'refuse'; problem: ProblemError }

export interface Asked {
  readonly method: string
  /** The header. */
  readonly host: string | undefined
  /** Path and query, as they were sent. */
  readonly url: string
  readonly isOnVisitPort: boolean
  readonly isSecure: boolean
  /** Whether something in between says that the browser speaks TLS with it. */
  readonly isSecureInFront?: boolean
  /** The address of this machine that the connection came to. */
  readonly localAddress?: string
  /** Whether a person waits for a page. */
  readonly isNavigation: boolean
  readonly isUpgrade: boolean
}

export interface Arrangement {
  baseUrl: string
  /** The hub's host in small letters; empty: no domains for users. */
  userDomains: string
  /** On which the hub itself is found: by https, where that is on. */
  hubPort: number
  /** Where https is on: what comes without is led there. */
  tls?: TlsNames | undefined
  /** The one on which the hub listens for visits, where that counts. */
  visitPort: number | undefined
}

/** The names that the hub is meant to be found under by https. */
export interface TlsNames {
  isOurs(name: string): boolean
  /** Where those go who came by another; empty: none is known. */
  mainName(): string
}

export interface Origins {
  arrangement(): Arrangement
  placeOf(request: IncomingMessage): OriginPlace
  /** The verdict on a request, by its head. */
  steer(request: IncomingMessage, isNavigation: boolean): Verdict
  /** `http://hub.example.org`, as the browser that asks would write it. */
  hubOrigin(request: IncomingMessage): string
  /** The origin where `visitor` finds the server of `owner`. Empty: the one that this request came to. */
  serverOrigin(request: IncomingMessage, owner: UserName, visitor: UserName): string
  /** For the Content-Security-Policy: where forms of the hub may lead besides the hub. */
  formTargets(request: IncomingMessage): string
}

/**
 * @param visitPort the second port on which this hub listens
 * @param tls undefined: it speaks plain HTTP
 */
export function createOrigins(
  current: () => Config,
  baseUrl: string,
  visitPort: number | undefined,
  tls?: TlsNames | undefined,
): Origins {
  let known: { config: Config; arrangement: Arrangement } | undefined
  const arrangement = (): Arrangement => {
    const config = current()
    if (known?.config === config) return known.arrangement
    const { userDomains, http, visitPort: wanted } = config
    const hubPort = (http.tls ?? http).port
    const found = { baseUrl, userDomains, hubPort, tls, visitPort: wanted === visitPort ? visitPort : undefined }
    known = { config, arrangement: found }
    return found
  }
  const asked = (request: IncomingMessage, isNavigation = false) => new RequestHead(request, visitPort, isNavigation)

  return {
    arrangement,
    placeOf: request => placeOf(arrangement(), asked(request)),
    steer(request, isNavigation) {
      // Of two hosts, the browser and we could mean different ones.
      if (hostCount(request) > 1) return { kind: 'refuse', problem: ambiguousAddress() }
      return steer(arrangement(), asked(request, isNavigation))
    },
    hubOrigin: request => hubOrigin(arrangement(), asked(request)),
    serverOrigin: (request, owner, visitor) => serverOrigin(arrangement(), asked(request), owner, visitor),
    formTargets(request) {
      const { userDomains, visitPort: port } = arrangement()
      const { scheme, name, port: suffix } = written(asked(request))
      if (userDomains) return `${scheme}://*.${userDomains}${suffix}`
      return port === undefined || name === '' ? "'self'" : `${scheme}://${name}:${port}`
    },
  }
}

/** Nearly every request needs little of it, so it is looked up when it is asked for. */
class RequestHead implements Asked {
  readonly isNavigation: boolean
  readonly #request: IncomingMessage
  readonly #visitPort: number | undefined

  constructor(request: IncomingMessage, visitPort: number | undefined, isNavigation: boolean) {
    this.#request = request
    this.#visitPort = visitPort
    this.isNavigation = isNavigation
  }

  get method(): string {
    return this.#request.method ?? ''
  }

  get host(): string | undefined {
    return this.#request.headers.host
  }

  get url(): string {
    return this.#request.url ?? ''
  }

  get isOnVisitPort(): boolean {
    return this.#visitPort !== undefined && this.#request.socket.localPort === this.#visitPort
  }

  get isSecure(): boolean {
    return isSecure(this.#request)
  }

  get isSecureInFront(): boolean {
    return /^https$/i.test(String(this.#request.headers['x-forwarded-proto'] ?? ''))
  }

  get localAddress(): string {
    return withoutMapping(this.#request.socket.localAddress ?? '')
  }

  get isUpgrade(): boolean {
    return this.#request.headers.upgrade !== undefined
  }
}

function hostCount({ rawHeaders }: IncomingMessage): number {
  let count = 0
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]
    if (name?.length === 4 && name.toLowerCase() === 'host') count++
  }
  return count
}

/** Names that people give to machines: a user of that name must not get one. */
const reservedLabels = new Set(['www', 'hub', 'api', 'mail', 'localhost', 'static'])
const longestLabel = 40
/** 80 bits: nobody who may choose a name finds one that falls together with somebody else's. */
const digestLength = 20

/**
 * The label of a user's host. A name that is one already stays; the others are cut and made readable, and get a piece of their
 * SHA-256 behind `--`, which no label of the first kind has.
 */
export function labelOf(user: UserName): string {
  const isPlain = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/.test(user) && user.length <= longestLabel && !user.includes('--')
  if (isPlain && !reservedLabels.has(user)) return user
  const readable = user
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, longestLabel)
    .replace(/-$/, '')
  return `${readable}--${createHash('sha256').update(user).digest('hex').slice(0, digestLength)}`
}

export function placeOf({ userDomains, visitPort }: Arrangement, asked: Asked): OriginPlace {
  if (asked.isOnVisitPort) return { kind: visitPort === undefined ? 'foreign' : 'visits' }
  if (!userDomains) return { kind: 'shared' }
  const { name } = written(asked)
  if (name === userDomains) return { kind: 'hub' }
  const label = name.endsWith(`.${userDomains}`) ? name.slice(0, -userDomains.length - 1) : ''
  if (/^[a-z0-9-]+$/.test(label)) return { kind: 'server', label }
  return { kind: name === 'localhost' || isIP(name.replace(/^\[|\]$/g, '')) !== 0 ? 'machine' : 'foreign' }
}

export function steer(arrangement: Arrangement, asked: Asked): Verdict {
  const { baseUrl } = arrangement
  // Whoever asks whether a domain is ours is answered under any name; so is this machine, and Let's Encrypt by its numbers.
  if (!asked.isSecure && asked.url.startsWith(challengePath)) return { kind: 'serve' }
  if (arrangement.tls && !asked.isSecure) return steerToTls(arrangement, arrangement.tls, asked)
  const { method, url, isNavigation, isUpgrade } = asked
  const place = placeOf(arrangement, asked)
  if (place.kind === 'shared') return { kind: 'serve' }
  const owner = ownerIn(url, baseUrl)
  const isReading = (method === 'GET' || method === 'HEAD') && !isUpgrade
  const serve: Verdict = { kind: 'serve' }
  const toHub: Verdict = { kind: 'redirect', to: `${hubOrigin(arrangement, asked)}${url}` }
  const nothingHere = (): Verdict => (isReading && isNavigation ? toHub : { kind: 'refuse', problem: noPage() })
  // What is not a path could name a host of its own.
  if (!url.startsWith('/')) return { kind: 'refuse', problem: noPage() }

  switch (place.kind) {
    case 'hub':
      if (owner === undefined) return serve
      if (!isReading) return { kind: 'refuse', problem: misdirected() }
      return { kind: 'redirect', to: `${serverOrigin(arrangement, asked, owner, owner)}${url}` }
    case 'server':
      return owner !== undefined && labelOf(owner) === place.label ? serve : nothingHere()
    case 'visits':
      return owner !== undefined ? serve : nothingHere()
    case 'machine':
      if (url === `${baseUrl}hub/health`) return serve
      return isReading ? toHub : { kind: 'refuse', problem: misdirected() }
    case 'foreign':
      return { kind: 'refuse', problem: misdirected() }
  }
}

/** By the name that was asked for only where it is ours: nobody is led anywhere else by a header of a request. */
function steerToTls({ baseUrl, hubPort }: Arrangement, tls: TlsNames, asked: Asked): Verdict {
  const { url } = asked
  if (url === `${baseUrl}hub/health`) return { kind: 'serve' }
  // The front proxy already speaks https; a redirect to https would loop.
  if (asked.isSecureInFront) return { kind: 'refuse', problem: tlsInFront() }
  const { name } = written(asked)
  const isHere = name !== '' && shortest(name.replace(/^\[|\]$/g, '')) === asked.localAddress
  const known = name !== '' && tls.isOurs(name) ? name : tls.mainName()
  const to = known || (isHere ? name : '')
  if (!url.startsWith('/')) return { kind: 'refuse', problem: misdirected() }
  if (to === '') return { kind: 'refuse', problem: tlsAlone() }
  return {
    kind: 'redirect',
    to: `https://${to}${hubPort === 443 ? '' : `:${hubPort}`}${url}`,
    isPermanent: known !== '',
  }
}

/** Whose server the address is of; undefined for everything that is not below `user/NAME`. */
function ownerIn(url: string, baseUrl: string): UserName | undefined {
  const prefix = `${baseUrl}user/`
  if (!url.startsWith(prefix)) return undefined
  const name = url.slice(prefix.length).split(/[/?]/, 1)[0] ?? ''
  return isUserName(name) ? name : undefined
}

function hubOrigin({ userDomains, hubPort }: Arrangement, asked: Asked): string {
  const { scheme, name, port } = written(asked)
  if (userDomains) return `${scheme}://${userDomains}${port}`
  const ownPort = hubPort === (asked.isSecure ? 443 : 80) ? '' : `:${hubPort}`
  return `${scheme}://${name}${asked.isOnVisitPort ? ownPort : port}`
}

function serverOrigin(arrangement: Arrangement, asked: Asked, owner: UserName, visitor: UserName): string {
  const { userDomains, visitPort } = arrangement
  if (!userDomains && (visitPort === undefined || owner === visitor)) return ''
  const { scheme, name, port } = written(asked)
  if (userDomains) return `${scheme}://${labelOf(owner)}.${userDomains}${port}`
  return name === '' ? '' : `${scheme}://${name}:${visitPort}`
}

/** The header as it was meant. The port is the browser's, which need not be ours where something stands between. */
function written({ host = '', isSecure }: Asked): { scheme: string; name: string; port: string } {
  const match = /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?$/.exec(host.toLowerCase())
  return { scheme: isSecure ? 'https' : 'http', name: match?.[1] ?? '', port: match?.[2] ?? '' }
}
