/**
 * The spawner's one door: HTTP on a unix socket that systemd made and that only root and the group tljh-hub may open.
 *
 * Whoever comes through may be a hub that was taken over. A request is a verb and a user's name, and nothing else is
 * read: a body, a query or a header with a meaning of its own is refused, so there is nothing to smuggle anything
 * in. (The one body there is, a proposed configuration, is checked as if nobody had.) What is slow or silent is cut off, and there are never more connections than the hub can honestly use.
 */
import { createServer, type Server as HttpServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import type { ServicesStatus } from '../../config/change/services.ts'
import { isUserName, type UserName } from '../../config/users/names.ts'
import { inWords } from '../../machine/disk.ts'
import { ProblemError } from '../../problem.ts'
import type { Event, Refusal, Server, StartOptions } from '../client/protocol.ts'
import type { Leavers } from './removals.ts'

/** What the verbs do with servers. */
export interface Servers {
  list(): Server[]
  get(user: UserName): Server
  start(user: UserName, options: StartOptions): Server
  stop(user: UserName): Server
  /** Calls `listener` with everything at once, then with each change; returns how to stop that. */
  follow(listener: (event: Event) => void): () => void
}

/** What the verbs do with the configuration. */
export interface Configuration {
  status(): Promise<ServicesStatus>
  reload(options: { isAtOnce: boolean }): Promise<void>
  hubRuns(version: string): void
  /** Checks it as if nobody had, and brings it into force. Answers its number in the history. */
  propose(admin: UserName, body: string): Promise<{ number: number }>
  /** Calls `listener` with the version in force at once, then with each that comes; returns how to stop that. */
  follow(listener: (event: Event) => void): () => void
}

/** A hub needs a handful; a hundred and more that say nothing must not keep it out. */
const mostConnections = 512
const headersTimeoutMs = 5_000
const mostEventBacklog = 1024 * 1024
/** A configuration has at most a megabyte of characters (config/text/read.ts), and JSON writes some of them longer. */
const mostProposalBytes = 2 * 1024 * 1024

export function createListener(
  servers: Servers,
  configuration: Configuration,
  leavers: Leavers,
  log: (line: string) => void,
): HttpServer {
  // The hub sends one request, and the next when that is answered. What comes sooner could be the rest of one that is refused.
  const answering = new WeakSet<Socket>()
  const server = createServer(
    {
      maxHeaderSize: 4096,
      headersTimeout: headersTimeoutMs,
      requestTimeout: headersTimeoutMs,
      connectionsCheckingInterval: 1_000,
      keepAliveTimeout: 60_000,
    },
    (request, response) => {
      const { socket } = request
      if (answering.has(socket)) return void socket.destroy()
      answering.add(socket)
      response.once('finish', () => {
        if (response.shouldKeepAlive) answering.delete(socket)
      })
      answer(servers, configuration, leavers, request, response).catch(error => refuse(response, error, log))
    },
  )
  server.maxConnections = mostConnections
  return server
}

async function answer(
  servers: Servers,
  configuration: Configuration,
  leavers: Leavers,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const isProposal = request.method === 'POST' && request.url?.startsWith('/config/propose/') === true
  const length = Number(request.headers['content-length'] ?? 0)
  if (length > (isProposal ? mostProposalBytes : 0) || request.headers['transfer-encoding'] !== undefined) {
    throw refusal('BODY', 'the request has a body', 'no verb takes one', 'Send the verb and the user name alone')
  }
  const [, root, name, verb, ...rest] = (request.url ?? '').split('/')
  const pattern =
    root === 'servers' || root === 'users'
      ? [root, name && 'NAME', verb, ...rest]
      : [root, name, verb && 'NAME', ...rest]
  const call = `${request.method} ${pattern.filter(part => part !== undefined).join('/')}`
  switch (call) {
    case 'GET servers':
      return send(response, 200, servers.list())
    case 'GET servers/NAME':
      return send(response, 200, servers.get(userNamed(name)))
    case 'POST servers/NAME/start':
      leavers.mustStay(userNamed(name))
      return send(response, 202, servers.start(userNamed(name), { hasOwnSettings: true }))
    case 'POST servers/NAME/start-without-settings':
      leavers.mustStay(userNamed(name))
      return send(response, 202, servers.start(userNamed(name), { hasOwnSettings: false }))
    case 'POST servers/NAME/stop':
      return send(response, 202, servers.stop(userNamed(name)))
    case 'POST users/NAME/archive':
      return send(response, 200, await leavers.archive(userNamed(name)))
    case 'POST users/NAME/forget':
      return send(response, 200, await leavers.forget(userNamed(name)))
    case 'GET events':
      return stream(servers, configuration, response)
    case 'GET config':
      return send(response, 200, await configuration.status())
    case 'POST config/reload':
    case 'POST config/reload-at-once':
      await configuration.reload({ isAtOnce: name === 'reload-at-once' })
      return send(response, 200, {})
    case 'POST config/propose/NAME':
      return send(response, 200, await configuration.propose(userNamed(verb), await text(request)))
    case 'POST config/in-force/NAME':
      configuration.hubRuns(versionNamed(verb))
      return send(response, 200, {})
    default:
      throw refusal(
        'VERB',
        'there is no such verb',
        'the spawner starts, stops, lists and follows servers',
        'See spawner/client/protocol.ts',
      )
  }
}

/** The name must be spelled as it is stored: no decoding here, so no second opinion on what it says. */
function userNamed(name: string | undefined): UserName {
  if (name !== undefined && isUserName(name)) return name
  throw refusal(
    'USER_NAME',
    'that cannot be a user name',
    'a name has 1 to 64 of a-z, 0-9 and . _ @ -',
    'Send a valid name',
  )
}

function versionNamed(name: string | undefined): string {
  if (name !== undefined && /^[0-9a-f]{64}$/.test(name)) return name
  throw refusal('VERSION', 'that cannot be a version', 'a version has 64 hexadecimal digits', 'Send a valid one')
}

function stream(servers: Servers, configuration: Configuration, response: ServerResponse): undefined {
  response.writeHead(200, { 'content-type': 'application/x-ndjson' })
  const tell = (event: Event) => {
    response.write(`${JSON.stringify(event)}\n`)
    // A reader that does not read gets everything anew when it comes back.
    if (response.writableLength > mostEventBacklog) response.destroy()
  }
  const stops = [servers.follow(tell), configuration.follow(tell)]
  response.on('close', () => {
    for (const stop of stops) stop()
  })
}

function send(response: ServerResponse, status: number, value: unknown): undefined {
  const body = JSON.stringify(value)
  response
    .writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) })
    .end(body)
}

