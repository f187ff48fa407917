/**
 * The one address of the hub's that is not below its own path: where ACME servers look (RFC 8555 section 8.3). It answers nothing but
 * what is waited for at that moment.
 */
import type { FastifyInstance } from 'fastify'
import { noPage } from '../web/refusals.ts'
import { challengePath } from './challenges.ts'
import type { Tls } from './tls.ts'

interface Needs {
  /** Undefined where the hub speaks plain HTTP. */
  tls: Tls | undefined
}

export async function challengeRoutes(app: FastifyInstance, { tls }: Needs): Promise<void> {
  app.get<{ Params: { token: string } }>(`${challengePath}:token`, (request, reply) => {
    const answer = tls?.challenges.answerTo(request.params.token)
    if (answer === undefined) throw noPage()
    return reply.type('application/octet-stream').header('cache-control', 'no-store').send(answer)
  })
}
