/**
 * The one address of the hub's that is not below its own path: where ACME servers look (RFC 8555 section 8.3). It answers nothing but
 * what is waited for at that moment.
 */
import type { FastifyInstance } from 'fastify'
import type { Hub } from '../parts.ts'
import { noPage } from '../web/refusals.ts'
import { challengePath } from './challenges.ts'

export async function challengeRoutes(app: FastifyInstance, { tls }: Pick<Hub, 'tls'>): Promise<void> {
  app.get<{ Params: { token: string } }>(`${challengePath}:token`, (request, reply) => {
    const answer = tls?.challenges.answerTo(request.params.token)
    if (answer === undefined) throw noPage()
    return reply.type('application/octet-stream').header('cache-control', 'no-store').send(answer)
  })
}
