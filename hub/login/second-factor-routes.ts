/**
 * The second step of a login: the code of the second factor, or, where the configuration demands one of administrators and there is none
 * yet, setting it up.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { ProblemError, type ProblemText } from '../../problem.ts'
import { checkForm, type FormNeeds, formToken, sendPage } from '../pages/answers.ts'
import type { Pages } from '../pages/pages.ts'
import { codeWrong, statusOf } from '../web/refusals.ts'
import { addressOf } from '../web/request.ts'
import { type PendingLogin, pendingLoginCookie } from './pending-logins.ts'
import { type LoginNeeds, redirectOn, refusedLogin, startSession } from './session-start.ts'
import type { Throttle } from './throttle.ts'

interface Form {
  _xsrf: string
  code: string
  secret: string
}

const form = {
  type: 'object',
  required: ['code'],
  properties: {
    _xsrf: { type: 'string', maxLength: 256, default: '' },
    code: { type: 'string', maxLength: 32 },
    secret: { type: 'string', pattern: '^[A-Z2-7]{32}$|^$', default: '' },
  },
}

interface Needs extends FormNeeds, LoginNeeds {
  throttle: Throttle
  pages: Pages
}

export async function secondFactorRoutes(app: FastifyInstance, hub: Needs): Promise<void> {
  const { baseUrl, secondFactors, arrivals, throttle, pages, audit } = hub
  const address = `${baseUrl}hub/second-factor`

  function show(
    request: FastifyRequest,
    reply: FastifyReply,
    { user }: PendingLogin,
    problem?: ProblemText,
    secret = '',
  ) {
    const xsrf = formToken(hub, request, reply)
    const status = statusOf(problem)
    if (secondFactors.isOn(user)) return sendPage(reply, pages.secondFactor({ xsrf, problem }), status)
    const proposal = secondFactors.propose(user, secret)
    return sendPage(reply, pages.newSecondFactor({ typed: user, proposal, xsrf, problem, isAtLogin: true }), status)
  }

  app.get(address, (request, reply) => {
    const arrival = arrivals.find(request.headers.cookie)
    return arrival ? show(request, reply, arrival) : reply.redirect(`${baseUrl}hub/login`)
  })

  app.post<{ Body: Form }>(address, { schema: { body: form } }, async (request, reply) => {
    const { cookie } = request.headers
    const arrival = arrivals.find(cookie)
    if (!arrival) return reply.redirect(`${baseUrl}hub/login`, 303)
    const { user, next } = arrival
    const { code, secret, _xsrf } = request.body
    try {
      checkForm(hub, request, _xsrf)
      // Counted with the passwords: a new login gives new attempts, but not more of them.
      const attempt = throttle.begin('second-factor', user, addressOf(request.raw), true)
      const isOn = secondFactors.isOn(user)
      const recovery = isOn ? [] : secondFactors.switchOn(user, secret, code)
      if (recovery === undefined || (isOn && !secondFactors.take(user, code))) throw codeWrong()
      attempt.succeeded()
      arrivals.remove(cookie)
      reply.clearCookie(pendingLoginCookie, { path: `${baseUrl}hub/` })
      startSession(hub, request, reply, arrival)
      if (isOn) return redirectOn(hub, reply, arrival)
      audit.record({ kind: 'second-factor', message: `${user} switched the second factor on`, who: user })
      return sendPage(reply, pages.recoveryCodes({ user, codes: recovery, next: next || `${baseUrl}hub/` }))
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error
      arrivals.failed(cookie)
      refusedLogin(hub, request, user, error)
      return show(request, reply, arrival, error, secret)
    }
  })
}
