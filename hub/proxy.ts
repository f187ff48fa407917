/**
 * Carries requests and WebSockets to the socket of a user's server, and nothing else: who may go where has been
 * decided before (hub/user-servers.ts), and what passes with it is said in hub/headers.ts.
 *
 * Bodies stream both ways and have no time limit: an upload over a slow line takes as long as it takes. Connections to
 * a server are kept open, one pool for each account. A WebSocket is a pair of sockets after the handshake; no frame is
 * read.
 */
import { Agent, type ClientRequest, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import { type Duplex, finished, pipeline } from 'node:stream'
import { pipeline as pipelineEnded } from 'node:stream/promises'
import { shortUnixName, type UnixName, type UserName, unixName } from '../config/names.ts'
import { ProblemError } from '../problem.ts'
import { type Forwarded, requestHeaders, responseHeaders } from './headers.ts'

/** A request that may go where it wants to go. */
export interface Passage extends Forwarded {
  owner: UserName
  /** Path and query, as the browser sent them. */
  target: string
  /** `/user/NAME/`, with the hub's base URL before it: as far as the server's cookies may reach. */
  prefix: string
}

export interface ReverseProxy {
  /** Answers from the server. Throws `SERVER_UNREACHABLE` or `SERVER_BUSY`, and then nothing has been answered. */
  request(passage: Passage, request: IncomingMessage, response: ServerResponse): Promise<void>
  /** Joins `socket` to the server, or passes the server's refusal on. Throws likewise. */
  upgrade(passage: Passage, request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void>
  /** Forgets the connections to a server that is no more. */
  forget(owner: UserName): void
  close(): void
}

interface Answer {
  message: IncomingMessage
  /** Of an upgrade that the server agreed to. */
  joined?: { socket: Duplex; head: Buffer }
}

/** Requests that may be sent again when a kept connection turns out to be closed. */
const repeatable = new Set(['GET', 'HEAD', 'OPTIONS'])

/** More at once than any page asks for; what comes beyond waits. One student must not use up the hub's descriptors. */
const mostConnections = 64
/** Requests and WebSockets under way to one server; of the hub's 65536 descriptors each takes two. A student's server may keep them all for ever. */
const mostUnderWay = 1_000
/** A server says `103 Early Hints` once, if ever. One that does nothing else would keep the hub busy. */
const mostInterimAnswers = 8

/** `socketsFolder` holds a folder with a `socket` in it for each account. */
export function createProxy(socketsFolder: string): ReverseProxy {
  const agents = new Map<UnixName, Agent>()
  const underWay = new Map<UnixName, number>()

  function agentOf(account: UnixName): Agent {
    const known = agents.get(account)
    if (known) return known
    const agent = new Agent({ keepAlive: true, maxSockets: mostConnections, maxFreeSockets: 16 })
    agents.set(account, agent)
    return agent
  }

  /** Counts one in; whoever is counted in calls what is returned, once, at the end. Throws `SERVER_BUSY`. */
  function enter(owner: UserName): () => void {
    const account = unixName(owner)
    const others = underWay.get(account) ?? 0
    if (others >= mostUnderWay) throw busy(owner)
    underWay.set(account, others + 1)
    return () => {
      const left = (underWay.get(account) ?? 1) - 1
      if (left > 0) underWay.set(account, left)
      else underWay.delete(account)
    }
  }

  function open(passage: Passage, request: IncomingMessage, agent: Agent | false): ClientRequest {
    return httpRequest({
      socketPath: join(socketsFolder, shortUnixName(unixName(passage.owner)), 'socket'),
      method: request.method,
      path: passage.target,
      headers: requestHeaders(request.rawHeaders, passage, agent === false),
      setHost: false,
      agent,
    })
  }

  async function ask(passage: Passage, request: IncomingMessage, response: ServerResponse): Promise<IncomingMessage> {
    const agent = agentOf(unixName(passage.owner))
    const withBody = hasBody(request)
    for (;;) {
      const call = open(passage, request, agent)
      response.once('close', () => call.destroy())
      if (withBody) pipeline(request, call, () => undefined)
      else call.end()
      try {
        const { message, joined } = await answerOf(call)
        // Nobody asked for another protocol.
        if (joined) throw abandoned(joined.socket)
        return message
      } catch (cause) {
        const isStale = call.reusedSocket && !withBody && repeatable.has(request.method ?? '') && !response.destroyed
        if (!isStale) throw unreachable(passage.owner, cause)
      }
    }
  }

  return {
    async request(passage, request, response) {
      const leave = enter(passage.owner)
      try {
        const answer = await ask(passage, request, response)
        const headers = responseHeaders(answer.rawHeaders, passage.prefix)
        response.writeHead(answer.statusCode ?? 502, reasonOf(answer), headers)
        // Half an answer cannot be mended: `pipeline` breaks the connection, so that the browser sees it.
        await pipelineEnded(answer, response).catch(() => undefined)
      } finally {
        leave()
      }
    },

    async upgrade(passage, request, socket, head) {
      const leave = enter(passage.owner)
      if (socket.closed) leave()
      else socket.once('close', leave)
      const call = open(passage, request, false)
      const abandon = () => call.destroy()
      socket.once('close', abandon)
      call.end()
      const { message, joined } = await answerOf(call).catch(cause => {
        throw unreachable(passage.owner, cause)
      })
      socket.off('close', abandon)
      const headers = responseHeaders(message.rawHeaders, passage.prefix, joined !== undefined)
      if (joined) {
        socket.write(headText(message, headers))
        joinSockets(socket, head, joined.socket, joined.head)
      } else {
        socket.write(headText(message, [...headers, 'Connection', 'close']))
        await pipelineEnded(message, socket).catch(() => undefined)
      }
    },

    forget(owner) {
      const account = unixName(owner)
      agents.get(account)?.destroy()
      agents.delete(account)
    },

    close() {
      for (const agent of agents.values()) agent.destroy()
      agents.clear()
    },
  }
}

function abandoned(socket: Duplex): Error {
  socket.destroy()
  return new Error('it answered with a protocol that nobody asked for')
}

function answerOf(call: ClientRequest): Promise<Answer> {
  return new Promise((resolve, reject) => {
    let interimAnswers = 0
    call.on('information', () => {
      if (++interimAnswers > mostInterimAnswers) call.destroy(new Error('it answers without ever coming to an end'))
    })
    call.on('response', message => resolve({ message }))
    call.on('upgrade', (message, socket, head) => resolve({ message, joined: { socket, head } }))
    call.on('error', reject)
    call.on('close', () => reject(new Error('the connection was closed')))
  })
}

/** Whatever ends one of the two ends the other, so none is left half open. */
function joinSockets(browser: Duplex, fromBrowser: Buffer, server: Duplex, fromServer: Buffer): void {
  server.write(fromBrowser)
  browser.write(fromServer)
  browser.pipe(server)
  server.pipe(browser)
  finished(browser, () => server.destroy())
  finished(server, () => browser.destroy())
}

function hasBody(request: IncomingMessage): boolean {
  const length = request.headers['content-length']
  return request.headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0')
}

function headText(message: IncomingMessage, headers: readonly string[]): Buffer {
  const lines = [`HTTP/1.1 ${message.statusCode} ${reasonOf(message)}`]
  for (let index = 0; index < headers.length; index += 2) lines.push(`${headers[index]}: ${headers[index + 1]}`)
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1')
}

/** The reason phrase, where it is one that may be repeated. */
function reasonOf(message: IncomingMessage): string {
  return /^[\x20-\x7e]*$/.test(message.statusMessage ?? '') ? (message.statusMessage ?? '') : ''
}

function busy(owner: UserName): ProblemError {
  return new ProblemError('SERVER_BUSY', {
    what: `${owner}’s server has too much to answer`,
    why: `${mostUnderWay} requests and connections to it are open at this moment`,
    fix: 'Close pages and programs that use it. If it stays so, stop it and start it again on the home page; files are not touched',
  })
}

function unreachable(owner: UserName, cause: unknown): ProblemError {
  return new ProblemError('SERVER_UNREACHABLE', {
    what: `${owner}’s server does not answer`,
    why: 'it runs, and did not take the connection or broke it',
    fix: 'Try again in a moment. If it stays so, stop it and start it again on the home page; files are not touched',
    cause,
  })
}
