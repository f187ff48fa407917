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
import { inWords } from '../../machine/disk.ts'
import { ProblemError } from '../../problem.ts'
import type { Event, Refusal } from '../client/protocol.ts'
import { type Answer, type Powers, verbs } from './verbs.ts'

/** A hub needs a handful; a hundred and more that say nothing must not keep it out. */
const mostConnections = 512
const headersTimeoutMs = 5_000
const mostEventBacklog = 1024 * 1024
export function createListener(powers: Powers, log: (line: string) => void): HttpServer {
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
      answer(powers, request, response).catch(error => refuse(response, error, log))
    },
  )
  server.maxConnections = mostConnections
  return server
}

async function answer(powers: Powers, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { call, name } = read(request)
  const row = Object.hasOwn(verbs, call) ? verbs[call] : undefined
  const length = Number(request.headers['content-length'] ?? 0)
  if (length > (row?.mostBytes ?? 0) || request.headers['transfer-encoding'] !== undefined) {
    throw refusal('BODY', 'the request has a body', 'no verb takes one', 'Send the verb and the user name alone')
  }
  if (!row) {
    throw refusal(
      'VERB',
      'there is no such verb',
      'the spawner starts, stops, lists and follows servers',
      'See spawner/client/protocol.ts',
    )
  }
  const answer = await row.run(powers, name, () => text(request))
  if ('follow' in answer) stream(answer, response)
  else send(response, answer.status, answer.value)
}

/** The verb as the table has it, and what is named. */
function read({ method, url = '' }: IncomingMessage): { call: string; name: string } {
  const [, root, second, third, ...rest] = url.split('/')
  const isOfUser = root === 'servers' || root === 'users'
  const pattern = isOfUser ? [root, second && 'NAME', third, ...rest] : [root, second, third && 'NAME', ...rest]
  const call = `${method} ${pattern.filter(part => part !== undefined).join('/')}`
  return { call, name: (isOfUser ? second : third) ?? '' }
}

function stream({ follow }: Extract<Answer, { follow: unknown }>, response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'application/x-ndjson' })
  const stop = follow((event: Event) => {
    response.write(`${JSON.stringify(event)}\n`)
    // A reader that does not read gets everything anew when it comes back.
    if (response.writableLength > mostEventBacklog) response.destroy()
  })
  response.on('close', stop)
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
