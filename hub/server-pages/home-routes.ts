/**
 * A person's own server, from the home page: start it, watch it start, stop it.
 */
import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { isUserName, type UserName } from '../../config/users/names.ts'
import type { Log } from '../../machine/paced-log.ts'
import type { Server } from '../../spawner/client/protocol.ts'
import type { Servers } from '../../spawner/client/servers.ts'
import type { Gate } from '../access/gate.ts'
import { type ServerAddressNeeds, serverAddress } from '../access/server-address.ts'
import type { Session } from '../access/sessions.ts'
import { readTarget } from '../access/target.ts'
import { checkForm, type FormNeeds, formToken, nextQuery, sendPage, sessionOf } from '../pages/answers.ts'
import { type Pages, stepWords } from '../pages/pages.ts'
import { crossOrigin, noPage, notYours, tooManyWatchers } from '../web/refusals.ts'
import { isNavigation, isOwnLink, ownPath } from '../web/request.ts'

const form = {
  type: 'object',
  properties: {
    _xsrf: { type: 'string', maxLength: 256, default: '' },
    next: { type: 'string', maxLength: 4096, default: '' },
    settings: { enum: ['own', 'none'], default: 'own' },
  },
}

interface Form {
  _xsrf: string
  next: string
  /** Whether Jupyter reads the user's own settings in this start. */
  settings: 'own' | 'none'
}

/** So long after a login it is still the login that leads to a start. */
const justLoggedInMs = 60_000

/** Pages of one person that watch a start, at a time. Each tab has one. */
const mostWatchers = 32

interface Needs extends FormNeeds, ServerAddressNeeds {
  servers: Servers
  pages: Pages
  log: Log
}

