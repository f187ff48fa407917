/**
 * The web servers that stand between browsers and the hub, where the configuration says that there are some (`http.mode: behind-proxy`).
 *
 * What always holds: only a connection from `http.trusted_proxies` is believed, or one by the unix socket, which systemd lets only the web
 * server's group open; and only in the one kind of headers that the configuration names. Every other request counts as what it is,
 * whatever its headers say: it comes from where its connection comes from, and by https only where the hub itself has the TLS. Such
 * requests are served all the same, so that a false list locks nobody out.
 *
 * What is believed is noted when a request comes, before anybody else sees it, and `Host` becomes the name that the browser has asked
 * for: hub and servers compare origins with that. Administrators are told when a web server leaves out what it should say.
 */
import type { Server as HttpServer, IncomingMessage } from 'node:http'
import { BlockList } from 'node:net'
import type { Config, FrontProxies as Settings } from '../../config/meaning/config.ts'
import { withoutMapping } from '../../machine/endpoints.ts'
import type { ProblemText } from '../../problem.ts'
import { readAddress, readForwarded, type Told } from './forwarded-headers.ts'
import { amissWith, mayBeAmiss, problemWith } from './symptoms.ts'

export interface FrontProxies {
  /** Begins to look at every request to `server`, whose other listeners are there already. */
  follow(server: HttpServer): void
  /** To be called when the configuration has changed. */
  refresh(): void
  /** Whether connections from there are those of a web server in front, and stand for many browsers. */
  isTrusted(address: string): boolean
  /** What the web server in front leaves out of what it should say, by the last page that somebody asked for. */
  problem(): ProblemText | undefined
}

const believed = new WeakMap<IncomingMessage, Told>()

/** Without it, each request would be looked up several times where nobody stands in front. */
let isAnyBelieved = false

/** What is believed of what a web server in front says; undefined: the request is what it is. */
export function toldInFront(request: IncomingMessage): Told | undefined {
  return isAnyBelieved ? believed.get(request) : undefined
}

/** The address that the connection comes from. IPv4 is written as such, though it comes through a socket for both. */
export function peerOf({ socket }: IncomingMessage): string {
  return isByUnixSocket ? thisMachine : withoutMapping(socket.remoteAddress ?? '')
}

/** As what a connection by the unix socket counts that tells no address. */
const thisMachine = '127.0.0.1'

/** The hub has no other socket then: a connection that has no address any more, because it was broken off, is no sign of that. */
let isByUnixSocket = false

export function createFrontProxies(
  current: () => Pick<Config, 'frontProxies'>,
  log: (line: string) => void,
): FrontProxies {
  let settings: Settings | undefined
  let isTrusted: (address: string) => boolean = () => false
  let amiss: ProblemText | undefined
  const said = new Set<string>()

  function refresh(): void {
    const wanted = current().frontProxies
    if (wanted === settings) return
    settings = wanted
    isTrusted = inAny(wanted?.trusted ?? [])
    amiss = undefined
    said.clear()
  }

  function note(request: IncomingMessage): void {
    if (!settings && !mayBeAmiss(request)) return
    const peer = peerOf(request)
    const told = settings && (isByUnixSocket || isTrusted(peer)) ? believe(request, settings.headers, peer) : undefined
    const found = amissWith(request, { mode: settings?.headers, peer, told })
    if (found === undefined) return
    if (found === 'nothing') {
      amiss = undefined
      return
    }
    const problem = problemWith(found, { peer, headers: settings?.headers ?? 'x-forwarded' })
    if (told) amiss = problem
    // Once is enough, or everybody could fill the journal.
    if (said.has(found)) return
    said.add(found)
    log(`${problem.what}: ${problem.why}. ${problem.fix}`)
  }

  function believe(request: IncomingMessage, kind: Settings['headers'], peer: string): Told {
    const told = readForwarded(request.headers, { kind, peer, isTrusted })
    believed.set(request, told)
    isAnyBelieved = true
    if (told.host !== undefined) setHost(request, told.host)
    return told
  }

  refresh()
  return {
    follow(server) {
      // The file can have changed without a word from anybody; to look at each request would be much.
      server.prependListener('connection', refresh)
      server.once('listening', () => {
        // Of a unix socket that systemd has handed over, Node.js knows no path.
        const address = server.address()
        isByUnixSocket = address === null || typeof address === 'string'
      })
      for (const event of ['request', 'upgrade', 'checkContinue', 'checkExpectation'] as const) {
        // To listen to some of these is to answer them; where nobody does, the request comes as others do.
        if (server.listenerCount(event) > 0) server.prependListener(event, note)
      }
    },
    refresh,
    isTrusted: address => isTrusted(withoutMapping(address)),
    problem: () => amiss,
  }
}

function inAny(networks: Settings['trusted']): (address: string) => boolean {
  const list = new BlockList()
  for (const { address, prefix, family } of networks) list.addSubnet(address, prefix, family)
  return address => {
    const plain = readAddress(address.replace(/%.*/, ''))
    return plain !== undefined && list.check(plain, plain.includes(':') ? 'ipv6' : 'ipv4')
  }
}

/** Also where the header stands as it was sent, which is what users' servers get. */
function setHost(request: IncomingMessage, host: string): void {
  const { rawHeaders, headers } = request
  const at = rawHeaders.findIndex((text, index) => index % 2 === 0 && text.toLowerCase() === 'host')
  if (at < 0) rawHeaders.push('Host', host)
  else rawHeaders[at + 1] = host
  headers.host = host
}
