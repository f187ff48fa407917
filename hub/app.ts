/**
 * The hub as a web server: its parts, put together behind one error handler.
 *
 * All routes of ours are below `hub/`; `user/NAME/` belongs to the users' servers (hub/server-pages/server-routes.ts). Every refusal
 * is a `ProblemError` thrown where it is known, and turned here into a page for people or JSON for programs.
 */
import { createServer, type IncomingMessage, type RequestListener, type ServerOptions } from 'node:http'
import { Readable } from 'node:stream'
import cookie from '@fastify/cookie'
import formbody from '@fastify/formbody'
import helmet, { type FastifyHelmetOptions } from '@fastify/helmet'
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify'
import { ProblemError } from '../problem.ts'
import { createGate } from './access/gate.ts'
import type { Origins } from './access/origins.ts'
import { configRoutes } from './admin/config-routes.ts'
import { usersRoutes } from './admin/users-routes.ts'
import { QueuedResponse } from './bounds/pipelining.ts'
import { JoiningRequest } from './bounds/tiny-chunks.ts'
import { accountRoutes } from './login/account-routes.ts'
import { externalLoginRoutes } from './login/external-routes.ts'
import { loginRoutes } from './login/login-routes.ts'
import { secondFactorRoutes } from './login/second-factor-routes.ts'
import { signUpRoutes } from './login/sign-up-routes.ts'
import { metricsRoutes } from './metrics/routes.ts'
import { adminSessionOf, problemAnswer } from './pages/answers.ts'
import type { Assets } from './pages/assets.ts'
import type { Hub } from './parts.ts'
import { bodyOf } from './proxy/request.ts'
import { homeRoutes } from './server-pages/home-routes.ts'
import { serverRoutes } from './server-pages/server-routes.ts'
import { visitRoutes } from './server-pages/visit-routes.ts'
import { challengeRoutes } from './tls/routes.ts'
import { isSecure } from './web/cookies.ts'
import { crossOrigin, noPage } from './web/refusals.ts'
import { isNavigation, isSameOrigin } from './web/request.ts'

/** Our own forms hold a name, a password and little more. */
const mostFormBytes = 64 * 1024
/** For the head of a request, and for a whole one to the hub's own pages. */
const slowestRequestMs = 30_000

const serverOptions: ServerOptions<typeof IncomingMessage, typeof QueuedResponse> = {
  IncomingMessage: JoiningRequest,
  ServerResponse: QueuedResponse,
  // An upload to a user's server may take hours; `refuseSlow` is for the rest.
  requestTimeout: 0,
  headersTimeout: slowestRequestMs,
  connectionsCheckingInterval: 5_000,
  keepAliveTimeout: 75_000,
  noDelay: true,
  // What says that it has no body is not a stream that has to come to its end first: a twentieth of the work of a request.
  optimizeEmptyRequests: true,
  // Programs offer h2c in passing; what is not taken up is a request like any other.
  shouldUpgradeCallback: request => request.headers.upgrade?.toLowerCase() === 'websocket',
}

const securityHeaders = (origins: Origins) =>
  ({
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: ["'none'"],
        scriptSrc: ["'self'"],
        styleSrc: ["'self'"],
        imgSrc: ["'self'"],
        connectSrc: ["'self'"],
        // Browsers hold it against what a form's answer leads to as well: a login may lead to a server on an origin of its own.
        formAction: ["'self'", request => origins.formTargets(request)],
        baseUri: ["'none'"],
        frameAncestors: ["'none'"],
      },
    },
    referrerPolicy: { policy: 'same-origin' },
    strictTransportSecurity: false,
  }) satisfies FastifyHelmetOptions

