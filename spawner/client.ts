/**
 * The hub's side of spawner/protocol.ts.
 *
 * What the hub knows of the servers is what the spawner last said: `follow` keeps one stream of events open, and after
 * each break asks for everything anew, so nothing that happened meanwhile is missed.
 */
import { Agent, type IncomingMessage, request } from 'node:http'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import type { UserName } from '../config/names.ts'
import { ProblemError } from '../problem.ts'
import type { Event, Refusal, Server } from './protocol.ts'

export interface SpawnerClient {
  /** Both answer as soon as the spawner has taken the order, and throw what it refuses as a `ProblemError`. */
  start(user: UserName): Promise<Server>
  stop(user: UserName): Promise<Server>
  /** Runs until `signal` ends it. `isConnected` tells whether events arrive. */
  follow(options: FollowOptions): Promise<void>
  close(): void
}

export interface FollowOptions {
  signal: AbortSignal
  onEvent(event: Event): void
  onConnection(isConnected: boolean): void
}

const timeoutMs = 10_000
const firstRetryMs = 50
const lastRetryMs = 1_000

export function connectSpawner(socketPath: string): SpawnerClient {
  const agent = new Agent({ keepAlive: true, maxSockets: 8 })

  async function order(user: UserName, verb: 'start' | 'stop'): Promise<Server> {
    const response = await open(agent, socketPath, 'POST', `/servers/${user}/${verb}`, AbortSignal.timeout(timeoutMs))
    const body = JSON.parse(await textOf(response)) as Server | Refusal
    if ('code' in body) throw new ProblemError(body.code, body)
    return body
  }

  return {
    start: user => order(user, 'start'),
    stop: user => order(user, 'stop'),
    async follow({ signal, onEvent, onConnection }) {
      let retryMs = firstRetryMs
      while (!signal.aborted) {
        try {
          const response = await open(undefined, socketPath, 'GET', '/events', signal)
          for await (const line of createInterface({ input: response })) {
            onEvent(JSON.parse(line) as Event)
            onConnection(true)
            retryMs = firstRetryMs
          }
        } catch (error) {
          if (!(error instanceof Error)) throw error
        }
        onConnection(false)
        await delay(retryMs, undefined, { signal }).catch(() => undefined)
        retryMs = Math.min(retryMs * 2, lastRetryMs)
      }
    },
    close: () => agent.destroy(),
  }
}

function open(
  agent: Agent | undefined,
  socketPath: string,
  method: string,
  path: string,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    // The one order is safe to give twice, so a kept connection that the spawner had just closed is tried once more.
    const attempt = (isSecond: boolean) => {
      const call = request(
        { ...(agent && !isSecond ? { agent } : { agent: false }), socketPath, method, path, signal },
        resolve,
      )
      call.on('error', error => {
        if (call.reusedSocket && !isSecond && !signal.aborted) attempt(true)
        else reject(unreachable(error))
      })
      call.end()
    }
    attempt(false)
  })
}

async function textOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString()
}

/** What is thrown when the spawner does not answer. */
export function unreachable(cause?: Error): ProblemError {
  return new ProblemError('SPAWNER_UNREACHABLE', {
    what: 'Servers cannot be started or stopped just now',
    why: 'the service that does it (tljh-spawner) does not answer',
    fix: 'Try again in a moment. If it stays so, an administrator finds the reason with: sudo systemctl status tljh-spawner',
    cause,
  })
}
