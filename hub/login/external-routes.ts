/**
 * Logging in at another site: away to the provider, and back with the answer who somebody is there; and from that, who it is here.
 *
 * What always holds: no session without a login that this very browser began, which counts once; an account at the provider is one user for
 * ever, and a user one account (hub/credentials/external-identities.ts); nobody becomes, by a name at a provider, a user who has
 * come by another way until now.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { isNamed, mayKeepSession } from '../../config/meaning/who-may-enter.ts'
import type { AuthenticatorKind } from '../../config/schema/auth.ts'
import { isTemporaryName, isUserName, type UserName } from '../../config/users/names.ts'
import type { Log } from '../../machine/paced-log.ts'
import { ProblemError } from '../../problem.ts'
import type { ExternalAuthenticator, ExternalIdentity } from '../authenticators/authenticator.ts'
import type { Authenticators } from '../authenticators/authenticators.ts'
import { shown } from '../authenticators/oauth-providers.ts'
import type { ExternalIdentities } from '../credentials/external-identities.ts'
import type { OneTimeCodes } from '../credentials/one-time-codes.ts'
import type { Passwords } from '../credentials/passwords.ts'
import { isSecure } from '../web/cookies.ts'
import { noPage } from '../web/refusals.ts'
import { ownPath } from '../web/request.ts'
import { type ExternalLoginStates, externalLoginSeconds, isExternalLoginCookie } from './external-state.ts'
import { beginSessionOrAskFactor, type LoginNeeds, refusedLogin } from './session-start.ts'

const beginQuery = {
  type: 'object',
  properties: {
    provider: { type: 'string', maxLength: 64, default: '' },
    next: { type: 'string', maxLength: 4096, default: '' },
    // The provider is to ask for the password even where it still knows the person.
    fresh: { type: 'boolean', default: false },
  },
}

const callbackQuery = { type: 'object', properties: { state: { type: 'string', maxLength: 256, default: '' } } }

/** More tabs than that are not logging in at once; and each adds to what the browser sends. */
const mostBegun = 8

interface Needs extends LoginNeeds {
  authenticators: Authenticators
  externalLogins: ExternalLoginStates
  identities: ExternalIdentities
  passwords: Passwords
  codes: OneTimeCodes
  log: Log
}

export async function externalLoginRoutes(app: FastifyInstance, hub: Needs): Promise<void> {
  const { baseUrl, authenticators, externalLogins } = hub
  const wayOf = (kind: string) => authenticators.external().find(way => way.kind === kind)

  app.get<{ Querystring: { provider: string; next: string; fresh: boolean } }>(
    `${baseUrl}hub/oauth_login`,
    { schema: { querystring: beginQuery } },
    async (request, reply) => {
      // JupyterHub's own links name none: it has one provider at most.
      const { provider, next, fresh: isFresh } = request.query
      const way = provider ? wayOf(provider) : authenticators.external()[0]
      if (!way) throw noPage()
      const callback = callbackOf(way, request, baseUrl)
      const { address, state, kept } = await way.begin(callback, { isFresh })
      const begun = { way: way.kind, kept, callback: callback.href, next: ownPath(next, baseUrl) }
      const { name, value, options } = externalLogins.add(state, begun, isSecure(request.raw))
      const others = Object.keys(request.cookies).filter(isExternalLoginCookie)
      if (others.length >= mostBegun) for (const other of others) reply.clearCookie(other, options)
      reply.setCookie(name, value, { ...options, maxAge: externalLoginSeconds })
      return reply.header('cache-control', 'no-store').redirect(address.href)
    },
  )

  app.get<{ Querystring: { state: string } }>(
    `${baseUrl}hub/oauth_callback`,
    { schema: { querystring: callbackQuery } },
    async (request, reply) => {
      const { state } = request.query
      const begun = externalLogins.take(state, request.headers.cookie, isSecure(request.raw))
      const way = begun && wayOf(begun.way)
      if (!begun || !way) return refuse(hub, request, '', notAwaited())
      const cookie = externalLogins.cookieOf(state, isSecure(request.raw))
      reply.clearCookie(cookie.name, cookie.options)
      const returned = new URL(begun.callback)
      returned.search = URL.parse(request.url, 'http://hub.invalid')?.search ?? ''
      return arrive(hub, request, reply, { way, returned, kept: begun.kept, next: begun.next })
    },
  )
}

interface Return {
  way: ExternalAuthenticator
  returned: URL
  kept: string
  next: string
}

async function arrive(hub: Needs, request: FastifyRequest, reply: FastifyReply, { way, returned, kept, next }: Return) {
  let identity: ExternalIdentity | undefined
  try {
    identity = await way.complete(returned, kept)
    const user = userFor(hub, way, identity, hub.access.sessionOf(request.raw)?.user)
    return beginSessionOrAskFactor(hub, request, reply, { user, way: way.kind, next })
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error
    return refuse(hub, request, identity?.name ?? '', error)
  }
}

