/**
 * The way from the hub to a server that is on another origin, or somebody else's.
 *
 *   `hub/visit/NAME`   the note that an administrator reads before a visit, and the button that begins it
 *   `hub/enter`        where a server's origin sends a browser that it does not know: answers with a code for it (hub/access/passes.ts)
 *
 * Here, on the hub's own origin, it is decided who may go; the other end is in hub/server-pages/server-routes.ts.
 */
import type { DatabaseSync } from 'node:sqlite'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { isUserName, type UserName } from '../../config/users/names.ts'
import type { Audit } from '../../systemd/audit/audit.ts'
import { isNonce, type Passes, passPath, visitMinutes } from '../access/passes.ts'
import { type ServerAddressNeeds, serverAddress } from '../access/server-address.ts'
import type { Session } from '../access/sessions.ts'
import { isSomebody } from '../credentials/all-users.ts'
import { checkForm, type FormNeeds, formToken, nextQuery, sendPage, sessionOf } from '../pages/answers.ts'
import type { Pages } from '../pages/pages.ts'
import { enterVoid, noPage, notYours } from '../web/refusals.ts'
import { addressOf, ownPath } from '../web/request.ts'

const form = {
  type: 'object',
  properties: {
    _xsrf: { type: 'string', maxLength: 256, default: '' },
    next: { type: 'string', maxLength: 4096, default: '' },
  },
}

const enterQuery = {
  type: 'object',
  properties: {
    server: { type: 'string', maxLength: 64, default: '' },
    nonce: { type: 'string', maxLength: 64, default: '' },
    next: { type: 'string', maxLength: 8192, default: '' },
  },
}

interface Needs extends FormNeeds, ServerAddressNeeds {
  visits: Passes
  db: DatabaseSync
  pages: Pages
  audit: Audit
}

export async function visitRoutes(app: FastifyInstance, hub: Needs): Promise<void> {
  const { baseUrl, access, config, db, origins, visits, pages, audit } = hub

  /** Who wants to go where. Throws `LOGIN_NEEDED`, and `NOT_YOURS` for a name that nobody has as well. */
  function goingTo(request: FastifyRequest, name: string): { session: Session; owner: UserName } {
    const session = sessionOf(hub, request)
    if (!isUserName(name) || !access.mayUse(session.user, name)) throw notYours(session.user)
    return { session, owner: name }
  }

  /** An address of that server's, or what it shows first. */
  function destination(request: FastifyRequest, { session, owner }: ReturnType<typeof goingTo>, next: string): string {
    const path = ownPath(next, baseUrl)
    if (!path.startsWith(`${baseUrl}user/${owner}/`)) return serverAddress(hub, request, owner, session.user)
    return `${origins.serverOrigin(request.raw, owner, session.user)}${path}`
  }

  app.get<{ Params: { name: string }; Querystring: { next: string } }>(
    `${baseUrl}hub/visit/:name`,
    { schema: { querystring: nextQuery } },
    (request, reply) => {
      const { session, owner } = goingTo(request, request.params.name)
      const { user } = session
      const next = ownPath(request.query.next, baseUrl)
      if (user === owner) return reply.redirect(destination(request, { session, owner }, next))
      if (!isSomebody({ config: config.current(), db }, owner)) throw noPage()
      const { userDomains, visitPort } = origins.arrangement()
      const place = userDomains ? 'server' : visitPort === undefined ? 'shared' : 'visits'
      const xsrf = formToken(hub, request, reply)
      return sendPage(reply, pages.visit({ user, owner, minutes: visitMinutes, place, next, xsrf }))
    },
  )

  app.post<{ Params: { name: string }; Body: { _xsrf: string; next: string } }>(
    `${baseUrl}hub/visit/:name`,
    { schema: { body: form } },
    (request, reply) => {
      const { session, owner } = goingTo(request, request.params.name)
      const { user } = session
      checkForm(hub, request, request.body._xsrf)
      if (user !== owner) {
        visits.grant(session, owner, origins.arrangement().visitPort !== undefined)
        const message = `${user} visits the server of ${owner}`

        audit.record({ kind: 'visit', message, who: user, whom: owner, address: addressOf(request.raw) })
      }
      return reply.redirect(destination(request, { session, owner }, request.body.next), 303)
    },
  )

  /** Nothing comes of it but a code, which is of use only in the browser that has the nonce, on that server's own origin. */
  app.get<{ Querystring: { server: string; nonce: string; next: string } }>(
    `${baseUrl}hub/enter`,
    { schema: { querystring: enterQuery } },
    (request, reply) => {
      const { server, nonce } = request.query
      const { session, owner } = goingTo(request, server)
      const next = ownPath(request.query.next, baseUrl)
      const origin = origins.serverOrigin(request.raw, owner, session.user)
      if (!origin) {
        // One's own server, which is here.
        if (session.user === owner) return reply.redirect(destination(request, { session, owner }, next))
        throw noPage()
      }
      if (session.user !== owner && !visits.isGranted(session, owner)) {
        return reply.redirect(`${baseUrl}hub/visit/${owner}?next=${encodeURIComponent(next)}`)
      }
      if (!isNonce(nonce)) throw enterVoid()
      const place = origins.arrangement().userDomains ? 'server' : 'visits'
      const isThere = next.startsWith(`${baseUrl}user/${owner}/`)
      const code = visits.issueCode({
        session,
        owner,
        place,
        nonceDigest: nonce,
        next: isThere ? next : `${baseUrl}user/${owner}/`,
      })
      return reply
        .header('cache-control', 'no-store')
        .redirect(`${origin}${baseUrl}user/${owner}${passPath}?code=${code}`)
    },
  )
}