function refuse(response: ServerResponse, thrown: unknown, log: (line: string) => void): void {
  const error = inWords(thrown)
  const problem = error instanceof ProblemError ? error : undefined
  if (!problem) log(`unexpected: ${error instanceof Error ? error.stack : String(error)}`)
  const { code, what, why, fix } =
    problem ??
    refusal('UNEXPECTED', 'The spawner made an error', 'it was not foreseen', 'See: journalctl --unit=tljh-spawner')
  // What was sent and not read must not be taken for the next request.
  response.setHeader('connection', 'close')
  send(response, statusOf(code), { code, what, why, fix } satisfies Refusal)
}

function statusOf(code: string): number {
  switch (code) {
    case 'BODY':
      return 413
    case 'VERB':
      return 404
    case 'USER_NAME':
    case 'VERSION':
      return 400
    case 'USER_NOT_ALLOWED':
    case 'USER_STILL_ALLOWED':
    case 'USER_NOT_TEMPORARY':
      return 403
    case 'CONFIG_CHANGED':
    case 'CONFIG_LOCKED':
    case 'USER_LEAVES':
    case 'SERVER_RUNS':
    case 'PROCESSES_LEFT':
    case 'HOME_MOUNTS':
      return 409
    case 'CONFIG_INVALID':
    case 'PROPOSAL':
      return 422
    case 'UNEXPECTED':
      return 500
    default:
      return 503
  }
}

function refusal(code: string, what: string, why: string, fix: string): ProblemError {
  return new ProblemError(code, { what, why, fix })
}