/** `onRoute` is told of each route as it is made. Throws where a template or an asset is missing. */
export async function createApp(
  hub: Hub,
  assets: Assets,
  onRoute: (route: { method: string; url: string }) => void = () => undefined,
): Promise<FastifyInstance> {
  const gate = createGate(hub)
  const app = fastify({
    logger: false,
    bodyLimit: mostFormBytes,
    // Most of what comes is for a user's server, and never gets to the routes.
    serverFactory(route) {
      const serve: RequestListener = (request, response) => {
        if (!gate.carry(request, response, route)) route(request, response)
      }
      // One that came behind others on its connection has no socket before they are answered. It waits, or what it asks could be done first.
      return createServer(serverOptions, (request, response) => {
        if (response.socket) serve(request, response)
        else if (!request.socket.destroyed) response.once('socket', () => serve(request, response))
      })
    },
    // An address that cannot be read never gets as far as the error handler.
    frameworkErrors(error, request, reply) {
      const { status, type, body } = problemAnswer(hub, error, request.raw)
      reply.raw.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) })
      reply.raw.end(body)
    },
    // A hub that is told to stop ends its connections itself (hub/hub.ts).
    forceCloseConnections: false,
    return503OnClosing: false,
    routerOptions: { ignoreTrailingSlash: false },
    // No answer has a schema; what makes programs of such takes 2 MB.
    schemaController: { compilersFactory: { buildSerializer: () => () => JSON.stringify } },
  })

  app.addHook('onRoute', ({ method, url }) => {
    for (const one of [method].flat()) onRoute({ method: one, url })
  })
  // node:http never says of a request without a body that it has ended (`optimizeEmptyRequests`), and what names a type is waited for.
  app.addHook('preParsing', async ({ raw }, _reply, payload) => (bodyOf(raw) ? payload : Readable.from([])))
  app.setErrorHandler((error, request, reply) => answerProblem(hub, error, request, reply))
  app.setNotFoundHandler((request, reply) => answerProblem(hub, noPage(), request, reply))

  await app.register(cookie)
  // Not for all answers: those of users' servers have headers of their own.
  await app.register(helmet, { global: false, ...securityHeaders(hub.origins) })
  app.addHook('onRequest', async (request, reply) => {
    const verdict = hub.origins.steer(request.raw, isNavigation(request.raw))
    if (verdict.kind === 'refuse') throw verdict.problem
    if (verdict.kind !== 'redirect') return
    const isReading = request.method === 'GET' || request.method === 'HEAD'
    const status = verdict.isPermanent ? (isReading ? 301 : 308) : 302
    return reply.header('cache-control', 'no-store').redirect(verdict.to, status)
  })
  // Once all of it is said: whoever never closes the other half would keep the connection for ever.
  app.server.on('upgrade', (_request, socket) => socket.once('finish', () => socket.destroy()))
  await app.register(serverRoutes, { hub, gate })
  await app.register(async own => {
    await own.register(formbody, { bodyLimit: mostFormBytes })
    own.addHook('onRequest', async (_request, reply) => reply.helmet())
    own.addHook('onRequest', async (request, reply) => hintAtTls(hub, request, reply))
    own.addHook('onRequest', refuseSlow)
    own.addHook('onRequest', async request => refuseBig(hub, request))
    own.addHook('preHandler', refuseForeign)
    own.addHook('onResponse', async (request, reply) => {
      const { method, routeOptions } = request
      const seconds = reply.elapsedTime / 1000
      hub.metrics.answered({ method, route: routeOptions.url ?? '', status: reply.statusCode, seconds })
    })
    await own.register(challengeRoutes, hub)
    await own.register(loginRoutes, hub)
    await own.register(secondFactorRoutes, hub)
    await own.register(externalLoginRoutes, hub)
    await own.register(accountRoutes, hub)
    await own.register(signUpRoutes, hub)
    await own.register(homeRoutes, { hub, gate })
    await own.register(visitRoutes, hub)
    await own.register(configRoutes, hub)
    await own.register(usersRoutes, hub)
    await own.register(metricsRoutes, hub)
    assetRoutes(own, hub.baseUrl, assets)
  })
  return app
}

async function answerProblem(
  hub: Hub,
  error: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  await reply.helmet()
  await refuseSlow(request)
  if (error instanceof ProblemError && error.code === 'LOGIN_NEEDED' && isNavigation(request.raw)) {
    const next = request.method === 'POST' ? '' : `?next=${encodeURIComponent(request.raw.url ?? '')}`
    return reply.redirect(`${hub.baseUrl}hub/login${next}`)
  }
  const { status, type, body } = problemAnswer(hub, error, request.raw)
  return reply.code(status).type(type).header('cache-control', 'no-store').send(body)
}

function assetRoutes(app: FastifyInstance, baseUrl: string, assets: Assets): void {
  app.get<{ Params: { name: string } }>(`${baseUrl}hub/static/:name`, (request, reply) => {
    const asset = assets.get(request.params.name)
    if (!asset) throw noPage()
    // Some are big: whoever takes nothing of one for so long is cut off.
    request.raw.socket.setTimeout(slowestRequestMs)
    reply.header('etag', `"${asset.etag}"`).header('cache-control', 'public, max-age=31536000, immutable')
    if (request.headers['if-none-match'] === `"${asset.etag}"`) return reply.code(304).send()
    return reply.type(asset.type).send(asset.body)
  })
}

/** The header is for browsers that have come by TLS, and counts for the host that says it (RFC 6797). */
function hintAtTls({ config }: Hub, { raw }: FastifyRequest, reply: FastifyReply): void {
  const { hstsSeconds } = config.current().https
  if (hstsSeconds !== undefined && isSecure(raw)) reply.header('strict-transport-security', `max-age=${hstsSeconds}`)
}

/** Whoever sends a body that never ends is cut off, whether it was answered meanwhile or not. */
async function refuseSlow({ raw }: FastifyRequest): Promise<void> {
  if (!bodyOf(raw)) return
  const timer = setTimeout(() => {
    if (!raw.complete) raw.destroy()
  }, slowestRequestMs)
  raw.once('close', () => clearTimeout(timer))
}

/** Where more than a few lines may be sent is for administrators: of everybody else, not even the body is read. */
function refuseBig(hub: Hub, request: FastifyRequest): void {
  if (request.routeOptions.bodyLimit > mostFormBytes) adminSessionOf(hub, request)
}

async function refuseForeign(request: FastifyRequest): Promise<void> {
  if (request.method !== 'GET' && request.method !== 'HEAD' && !isSameOrigin(request.raw)) throw crossOrigin()
}
