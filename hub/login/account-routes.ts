/**
 * A person's own account: the password, the second factor, the sessions elsewhere; and the page that asks for the password again.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { ConfigFile } from '../../config/change/in-force.ts'
import { ProblemError, type ProblemText } from '../../problem.ts'
import type { Audit } from '../../systemd/audit/audit.ts'
import type { Session, Sessions } from '../access/sessions.ts'
import type { Passwords } from '../credentials/passwords.ts'
import type { SecondFactors } from '../credentials/second-factor.ts'
import { checkForm, type FormNeeds, formToken, nextQuery, sendPage, sessionOf } from '../pages/answers.ts'
import type { Pages } from '../pages/pages.ts'
import { codeWrong, notRepeated, statusOf } from '../web/refusals.ts'
import { addressOf, ownPath } from '../web/request.ts'
import type { Confirmations } from './confirmations.ts'
import type { Throttle } from './throttle.ts'

const text = (maxLength: number) => ({ type: 'string', maxLength, default: '' })

const form = {
  type: 'object',
  properties: {
    _xsrf: text(256),
    password: text(4096),
    new_password: text(4096),
    repeated: text(4096),
    code: text(32),
    secret: { type: 'string', pattern: '^[A-Z2-7]{32}$|^$', default: '' },
    next: nextQuery.properties.next,
  },
}

interface Form {
  _xsrf: string
  password: string
  new_password: string
  repeated: string
  code: string
  secret: string
  next: string
}

interface Needs extends FormNeeds {
  config: ConfigFile
  sessions: Sessions
  passwords: Passwords
  secondFactors: SecondFactors
  confirmations: Confirmations
  throttle: Throttle
  pages: Pages
  audit: Audit
}

export async function accountRoutes(app: FastifyInstance, hub: Needs): Promise<void> {
  const { baseUrl, access, sessions, passwords, secondFactors, confirmations, throttle, config, pages, audit } = hub
  const address = `${baseUrl}hub/account`

  function show(request: FastifyRequest, reply: FastifyReply, told: { problem?: ProblemText; done?: string } = {}) {
    const session = sessionOf(hub, request)
    const { user, way } = session
    const status = statusOf(told.problem)
    const view = {
      user,
      way,
      isStored: passwords.has(user),
      hasPassword: confirmations.hasPassword(session),
      maySetFactor: mayOwnFactor(session),
      hasSecondFactor: secondFactors.isOn(user),
      mustHaveSecondFactor: config.current().adminsNeedSecondFactor && access.isAdmin(user),
      xsrf: formToken(hub, request, reply),
      ...told,
    }
    return sendPage(reply, pages.account(view), status)
  }

  /** Does what a form asks for once the password that came with it is right; a problem leads back to the page. */
  function onForm(
    path: string,
    act: (session: Session, typed: Form, request: FastifyRequest, reply: FastifyReply) => unknown,
  ) {
    app.post<{ Body: Form }>(path, { schema: { body: form } }, async (request, reply) => {
      const session = sessionOf(hub, request)
      try {
        checkForm(hub, request, request.body._xsrf)
        const { password } = request.body
        if (confirmations.hasPassword(session)) await confirmations.confirm(session, password, request)
        else confirmations.demand(session)
        return await act(session, request.body, request, reply)
      } catch (error) {
        if (!(error instanceof ProblemError)) throw error
        return show(request, reply, { problem: error })
      }
    })
  }

  app.get(address, (request, reply) => show(request, reply))

  onForm(`${address}/password`, async (session, { new_password: chosen, repeated }, request, reply) => {
    const { user } = session
    if (!passwords.has(user)) throw notStored()
    if (chosen !== repeated) throw notRepeated()
    await passwords.set(user, chosen)
    sessions.endOthers(session)
    audit.record({ kind: 'password', message: `${user} changed the password`, who: user })
    return show(request, reply, {
      done: 'Your password is changed. Wherever else you were logged in, you are logged out.',
    })
  })

  onForm(`${address}/sessions`, (session, _typed, request, reply) => {
    sessions.endOthers(session)
    audit.record({ kind: 'logout', message: `${session.user} ended all other sessions`, who: session.user })
    return show(request, reply, { done: 'Wherever else you were logged in, you are logged out.' })
  })

  /** Who came by a password that others know, too, could lock its owner out of the account. */
  function mayOwnFactor({ user, way }: Session): boolean {
    return !['dummy', 'shared-password', 'temporary'].includes(way) || passwords.has(user)
  }

  onForm(`${address}/second-factor/new`, (session, _typed, request, reply) => {
    const { user } = session
    if (!mayOwnFactor(session)) throw notYourOwn()
    const xsrf = formToken(hub, request, reply)
    return sendPage(
      reply,
      pages.newSecondFactor({ user, typed: user, proposal: secondFactors.propose(user), xsrf, isAtLogin: false }),
    )
  })

  /** The password was right a moment ago; here it is the code that counts. */
  app.post<{ Body: Form }>(`${address}/second-factor`, { schema: { body: form } }, (request, reply) => {
    const session = sessionOf(hub, request)
    const { user } = session
    const { secret, code, _xsrf } = request.body
    try {
      checkForm(hub, request, _xsrf)
      confirmations.demand(session)
      if (!mayOwnFactor(session)) throw notYourOwn()
      const codes = secondFactors.isOn(user) ? undefined : secondFactors.switchOn(user, secret, code)
      if (!codes) throw codeWrong()
      sessions.endOthers(session)
      audit.record({ kind: 'second-factor', message: `${user} switched the second factor on`, who: user })
      return sendPage(reply, pages.recoveryCodes({ user, codes, next: address }))
    } catch (error) {
      if (!(error instanceof ProblemError) || error.code !== 'CODE_WRONG' || secondFactors.isOn(user)) throw error
      const xsrf = formToken(hub, request, reply)
      const proposal = secondFactors.propose(user, secret)
      const page = pages.newSecondFactor({ user, typed: user, proposal, xsrf, problem: error, isAtLogin: false })
      return sendPage(reply, page, statusOf(error))
    }
  })

  onForm(`${address}/second-factor/off`, async ({ user }, { code }, request, reply) => {
    const attempt = throttle.begin('second-factor', user, addressOf(request.raw), true)
    if (!secondFactors.take(user, code)) throw codeWrong()
    attempt.succeeded()
    secondFactors.switchOff(user)
    audit.record({ kind: 'second-factor', message: `${user} switched the second factor off`, who: user })
    return show(request, reply, { done: 'The second factor is off: the password alone is enough.' })
  })

  app.get<{ Querystring: { next: string } }>(
    `${baseUrl}hub/confirm`,
    { schema: { querystring: nextQuery } },
    (request, reply) => askAgain(request, reply, request.query.next),
  )

  app.post<{ Body: Form }>(`${baseUrl}hub/confirm`, { schema: { body: form } }, async (request, reply) => {
    const session = sessionOf(hub, request)
    const { password, next, _xsrf } = request.body
    try {
      checkForm(hub, request, _xsrf)
      await confirmations.confirm(session, password, request)
      return reply.redirect(ownPath(next, baseUrl) || `${baseUrl}hub/home`, 303)
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error
      return askAgain(request, reply, next, error)
    }
  })

  function askAgain(request: FastifyRequest, reply: FastifyReply, wanted: string, problem?: ProblemText) {
    const session = sessionOf(hub, request)
    const next = ownPath(wanted, baseUrl)
    if (confirmations.isFresh(session) && !problem) return reply.redirect(next || `${baseUrl}hub/home`, 303)
    const { user, way } = session
    const hasPassword = confirmations.hasPassword(session)
    const page = pages.confirm({ user, way, hasPassword, next, problem, xsrf: formToken(hub, request, reply) })
    return sendPage(reply, page, statusOf(problem))
  }
}

function notYourOwn(): ProblemError {
  return new ProblemError('FACTOR_SHARED', {
    what: 'A second factor cannot be set up here',
    why: 'you have no password of your own: others can come into this account as you did',
    fix: 'Ask an administrator for a one-time code, and choose a password with it',
  })
}

function notStored(): ProblemError {
  return new ProblemError('PASSWORD_ELSEWHERE', {
    what: 'The password cannot be changed here',
    why: 'the hub does not keep it',
    fix: 'Change it where you have the account that you log in with',
  })
}
