/**
 * How long a change of the configuration takes, from 'yes' until it is in force everywhere, with a class at work.
 *
 *   config.apply   beside the restart of JupyterHub, which is what `tljh-config reload` does: until its API answers again
 *
 * Ours changes the memory limit of 50 servers that run. JupyterHub's changes nothing for servers that run.
 */
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { connectSpawner } from '../../spawner/client/client.ts'
import type { Host } from '../harness/host/host.ts'
import { bootProduct, checkoutProgram } from '../harness/product/product.ts'
import { type Benchmark, median } from './measure/benchmark.ts'
import { bootJupyterHub, type JupyterHub } from './peers/jupyterhub.ts'

const SERVERS = 50
const GOAL_MS = 500
const POLL_MS = 5
const users = Array.from({ length: SERVERS }, (_, index) => `student-${index + 1}`)

export const benchmark: Benchmark = {
  async run({ rounds, cleanup, report }) {
    const { host } = cleanup.use(await bootProduct({ config: configText(2), report }))
    report(`starting ${SERVERS} servers`)
    await startServers(host)
    const { stdout: slice } = await host.run(['systemctl', 'cat', 'tljh-users.slice'])
    const limits = { Slice: 'tljh-users.slice', MemoryMax: String(2 * 2 ** 30) }
    const peerHub = cleanup.use(await bootJupyterHub({ users: ['ann'], limits, slice, report }))

    const [ours, peer]: [number[], number[]] = [[], []]
    for (let round = 0; round <= rounds; round++) {
      const own = await apply(host, configText(round % 2 ? 2 : 3))
      const other = await restart(peerHub)
      const name = round === 0 ? 'warm-up' : `round ${round}`
      report(`${name}: ours ${own.toFixed(0)} ms, JupyterHub ${other.toFixed(0)} ms`)
      if (round === 0) continue
      ours.push(own)
      peer.push(other)
    }
    const time = median(ours)
    return {
      rounds,
      rows: [{ id: 'config.apply', unit: 'ms', better: 'lower', ours, peer, peerName: 'JupyterHub’s restart' }],
      goals: [
        {
          says: `a change is in force within ${GOAL_MS} ms with ${SERVERS} servers running: ${time.toFixed(0)} ms`,
          isMet: time <= GOAL_MS,
        },
      ],
      notes: [
        `Ours: from 'yes' until hub and spawner run it, ${SERVERS} servers have the new MemoryMax and the login page answers.`,
        `The peer: systemctl restart until the API answers, with no server running: ${peerHub.versions}.`,
        'The time of tljh-config itself, which comes on top of the peer’s, is not counted.',
      ],
    }
  },
}

function configText(gigabytes: number): string {
  return `users:\n  admin: [admin]\n  allowed: [${users.join(', ')}]\nlimits:\n  memory: ${gigabytes}G\n`
}

/** All at once would only wait for each other. */
async function startServers(host: Host): Promise<void> {
  const spawner = connectSpawner(join(host.rootPath, 'run/tljh/spawner.sock'))
  const end = new AbortController()
  const isReady = new Set<string>()
  const waiting = [...users]
  const done = Promise.withResolvers<void>()
  const startNext = () => {
    const user = waiting.shift()
    if (user) void spawner.start(user as Parameters<typeof spawner.start>[0]).catch(done.reject)
  }
  void spawner.follow({
    signal: end.signal,
    onEvent(event) {
      if (!('changed' in event)) return
      const { kind, user } = event.changed
      if (kind === 'failed') done.reject(new Error(`the server of ${user} failed: ${event.changed.end.why}`))
      if (kind !== 'ready' || isReady.has(user)) return
      isReady.add(user)
      if (isReady.size === SERVERS) done.resolve()
      else startNext()
    },
    onConnection: () => undefined,
  })
  for (let index = 0; index < 4; index++) startNext()
  try {
    await done.promise
  } finally {
    end.abort()
    spawner.close()
  }
}

async function apply(host: Host, text: string): Promise<number> {
  const { stdout } = await host.run(checkoutProgram('test/bench/peers/apply-clock.ts'), { input: text })
  const wanted = String(Number(/memory: (\d+)G/.exec(text)?.[1]) * 2 ** 30)
  const show = [
    'systemctl',
    'show',
    '--value',
    '--property=MemoryMax',
    ...users.map(user => `tljh-user-${escaped(user)}`),
  ]
  const limits = (await host.run(show)).stdout.split('\n').filter(Boolean)
  if (limits.length !== SERVERS || limits.some(limit => limit !== wanted)) {
    throw new Error(`the servers do not have the new limit ${wanted}: ${limits.join(' ')}`)
  }
  return Number(stdout)
}

function escaped(user: string): string {
  return user.replaceAll('-', '\\x2d')
}

async function restart({ host, url }: JupyterHub): Promise<number> {
  const start = performance.now()
  await host.run(['systemctl', 'restart', 'jupyterhub'])
  for (;;) {
    const answer = await fetch(`${url}/hub/api`).catch(() => undefined)
    if (answer?.ok) return performance.now() - start
    if (performance.now() - start > 60_000) throw new Error('JupyterHub did not come back')
    await delay(POLL_MS)
  }
}
