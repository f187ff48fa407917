/**
 * The two ways in for people whom nobody has named: signing up with a name and a password, and a temporary account.
 *
 * What always holds: signing up never touches an account that is there, and reads the same whether the name is taken, waits, or is free (so that nobody
 * learns who has an account), but for what is wrong with what was typed. With `open_signup` it cannot: there, somebody who is told nothing would wait for ever.
 */
import type { DatabaseSync } from 'node:sqlite'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Auth } from '../../config/meaning/config.ts'
import { signUpIsOpen } from '../../config/meaning/who-may-enter.ts'
import { formats } from '../../config/schema/formats.ts'
import { isTemporaryName, isUserName, parseUserName, type UserName } from '../../config/users/names.ts'
import { ProblemError, type ProblemText } from '../../problem.ts'
import { isSomebody } from '../credentials/all-users.ts'
import type { Passwords } from '../credentials/passwords.ts'
import type { SignUps } from '../credentials/pending-sign-ups.ts'
import { legibleLetters } from '../credentials/readable-codes.ts'
import { checkForm, type FormNeeds, formToken, nextQuery, sendPage } from '../pages/answers.ts'
import type { Pages } from '../pages/pages.ts'
import { noPage, notRepeated, statusOf } from '../web/refusals.ts'
import { addressOf, ownPath } from '../web/request.ts'
import { beginSessionOrAskFactor, type LoginNeeds } from './session-start.ts'
import type { Throttle } from './throttle.ts'

interface Form {
  _xsrf: string
  username: string
  email: string
  password: string
  repeated: string
  /** Where to go afterwards. */
  next: string
}

const text = (maxLength: number) => ({ type: 'string', maxLength, default: '' })

const form = {
  type: 'object',
  required: ['username', 'password', 'repeated'],
  properties: {
    _xsrf: text(256),
    username: text(256),
    email: text(320),
    password: text(4096),
    repeated: text(4096),
    next: text(4096),
  },
}

const temporaryForm = { type: 'object', properties: { _xsrf: text(256), next: text(4096) } }

interface Needs extends FormNeeds, LoginNeeds {
  db: DatabaseSync
  passwords: Passwords
  signUps: SignUps
  throttle: Throttle
  pages: Pages
}

export async function signUpRoutes(app: FastifyInstance, hub: Needs): Promise<void> {
  const { baseUrl, access, config, db, passwords, signUps, throttle, pages, audit } = hub
  const address = `${baseUrl}hub/signup`

  const options = () => config.current().auth.options.NativeAuthenticator ?? {}

  /** Throws `NO_PAGE` where nobody can sign up. */
  function demandOpen(): void {
    if (!signUpIsOpen(hub.config.current())) throw noPage()
  }

  function show(request: FastifyRequest, reply: FastifyReply, typed: Partial<Form> = {}, problem?: ProblemText) {
    const { username = '', email = '' } = typed
    const next = ownPath(typed.next ?? '', baseUrl)
    const asksEmail = wantsEmail(options())
    const xsrf = formToken(hub, request, reply)
    const status = statusOf(problem)
    return sendPage(reply, pages.signUp({ username, email, asksEmail, next, problem, xsrf }), status)
  }

  app.get<{ Querystring: { next: string } }>(address, { schema: { querystring: nextQuery } }, (request, reply) => {
    demandOpen()
    return show(request, reply, { next: request.query.next })
  })

  app.post<{ Body: Form }>(address, { schema: { body: form } }, async (request, reply) => {
    demandOpen()
    const from = addressOf(request.raw)
    try {
      checkForm(hub, request, request.body._xsrf)
      // A program that signs up thousands is as welcome as one that guesses passwords.
      throttle.beginNew(from)
      const { user, email, hash } = await check(request.body)
      const isNew = !isTaken(user)
      if (options().open_signup) {
        if (!isNew || !passwords.addFirst(user, hash)) throw nameTaken(user)
        audit.record({ kind: 'sign-up', message: `${user} signed up, and may enter at once`, who: user, address: from })
        return beginSessionOrAskFactor(hub, request, reply, {
          user,
          way: 'native',
          next: ownPath(request.body.next, baseUrl),
        })
      }
      if (isNew && signUps.add(user, email, hash)) {
        audit.record({
          kind: 'sign-up',
          message: `${user} signed up, and waits for approval`,
          who: user,
          address: from,
        })
      }
      return sendPage(reply, pages.signedUp({ username: user }))
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error
      return show(request, reply, request.body, error)
    }
  })

  /** Whether the file says who that is, or somebody has been here by that name. */
  function isTaken(user: UserName): boolean {
    if (isTemporaryName(user)) return true
    return isSomebody({ config: config.current(), db }, user)
  }

  async function check({
    username,
    email,
    password,
    repeated,
  }: Form): Promise<{ user: UserName; email: string; hash: string }> {
    const user = parseUserName(username)
    if (password !== repeated) throw notRepeated()
    const mail = wantsEmail(options()) ? checkEmail(email.trim(), options().allowed_email_domains ?? []) : ''
    return { user, email: mail, hash: await passwords.prepare(user, password, { isCertain: false }) }
  }

  /** Makes a new account for this visit. */
  app.post<{ Body: { _xsrf: string; next: string } }>(
    `${baseUrl}hub/temporary`,
    { schema: { body: temporaryForm } },
    async (request, reply) => {
      if (!config.current().auth.kinds.includes('temporary')) throw noPage()
      checkForm(hub, request, request.body._xsrf)
      throttle.beginNew(addressOf(request.raw))
      const next = ownPath(request.body.next, baseUrl)
      if (access.sessionOf(request.raw)) return reply.redirect(next || `${baseUrl}hub/`, 303)
      return beginSessionOrAskFactor(hub, request, reply, { user: temporaryName(), way: 'temporary', next })
    },
  )
}

/** Domains that are allowed are nothing without the question. */
function wantsEmail(options: NonNullable<Auth['options']['NativeAuthenticator']>): boolean {
  return options.ask_email_on_signup === true || (options.allowed_email_domains?.length ?? 0) > 0
}

function temporaryName(): UserName {
  const name = `tmp-${legibleLetters(8)}`
  if (!isUserName(name)) throw new TypeError(`${name} is no user name`)
  return name
}

function checkEmail(email: string, domains: readonly string[]): string {
  if (!formats.email?.accepts(email)) {
    throw new ProblemError('EMAIL', {
      what: 'You have not signed up yet',
      why: 'that is not an e-mail address',
      fix: 'Write it like ann@example.org',
    })
  }
  const domain = email.slice(email.lastIndexOf('@') + 1).toLowerCase()
  if (!domains.length || domains.some(allowed => allowed.toLowerCase() === domain)) return email
  throw new ProblemError('EMAIL', {
    what: 'You have not signed up yet',
    why: `addresses of ${domain} are not taken here`,
    fix: `Use one of: ${domains.join(', ')}`,
  })
}

function nameTaken(user: UserName): ProblemError {
  return new ProblemError('NAME_TAKEN', {
    what: `You cannot sign up as ${user}`,
    why: 'somebody has that name, or an administrator keeps it',
    fix: 'Choose another. If it is yours, log in with your password instead',
  })
}