export async function homeRoutes(app: FastifyInstance, { hub, gate }: { hub: Needs; gate: Gate }): Promise<void> {
  const { baseUrl, access, config, origins, servers, pages, log } = hub

  const watchers = new Map<UserName, number>()

  /** Whose server the address names. Throws `NOT_YOURS`, and the same for a name that nobody has. */
  function ownerIn(name: string, user: UserName): UserName {
    if (isUserName(name) && access.mayUse(user, name)) return name
    throw notYours(user)
  }

  async function start(user: UserName, next: string, reply: FastifyReply, hasOwnSettings = true) {
    const server = await servers.start(user, { hasOwnSettings })
    log(`${user} starts a server${hasOwnSettings ? '' : ' without settings of their own'}: ${server.kind}`, user)
    const query = next ? `?next=${encodeURIComponent(next)}` : ''
    return reply.redirect(`${baseUrl}hub/spawn-pending/${user}${query}`)
  }

  app.get(`${baseUrl}hub/home`, (request, reply) => {
    const user = sessionOf(hub, request).user
    const isAdmin = access.isAdmin(user)
    const configProblem = isAdmin ? config.problem() : undefined
    const xsrf = formToken(hub, request, reply)
    return sendPage(
      reply,
      pages.home({
        user,
        isAdmin,
        server: servers.get(user),
        address: serverAddress(hub, request, user),
        configProblem,
        xsrf,
      }),
    )
  })

  /** Whether the person wants a start: comes from our pages, by the address bar, or from the login, which may be another site's. */
  function isMeant({ raw }: FastifyRequest, { started }: Session): boolean {
    return isOwnLink(raw) || (isNavigation(raw) && Date.now() - started < justLoggedInMs)
  }

  /**
   * As with JupyterHub, to open this address is to start; but only for somebody who means it. Everybody else is shown a button, since a
   * link of a stranger's could have led here.
   */
  app.get<{ Querystring: { next: string } }>(
    `${baseUrl}hub/spawn`,
    { schema: { querystring: nextQuery } },
    async (request, reply) => {
      const session = sessionOf(hub, request)
      const { user } = session
      const next = ownPath(request.query.next, baseUrl)
      if ((request.headers['sec-fetch-dest'] ?? 'document') !== 'document') throw crossOrigin()
      if (isMeant(request, session)) return start(user, next, reply)
      const server = servers.get(user)
      if (server.kind === 'ready') return reply.redirect(next || serverAddress(hub, request, user))
      return sendPage(
        reply,
        pages.notRunning({ user, owner: user, server, next, xsrf: formToken(hub, request, reply) }),
      )
    },
  )

  /**
   * A link for a whole class, such as those of nbgitpuller: the same path on the server of whoever opens it, with the query as it was sent.
   * It starts the server as `hub/spawn` does; everybody else finds the button at the address that it leads to.
   */
  app.get(`${baseUrl}hub/user-redirect/*`, async (request, reply) => {
    const session = sessionOf(hub, request)
    const { user } = session
    const prefix = `${baseUrl}hub/user-redirect/`
    const asked = request.raw.url ?? ''
    if (!asked.startsWith(prefix)) throw noPage()
    const address = `${baseUrl}user/${user}/${asked.slice(prefix.length)}`
    // It leads to that server and nowhere else. Throws where it could be read in two ways.
    readTarget({ url: address }, baseUrl)
    const isPage = (request.headers['sec-fetch-dest'] ?? 'document') === 'document' && isNavigation(request.raw)
    if (servers.get(user).kind === 'stopped' && isPage && isMeant(request, session)) {
      const server = await servers.start(user)
      log(`${user} starts a server: ${server.kind}`, user)
    }
    const origin = origins.serverOrigin(request.raw, user, user)
    return reply.header('cache-control', 'no-store').redirect(`${origin}${address}`)
  })

  app.post<{ Body: Form }>(`${baseUrl}hub/spawn`, { schema: { body: form } }, async (request, reply) => {
    const user = sessionOf(hub, request).user
    checkForm(hub, request, request.body._xsrf)
    const { next, settings } = request.body
    return start(user, ownPath(next, baseUrl), reply, settings === 'own')
  })

  app.post<{ Body: Form }>(`${baseUrl}hub/stop`, { schema: { body: form } }, async (request, reply) => {
    const user = sessionOf(hub, request).user
    checkForm(hub, request, request.body._xsrf)
    await servers.stop(user)
    log(`${user} stops the server`, user)
    return reply.redirect(`${baseUrl}hub/home`)
  })

  app.get<{ Params: { name: string }; Querystring: { next: string } }>(
    `${baseUrl}hub/spawn-pending/:name`,
    { schema: { querystring: nextQuery } },
    (request, reply) => {
      const user = sessionOf(hub, request).user
      const owner = ownerIn(request.params.name, user)
      const next = ownPath(request.query.next, baseUrl)
      const server = servers.get(owner)
      if (server.kind === 'ready') return reply.redirect(next || serverAddress(hub, request, owner, user))
      const xsrf = formToken(hub, request, reply)
      return sendPage(reply, pages.spawnPending({ user, owner, server, xsrf, next }))
    },
  )

  app.get<{ Params: { name: string } }>(`${baseUrl}hub/api/users/:name/server/progress`, (request, reply) => {
    const session = sessionOf(hub, request)
    const { user } = session
    const owner = ownerIn(request.params.name, user)
    const others = watchers.get(user) ?? 0
    if (others >= mostWatchers) throw tooManyWatchers()
    watchers.set(user, others + 1)
    const gone = new AbortController()
    reply.raw.once('close', () => {
      gone.abort()
      const left = (watchers.get(user) ?? 1) - 1
      if (left > 0) watchers.set(user, left)
      else watchers.delete(user)
    })
    // It ends with the session. Whoever may see the start of somebody else's server need not be on a visit there.
    gate.follow(reply.raw, session, user)
    reply
      .header('content-type', 'text/event-stream')
      .header('cache-control', 'no-store')
      .header('x-accel-buffering', 'no')
    return reply.send(
      Readable.from(progress(servers.watch(owner, gone.signal), serverAddress(hub, request, owner, user))),
    )
  })
}

/** One event for each state; the last says `ready` or `failed`. The fields are those of JupyterHub, and `end`. */
async function* progress(states: AsyncIterable<Server>, url: string): AsyncGenerator<string> {
  for await (const server of states) {
    const event = progressEvent(server, url)
    yield `data: ${JSON.stringify(event)}\n\n`
    if ('ready' in event || 'failed' in event) return
  }
}

function progressEvent(server: Server, url: string) {
  switch (server.kind) {
    case 'starting':
      return { progress: server.progress, message: stepWords(server), step: server.step }
    case 'stopping':
      return { progress: 0, message: 'Waiting for the last one to stop' }
    case 'ready':
      return { progress: 100, message: 'Ready', ready: true, url }
    case 'failed':
      return { progress: 100, message: server.end.what, failed: true, end: server.end }
    case 'stopped': {
      const end = { what: 'The server is not running', why: 'it was stopped', fix: 'Start it again', log: [] }
      return { progress: 100, message: end.what, failed: true, end }
    }
  }
}
