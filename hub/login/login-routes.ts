/**
 * The ways in and out: the front door, login and logout.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { signUpIsOpen } from '../../config/meaning/who-may-enter.ts'
import { storingKinds } from '../../config/schema/auth.ts'
import { ownVersion } from '../../machine/version.ts'
import { ProblemError, type ProblemText } from '../../problem.ts'
import type { Servers } from '../../spawner/client/servers.ts'
import { sessionCookieFor } from '../access/access.ts'
import { type ServerAddressNeeds, serverAddress } from '../access/server-address.ts'
import { xsrfCookie } from '../access/xsrf.ts'
import type { Authenticators } from '../authenticators/authenticators.ts'
import { checkForm, type FormNeeds, formToken, nextQuery, sendPage } from '../pages/answers.ts'
import type { Pages } from '../pages/pages.ts'
import type { LoginChoices } from '../pages/views.ts'
import { notRepeated, statusOf } from '../web/refusals.ts'
import { addressOf, isOwnLink, ownPath } from '../web/request.ts'
import type { LoginDesk } from './password-login.ts'
import { beginSessionOrAskFactor, endSession, type LoginNeeds, refusedLogin } from './session-start.ts'

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

interface ChoiceForm {
  username: string
  code: string
  password: string
  repeated: string
  _xsrf: string
  next: string
}

const choiceForm = {
  type: 'object',
  required: ['username', 'code', 'password', 'repeated'],
  properties: {
    ...loginForm.properties,
    code: { type: 'string', maxLength: 64 },
    repeated: { type: 'string', maxLength: 4096 },
  },
}

const welcomeQuery = {
  type: 'object',
  properties: {
    user: { type: 'string', maxLength: 64, default: '' },
    code: { type: 'string', maxLength: 64, default: '' },
  },
}

interface Needs extends FormNeeds, LoginNeeds, ServerAddressNeeds {
  desk: LoginDesk
  authenticators: Authenticators
  servers: Servers
  pages: Pages
}

export async function loginRoutes(app: FastifyInstance, hub: Needs): Promise<void> {
  const { baseUrl, access, sessions, desk, servers, pages, audit } = hub

  function loginPage(request: FastifyRequest, reply: FastifyReply, typed: Partial<LoginForm>, problem?: ProblemText) {
    const { username = '', next = '' } = typed
    const page = pages.login({
      username,
      next,
      doors: loginChoicesOf(hub),
      xsrf: formToken(hub, request, reply),
      problem,
    })
    return sendPage(reply, page, statusOf(problem))
  }

  /** Where a person lands who asks for nothing in particular. */
  async function front(request: FastifyRequest, reply: FastifyReply) {
    const session = access.sessionOf(request.raw)
    if (!session) return reply.redirect(`${baseUrl}hub/login`)
    const server = servers.get(session.user)
    if (server.kind === 'ready') return reply.redirect(serverAddress(hub, request, session.user))
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

  const version = ownVersion()
  app.get(`${baseUrl}hub/health`, () => ({ status: 'ok', version }))

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
    const address = addressOf(request.raw)
    const next = ownPath(typed.next, baseUrl)
    try {
      checkForm(hub, request, typed._xsrf)
      const login = await desk.logIn(typed, address)
      if (login.kind === 'user') return beginSessionOrAskFactor(hub, request, reply, { ...login, next })
      const xsrf = formToken(hub, request, reply)
      return sendPage(reply, pages.choosePassword({ user: login.user, code: login.code, next, xsrf }))
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error
      refusedLogin(hub, request, typed.username, error)
      return loginPage(request, reply, typed, error)
    }
  })

  /** From the link that came with a one-time code: whoever types in the code gets here, too. */
  app.get<{ Querystring: { user: string; code: string } }>(
    `${baseUrl}hub/welcome`,
    { schema: { querystring: welcomeQuery } },
    (request, reply) => {
      const { user, code } = request.query
      const xsrf = formToken(hub, request, reply)
      return sendPage(reply, pages.choosePassword({ user, code, next: '', xsrf }))
    },
  )

  app.post<{ Body: ChoiceForm }>(`${baseUrl}hub/welcome`, { schema: { body: choiceForm } }, async (request, reply) => {
    const { username, code, password, repeated, _xsrf } = request.body
    const next = ownPath(request.body.next, baseUrl)
    try {
      checkForm(hub, request, _xsrf)
      if (password !== repeated) throw notRepeated()
      const { user, way } = await desk.choosePassword({ username, code, password }, addressOf(request.raw))
      // Whoever was in with the old password is out.
      sessions.endAllOf(user)
      audit.record({ kind: 'password', message: `${user} chose a password with a one-time code`, who: user })
      return beginSessionOrAskFactor(hub, request, reply, { user, way, next })
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error
      refusedLogin(hub, request, username, error)
      const xsrf = formToken(hub, request, reply)
      return sendPage(
        reply,
        pages.choosePassword({ user: username, code, next, xsrf, problem: error }),
        statusOf(error),
      )
    }
  })

  function logOut(request: FastifyRequest, reply: FastifyReply) {
    for (const session of access.sessionsIn(request.raw)) endSession(hub, session)
    const cookie = sessionCookieFor(request.raw, baseUrl)
    return reply
      .clearCookie(cookie.name, cookie.options)
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

function loginChoicesOf(hub: Needs): LoginChoices {
  const { kinds, options } = hub.config.current().auth
  const { create_users: creates = false, claim_named_users: claims = false } = options.FirstUseAuthenticator ?? {}
  const isShared = kinds.includes('dummy') || kinds.includes('shared-password')
  const stores = kinds.some(kind => storingKinds.includes(kind))
  return {
    hasForm: hub.authenticators.forPasswords().length > 0,
    hint:
      kinds.includes('first-use') && (creates || claims) ? 'choose' : isShared ? 'shared' : stores ? 'code' : 'none',
    external: hub.authenticators.external().map(({ kind, label }) => ({ kind, label })),
    signUp: signUpIsOpen(hub.config.current()),
    temporary: kinds.includes('temporary'),
  }
}