/**
 * Who that is here; binds the account at its first login. `present` is whom the browser has a session of. Throws `AUTH_NAME`,
 * `AUTH_NOT_ALLOWED`, `AUTH_OTHER_IDENTITY`, `AUTH_OTHER_WAY`.
 */
function userFor(
  hub: Needs,
  way: ExternalAuthenticator,
  identity: ExternalIdentity,
  present: UserName | undefined,
): UserName {
  const { config, identities } = hub
  const known = identities.userOf(identity)
  const user = known ?? nameOf(way, identity)
  const inForce = config.current()
  // Such a name is an account that is deleted when its visit ends.
  if (isTemporaryName(user)) throw notAllowed(way, identity, user)
  const isWelcome = identity.isWelcome || isNamed(inForce, user)
  if (!mayKeepSession(inForce, user, way.kind) || !isWelcome) throw notAllowed(way, identity, user)
  if (known) return known
  if (identities.accountOf(user)) throw otherIdentity(way, user)
  if (present !== user && comesOtherwise(hub, user, way.kind)) throw otherWay(way, user, hub.baseUrl)
  if (!identities.bind(user, identity)) throw otherIdentity(way, user)
  hub.log(`${user} is ${identity.subject} at ${identity.provider} from now on`)
  return user
}

function nameOf(way: ExternalAuthenticator, { name, claim }: ExternalIdentity): UserName {
  if (isUserName(name)) return name
  throw new ProblemError('AUTH_NAME', {
    what: `${way.label} knows you as ${shown(name)}, which cannot be a user name here`,
    why: `its claim ${claim} is the user name, and those have 1 to 64 of the letters a to z, digits and . _ @ -`,
    fix: 'An administrator can choose another claim with username_claim',
  })
}

/**
 * Whether the name is somebody's who comes, or is about to come, by another way: also by one that the file names no more, because whoever is called so
 * elsewhere is a stranger to that account until an administrator says otherwise.
 */
function comesOtherwise({ logins, passwords, codes }: Needs, user: UserName, kind: AuthenticatorKind): boolean {
  const last = logins.of(user)?.way
  return (last !== undefined && last !== kind) || passwords.has(user) || codes.expiryOf(user) !== undefined
}

/** The hub's address for coming back: as the file says, or as the browser sees the hub. */
function callbackOf(way: ExternalAuthenticator, request: FastifyRequest, baseUrl: string): URL {
  const text =
    way.callback ?? `${isSecure(request.raw) ? 'https' : 'http'}://${request.headers.host}${baseUrl}hub/oauth_callback`
  const url = URL.parse(text)
  if (!url || url.username) throw noPage()
  return url
}

/** Throws the problem, once it stands in the logs. */
function refuse(hub: Needs, request: FastifyRequest, who: string, problem: ProblemError): never {
  refusedLogin(hub, request, who, problem)
  const { code, cause } = problem
  if (cause !== undefined) hub.log(`${code}: ${problem.why}`, code)
  throw problem
}

function notAwaited(): ProblemError {
  return new ProblemError('AUTH_STATE', {
    what: 'You are not logged in',
    why: 'this answer of a login page is not one that this browser waits for: it was used before, is more than ten minutes old, or belongs to another browser',
    fix: 'Log in again from the login page. If it happens again, let the browser keep cookies of this site',
  })
}

function notAllowed(way: ExternalAuthenticator, { name }: ExternalIdentity, user: UserName): ProblemError {
  const as = name === user ? '' : `, who is ${user} here`
  return new ProblemError('AUTH_NOT_ALLOWED', {
    what: `You are ${shown(name)} at ${way.label}${as}, and may not enter`,
    why: 'the configuration does not let that name in',
    fix: 'If it is the wrong account, log out there and log in with another. Else ask an administrator to let you in',
  })
}

function otherIdentity(way: ExternalAuthenticator, user: UserName): ProblemError {
  return new ProblemError('AUTH_OTHER_IDENTITY', {
    what: `You are not logged in as ${user}`,
    why: `${user} has logged in here with another account than the one of that name that you have now at ${way.label}`,
    fix: `If it is yours, an administrator lets the new one in with: sudo tljh-ts user unlink ${user}`,
  })
}

function otherWay(way: ExternalAuthenticator, user: UserName, baseUrl: string): ProblemError {
  return new ProblemError('AUTH_OTHER_WAY', {
    what: `You are not logged in as ${user}`,
    why: `${user} has come by another way until now, and whoever is called so at ${way.label} could be somebody else`,
    fix: `If it is you, log in the other way first, and then open ${baseUrl}hub/oauth_login?provider=${way.kind} in the same browser, once. An administrator who knows that it is you can also free the name: sudo tljh-ts user unlink ${user}`,
  })
}
