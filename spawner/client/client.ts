/**
 * The hub's side of spawner/client/protocol.ts.
 *
 * What the hub knows of the servers is what the spawner last said: `follow` keeps one stream of events open, and after
 * each break asks for everything anew, so nothing that happened meanwhile is missed.
 */
import { Agent, type IncomingMessage, request } from 'node:http'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import type { ConfigProposal, Services, ServicesStatus } from '../../config/change/services.ts'
import type { UserName } from '../../config/users/names.ts'
import { ProblemError } from '../../problem.ts'
import type { Event, Refusal, RemovedAccount, Server, StartOptions } from './protocol.ts'

export interface SpawnerClient {
  list(): Promise<Server[]>
  /** Both answer as soon as the spawner has taken the order, and throw what it refuses as a `ProblemError`. */
  start(user: UserName, options?: StartOptions): Promise<Server>
  stop(user: UserName): Promise<Server>
  /** Archives and deletes the account of somebody whom the configuration does not let in any more. Answers when it is done. */
  archive(user: UserName): Promise<RemovedAccount>
  /** Deletes the account of a temporary visitor, with its files. */
  forget(user: UserName): Promise<RemovedAccount>
  /** Tells which version of the configuration the hub runs. */
  runs(version: string): Promise<void>
  /** Throws what the spawner refuses it for: `CONFIG_INVALID`, `CONFIG_CHANGED`, `CONFIG_LOCKED`, `CONFIG_NOT_APPLIED`. */
  propose(proposal: ConfigProposal): Promise<{ number: number }>
  /** For those who change the configuration. */
  services: Services
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
/** A hub that moves to another port is stopped and started. */
const reloadTimeoutMs = 60_000
/** A home of a terabyte. */
const removalTimeoutMs = 24 * 3600_000
const firstRetryMs = 50
const lastRetryMs = 1_000

export function connectSpawner(socketPath: string): SpawnerClient {
  const usual = new Agent({ keepAlive: true, maxSockets: 8 })

  async function ask<Answer>(method: 'GET' | 'POST', path: string, limitMs = timeoutMs, sent = ''): Promise<Answer> {
    // What takes hours must not keep a start waiting.
    const agent = limitMs === removalTimeoutMs ? undefined : usual
    const response = await open(agent, socketPath, method, path, AbortSignal.timeout(limitMs), sent)
    const body = JSON.parse(await textOf(response)) as Answer | Refusal
    if (isRefusal(body)) throw new ProblemError(body.code, body)
    return body
  }

  return {
    list: () => ask<Server[]>('GET', '/servers'),
    start: (user, { hasOwnSettings } = { hasOwnSettings: true }) =>
      ask<Server>('POST', `/servers/${user}/${hasOwnSettings ? 'start' : 'start-without-settings'}`),
    stop: user => ask<Server>('POST', `/servers/${user}/stop`),
    archive: user => ask<RemovedAccount>('POST', `/users/${user}/archive`, removalTimeoutMs),
    forget: user => ask<RemovedAccount>('POST', `/users/${user}/forget`, removalTimeoutMs),
    async runs(version) {
      await ask('POST', `/config/in-force/${version}`)
    },
    propose: ({ admin, ...rest }) => ask('POST', `/config/propose/${admin}`, reloadTimeoutMs, JSON.stringify(rest)),
    services: {
      status: () => ask<ServicesStatus>('GET', '/config'),
      async reload({ isAtOnce }) {
        await ask('POST', isAtOnce ? '/config/reload-at-once' : '/config/reload', reloadTimeoutMs)
      },
    },
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
    close: () => usual.destroy(),
  }
}

function isRefusal(body: unknown): body is Refusal {
  return typeof body === 'object' && body !== null && 'code' in body && 'fix' in body
}

function open(
  agent: Agent | undefined,
  socketPath: string,
  method: string,
  path: string,
  signal: AbortSignal,
  body = '',
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
      if (body) call.setHeader('content-length', Buffer.byteLength(body))
      call.end(body)
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
    what: 'Servers cannot be started, stopped or changed just now',
    why: 'the service that does it (tljh-spawner) does not answer',
    fix: 'Try again in a moment. If it stays so, an administrator finds the reason with: sudo systemctl status tljh-spawner',
    cause,
  })
}
