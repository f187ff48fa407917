/**
 * The ways in and out: the front door, login and logout.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { ProblemError, type ProblemText } from '../problem.ts'
import { addressOf, isOwnLink, ownPath, sessionCookie } from './access.ts'
import { checkForm, formToken, type Hub, nextQuery, sendPage, serverAddress } from './answers.ts'
import { logIn } from './login.ts'
import { sessionAgeSeconds } from './sessions.ts'
import { xsrfCookie } from './xsrf.ts'

interface LoginForm {
  username: string
  password: string
  _xsrf: string
  next: string
}

const loginForm = {
  type: 'object',
  required: ['username', 'password'],
  properties: {
    username: { type: 'string', maxLength: 256 },
    password: { type: 'string', maxLength: 4096 },
    _xsrf: { type: 'string', maxLength: 256, default: '' },
    next: { type: 'string', maxLength: 4096, default: '' },
  },
}

export async function entryRoutes(app: FastifyInstance, hub: Hub): Promise<void> {
  const { baseUrl, access, sessions, passwords, config, servers, pages, log } = hub
  const cookieOptions = { path: baseUrl, httpOnly: true, sameSite: 'lax' } as const

  function loginPage(request: FastifyRequest, reply: FastifyReply, typed: Partial<LoginForm>, problem?: ProblemText) {
    const { username = '', next = '' } = typed
    const page = pages.login({ username, next, xsrf: formToken(hub, request, reply), problem })
    return sendPage(
      reply,
      page,
      problem instanceof ProblemError && problem.code === 'LOGINS_TOO_MANY' ? 429 : problem ? 403 : 200,
    )
  }

  /** Where a person lands who asks for nothing in particular. */
  async function front(request: FastifyRequest, reply: FastifyReply) {
    const session = access.sessionOf(request.raw)
    if (!session) return reply.redirect(`${baseUrl}hub/login`)
    const server = servers.get(session.user)
    if (server.kind === 'ready') return reply.redirect(serverAddress(hub, session.user))
    // What went wrong is read before it is tried again.
    return reply.redirect(server.kind === 'failed' ? `${baseUrl}hub/home` : `${baseUrl}hub/spawn`)
  }
  app.get(baseUrl, front)
  app.get(`${baseUrl}hub/`, front)
  app.get(`${baseUrl}hub`, front)
  if (baseUrl !== '/') {
    app.get('/', (_request, reply) => reply.redirect(baseUrl))
    app.get(baseUrl.slice(0, -1), (_request, reply) => reply.redirect(baseUrl))
  }

  app.get(`${baseUrl}hub/health`, () => ({ status: 'ok' }))

  app.get<{ Querystring: { next: string } }>(
    `${baseUrl}hub/login`,
    { schema: { querystring: nextQuery } },
    (request, reply) => {
      const next = ownPath(request.query.next, baseUrl)
      if (access.sessionOf(request.raw)) return reply.redirect(next || `${baseUrl}hub/`)
      return loginPage(request, reply, { next })
    },
  )

  app.post<{ Body: LoginForm }>(`${baseUrl}hub/login`, { schema: { body: loginForm } }, async (request, reply) => {
    const typed = request.body
    try {
      checkForm(hub, request, typed._xsrf)
      const user = await logIn(config.current(), passwords, typed)
      const old = access.sessionOf(request.raw)
      if (old) sessions.end(old)
      reply.setCookie(sessionCookie, sessions.start(user), { ...cookieOptions, maxAge: sessionAgeSeconds })
      // It belonged to nobody's session; the next form gets one that belongs to this.
      reply.clearCookie(xsrfCookie, { path: `${baseUrl}hub/` })
      log(`${user} logged in from ${addressOf(request.raw)}`)
      return reply.redirect(ownPath(typed.next, baseUrl) || `${baseUrl}hub/`)
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error
      log(
        `login refused (${error.code}) from ${addressOf(request.raw)} for ${JSON.stringify(typed.username.slice(0, 80))}`,
      )
      return loginPage(request, reply, typed, error)
    }
  })

  function logOut(request: FastifyRequest, reply: FastifyReply) {
    const session = access.sessionOf(request.raw)
    if (session) {
      sessions.end(session)
      log(`${session.user} logged out`)
    }
    return reply
      .clearCookie(sessionCookie, cookieOptions)
      .clearCookie(xsrfCookie, { path: `${baseUrl}hub/` })
      .redirect(`${baseUrl}hub/login`)
  }

  /** JupyterLab's own menu leads here by a link. A link of another site must not end a session. */
  app.get(`${baseUrl}hub/logout`, (request, reply) => {
    const session = access.sessionOf(request.raw)
    if (!session || isOwnLink(request.raw)) return logOut(request, reply)
    return sendPage(reply, pages.logout({ user: session.user, xsrf: formToken(hub, request, reply) }))
  })

  app.post<{ Body: { _xsrf?: string } }>(`${baseUrl}hub/logout`, (request, reply) => {
    checkForm(hub, request, String(request.body?._xsrf))
    return logOut(request, reply)
  })
}
