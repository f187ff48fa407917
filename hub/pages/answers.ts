/**
 * How the routes answer: with pages, with forms that only this browser can send back, and with problems, as a page for
 * people and as JSON for programs.
 */
import { randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { isUserName } from '../../config/users/names.ts'
import type { Log } from '../../machine/paced-log.ts'
import { isDiskFull, ProblemError } from '../../problem.ts'
import type { Access } from '../access/access.ts'
import type { Session } from '../access/sessions.ts'
import { type Xsrf, xsrfCookie } from '../access/xsrf.ts'
import { isSecure } from '../web/cookies.ts'
import { adminsOnly, diskFull, formStale, loginNeeded, statusOf } from '../web/refusals.ts'
import { isNavigation } from '../web/request.ts'
import type { Pages } from './pages.ts'

/** For the address of a page that leads on to another. */
export const nextQuery = {
  type: 'object',
  properties: { next: { type: 'string', maxLength: 4096, default: '' } },
}

/** Sends a page that no cache keeps: pages say what is the case now, to one person. */
export function sendPage(reply: FastifyReply, html: string, status = 200): FastifyReply {
  return reply.code(status).type(pageType).header('cache-control', 'no-store').send(html)
}

/** What a form is made of, and checked by. */
export interface FormNeeds {
  baseUrl: string
  access: Access
  xsrf: Xsrf
}

/** Who asks. Throws `LOGIN_NEEDED`. */
export function sessionOf({ access }: Pick<FormNeeds, 'access'>, { raw }: FastifyRequest): Session {
  const session = access.sessionOf(raw)
  if (session) return session
  throw loginNeeded()
}

/** Which administrator asks. Throws `LOGIN_NEEDED`, `ADMINS_ONLY`. */
export function adminSessionOf(hub: Pick<FormNeeds, 'access'>, request: FastifyRequest): Session {
  const session = sessionOf(hub, request)
  if (hub.access.isAdmin(session.user)) return session
  throw adminsOnly(session.user)
}

/** The token for a form on the page that is being made; sets the cookie that goes with it. */
export function formToken({ xsrf, access, baseUrl }: FormNeeds, request: FastifyRequest, reply: FastifyReply): string {
  const { token, isNew } = xsrf.tokenFor(access.sessionOf(request.raw), request.headers.cookie)
  const secure = isSecure(request.raw)
  if (isNew) reply.setCookie(xsrfCookie, token, { path: `${baseUrl}hub/`, httpOnly: true, sameSite: 'lax', secure })
  return token
}

/** Throws `FORM_STALE` where a form was not sent from a page that this browser had of us. */
export function checkForm({ xsrf, access }: FormNeeds, request: FastifyRequest, token: string): void {
  if (!xsrf.isRight(token, access.sessionOf(request.raw), request.headers.cookie)) throw formStale()
}

export interface ProblemAnswer {
  status: number
  type: string
  body: string
}

/** Of a path in the log, which a stranger may have written. */
const longestPath = 300

const pageType = 'text/html; charset=utf-8'

/** What an answer to a failed request is made of. */
export interface ProblemNeeds {
  baseUrl: string
  access: Access
  pages: Pages
  log: Log
}

/** What to answer to a request that failed. Logs what is not the asker's doing. */
export function problemAnswer(hub: ProblemNeeds, error: unknown, request: IncomingMessage): ProblemAnswer {
  const user = hub.access.sessionOf(request)?.user
  const { status, problem, logId } = explain(error, user !== undefined && hub.access.isAdmin(user))
  if (status >= 500) {
    const id = logId ?? problem.code
    hub.log(
      `${id} ${request.method} ${JSON.stringify(pathOf(request))}: ${detail(error)}`,
      subjectOf(hub, request, problem),
    )
  }
  const { code, what, why, fix } = problem
  if (isNavigation(request)) {
    return { status, type: pageType, body: hub.pages.problem({ status, what, why, fix, logId, user }) }
  }
  // `message` is where Jupyter's own pages look.
  const body = JSON.stringify({ status, code, message: `${what}: ${why}. ${fix}`, what, why, fix })
  return { status, type: 'application/json; charset=utf-8', body }
}

/** Whose doing it is that something fails: the owner of the server that was asked, or nobody in particular. */
function subjectOf({ baseUrl }: ProblemNeeds, { url = '' }: IncomingMessage, { code }: ProblemError): string {
  const prefix = `${baseUrl}user/`
  const owner = url.startsWith(prefix) ? url.slice(prefix.length).replace(/[/?#].*/s, '') : ''
  return isUserName(owner) ? owner : code
}

/** Without the query, which can hold a code that opens something. */
function pathOf({ url = '' }: IncomingMessage): string {
  return url.replace(/\?.*/s, '').slice(0, longestPath)
}

function explain(error: unknown, isAdmin: boolean): { status: number; problem: ProblemError; logId?: string } {
  if (error instanceof ProblemError) return { status: statusOf(error), problem: error }
  if (isDiskFull(error)) return { status: 503, problem: diskFull('That could not be saved', isAdmin) }
  const { statusCode = 500, message = '', code = '' } = error as Partial<FastifyError>
  if (code === 'ERR_SQLITE_ERROR') {
    const fix = isAdmin ? 'See: sudo tljh-ts status' : 'Try again. If it happens again, tell your teacher'
    return { status: 503, problem: new ProblemError('STATE', { what: 'That could not be saved', why: message, fix }) }
  }
  if (statusCode < 500) {
    const why = message.replace(/\.$/, '')
    const fix = 'Go back, reload the page, and try again'
    return {
      status: statusCode,
      problem: new ProblemError('REQUEST', { what: 'The hub could not use that', why, fix }),
    }
  }
  const problem = new ProblemError('UNEXPECTED', {
    what: 'The hub made an error',
    why: 'this was not foreseen when it was written',
    fix: 'Try again. If it happens again, tell an administrator the number below',
  })
  return { status: 500, problem, logId: randomBytes(4).toString('hex') }
}

function detail(error: unknown): string {
  if (!(error instanceof ProblemError)) return error instanceof Error ? String(error.stack) : String(error)
  return error.cause instanceof Error ? `${error.message} (${error.cause.message})` : error.message
}
