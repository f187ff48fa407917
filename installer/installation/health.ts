/**
 * Whether the version that was put in force works: both services are up and stay up, the hub answers as that version at the
 * address that browsers use, and the spawner knows of every server that runs.
 */
import { readFile } from 'node:fs/promises'
import { request } from 'node:http'
import { text } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import { newestGood } from '../../config/change/history.ts'
import { type Config, parseConfig } from '../../config/meaning/config.ts'
import { type FromHere, fromHere } from '../../config/meaning/hub-address.ts'
import type { Layout } from '../../machine/layout.ts'
import { runProgram } from '../../machine/run-program.ts'
import { ProblemError } from '../../problem.ts'

/** As spawner/client/protocol.ts has it. */
interface Server {
  kind: string
  user: string
}

const hub = 'tljh-hub.service'
const spawner = 'tljh-spawner.service'
const pauseMs = 100
/** Longer than WatchdogSec= of the services: on a machine that has no processor to spare they answer late, and one that hangs is started anew before. */
const answerTimeoutMs = 40_000
/** A service that has ended so often since it was restarted will go on like that. */
const mostRestarts = 3

/** Waits until all is well. Else answers a sentence that says what is not, with the last lines of the service that it is about. */
export async function ailment(layout: Layout, version: string, timeoutMs: number): Promise<string | undefined> {
  const deadline = Date.now() + timeoutMs
  for (;;) {
    const found = await look(layout, version)
    if (found === undefined) return undefined
    if (found.isFinal || Date.now() > deadline) return `${found.why}\n${await lastWords(found.unit)}`
    await delay(pauseMs)
  }
}

/** Names of the users whose servers run, as the spawner knows them. */
export async function runningServers({ spawnerSocket }: Layout): Promise<string[]> {
  const servers = JSON.parse(await get({ socketPath: spawnerSocket, path: '/servers' })) as Server[]
  return servers
    .filter(({ kind }) => kind === 'ready' || kind === 'starting' || kind === 'stopping')
    .map(({ user }) => user)
}

interface Ailment {
  unit: string
  why: string
  /** Waiting will not help. */
  isFinal: boolean
}

async function look(layout: Layout, version: string): Promise<Ailment | undefined> {
  let isSecondTry = false
  for (const unit of [spawner, hub]) {
    const { stdout } = await runProgram('systemctl', ['show', '--property=ActiveState,NRestarts', unit])
    const restarts = Number(/^NRestarts=(\d+)$/m.exec(stdout)?.[1] ?? 0)
    if (restarts >= mostRestarts) return { unit, why: `${unit} ends again and again`, isFinal: true }
    if (!/^ActiveState=active$/m.test(stdout)) return { unit, why: `${unit} does not start`, isFinal: false }
    isSecondTry = restarts > 0
  }
  return (await lookAtSpawner(layout)) ?? (await lookAtHub(layout, version, isSecondTry))
}

async function lookAtSpawner(layout: Layout): Promise<Ailment | undefined> {
  const list = ['list-units', '--plain', '--no-legend', '--state=active,activating,deactivating', 'tljh-user-*.service']
  try {
    const { stdout } = await runProgram('systemctl', list)
    const running = stdout.split('\n').filter(Boolean).length
    const known = (await runningServers(layout)).length
    if (known === running) return undefined
    // A server that starts or ends just now is in one of the lists before it is in the other.
    return { unit: spawner, why: `the spawner knows of ${known} servers, and ${running} run`, isFinal: false }
  } catch (error) {
    return { unit: spawner, why: `the spawner does not answer: ${reason(error)}`, isFinal: false }
  }
}

async function lookAtHub(layout: Layout, version: string, isSecondTry: boolean): Promise<Ailment | undefined> {
  const { http, baseUrl } = await configInForce(layout)
  try {
    const body = await get({ ...fromHere(http), path: `${baseUrl}hub/health` })
    const answered = (JSON.parse(body) as { version?: string }).version
    if (answered === version) return undefined
    return { unit: hub, why: `the hub says that it is ${answered ?? 'no version'}, not ${version}`, isFinal: true }
  } catch (error) {
    // It says itself that it cannot start (hub/out-of-service.ts), and that it has tried twice.
    if (error instanceof ProblemError) return { unit: hub, why: `${error.what}: ${error.why}`, isFinal: isSecondTry }
    return { unit: hub, why: `the hub does not answer: ${reason(error)}`, isFinal: false }
  }
}

/** What hub and spawner go by: where the file is no good, the last that was. */
export async function configInForce({ configFile }: Layout): Promise<Config> {
  try {
    return parseConfig(await readFile(configFile))
  } catch {
    return newestGood(configFile) ?? parseConfig('')
  }
}

/** A connection of its own each time: a kept one would lead to a hub that is leaving. Throws what the answer says of a problem. */
export async function get(target: Target): Promise<string> {
  try {
    return await ask(target)
  } catch (error) {
    // Another program has just that port.
    const isTaken = error instanceof Error && 'code' in error && /^EADDR/.test(String(error.code))
    if (!isTaken || !('localPort' in target)) throw error
    const { localPort: _, ...fromAnyPort } = target
    return ask(fromAnyPort)
  }
}

type Target = FromHere & { path: string }

function ask(target: Target): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const call = request({ ...target, agent: false, signal: AbortSignal.timeout(answerTimeoutMs) }, response => {
    text(response).then(body => {
      if (response.statusCode === 200) resolve(body)
      else reject(problemIn(body) ?? new Error(`status ${response.statusCode}`))
    }, reject)
  })
  call.on('error', reject)
  call.end()
  return promise
}

function problemIn(body: string): ProblemError | undefined {
  try {
    const { code, what, why, fix } = JSON.parse(body) as Record<string, unknown>
    if (typeof what !== 'string' || typeof why !== 'string') return undefined
    return new ProblemError(String(code), { what, why, fix: String(fix) })
  } catch {
    return undefined
  }
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** What it wrote to the journal last. */
export async function lastWords(unit: string): Promise<string> {
  // All that was sent to the journal before is in it then.
  await runProgram('journalctl', ['--sync'], { timeoutMs: 2_000 }).catch(() => undefined)
  const lines = ['--quiet', '--no-pager', '--output=cat', '--lines=15', '--unit', unit]
  const { stdout } = await runProgram('journalctl', lines)
  return `The last lines of ${unit}:\n${stdout.trimEnd().replace(/^/gm, '    ')}`
}
