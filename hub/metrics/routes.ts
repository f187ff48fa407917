/**
 * `hub/metrics`: for administrators in a browser, and for a program that brings the token of the configuration
 * (`Authorization: Bearer`, or `token` as JupyterHub's clients write it).
 */
import type { FastifyInstance } from 'fastify'
import { ProblemError } from '../../problem.ts'
import { adminSessionOf, type Hub } from '../answers.ts'
import { isSameSecret } from '../same-secret.ts'
import { expositionType } from './exposition.ts'

export async function metricsRoutes(app: FastifyInstance, hub: Hub): Promise<void> {
  const { baseUrl, config, metrics } = hub
  app.get(`${baseUrl}hub/metrics`, (request, reply) => {
    const { authorization } = request.headers
    if (authorization === undefined) adminSessionOf(hub, request)
    else if (!isSameSecret(tokenIn(authorization), config.current().metricsToken)) throw tokenWrong()
    return reply.type(expositionType).header('cache-control', 'no-store').send(metrics.text())
  })
}

function tokenIn(authorization: string): string {
  return /^(?:bearer|token) +(\S+)$/i.exec(authorization)?.[1] ?? ''
}

function tokenWrong(): ProblemError {
  return new ProblemError('METRICS_TOKEN', {
    what: 'The metrics are not shown',
    why: 'the token that was sent is not the one of metrics.token in the configuration, or there is none',
    fix: 'Set one with sudo tljh-ts config set metrics.token TOKEN, and send it as Authorization: Bearer TOKEN',
  })
}
