/**
 * `hub/metrics`: for administrators in a browser, and for a program that brings the token of the configuration
 * (`Authorization: Bearer`, or `token` as JupyterHub's clients write it).
 */
import type { FastifyInstance } from 'fastify'
import type { ConfigFile } from '../../config/change/in-force.ts'
import { ProblemError } from '../../problem.ts'
import type { Access } from '../access/access.ts'
import { adminSessionOf } from '../pages/answers.ts'
import { isSameSecret } from '../web/constant-time.ts'
import { expositionType } from './exposition.ts'
import type { Metrics } from './metrics.ts'

interface Needs {
  baseUrl: string
  config: ConfigFile
  access: Access
  metrics: Metrics
}

export async function metricsRoutes(app: FastifyInstance, hub: Needs): Promise<void> {
  const { baseUrl, config, metrics } = hub
  app.get(`${baseUrl}hub/metrics`, (request, reply) => {
    const token = tokenIn(request.headers.authorization)
    if (token === undefined) adminSessionOf(hub, request)
    else if (!isSameSecret(token, config.current().metricsToken)) throw tokenWrong()
    return reply.type(expositionType).header('cache-control', 'no-store').send(metrics.text())
  })
}

/** Undefined: none is meant. What a web server in front asked for by the same header is not ours. */
function tokenIn(authorization = ''): string | undefined {
  return /^(?:bearer|token)(?: +(.*))?$/i.exec(authorization)?.slice(1).join('')
}

function tokenWrong(): ProblemError {
  return new ProblemError('METRICS_TOKEN', {
    what: 'The metrics are not shown',
    why: 'the token that was sent is not the one of metrics.token in the configuration, or there is none',
    fix: 'Set one with sudo tljh-ts config set metrics.token TOKEN, and send it as Authorization: Bearer TOKEN',
  })
}
