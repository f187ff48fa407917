/**
 * What the hub takes while nobody does anything, from a machine that the servers are for.
 *
 *   rest.memory-0    memory of all processes of the hub, without a server
 *   rest.memory-50   with 50 servers that run
 *   rest.cpu-50      processor time with them, in thousandths of a core
 *
 * The peer is JupyterHub with configurable-http-proxy and the idle culler, as TLJH sets it up.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { type Benchmark, median } from './measure/benchmark.ts'
import { type Footprint, footprint } from './measure/footprint.ts'
import { type Student, student } from './measure/student.ts'
import { bootSideBySide } from './peers/jupyterhub.ts'

const SERVERS = 50
/** Of what the peer takes. */
const GOAL = 0.7
const PASSWORD = 'a horse that stays correct'
/** A start leaves garbage behind, which is collected when it gets too much or nothing happens for a while. */
const SETTLE_MS = 30_000
/** The culler looks once a minute. */
const SAMPLE_MS = 61_000
const users = Array.from({ length: SERVERS }, (_, index) => `student-${index + 1}`)
/** So many start at a time: JupyterHub gives up a start after a minute. */
const AT_ONCE = 4

interface Sample {
  megabytes: number
  /** Thousandths of a core. */
  cpu: number
}

export const benchmark: Benchmark = {
  async run({ rounds, cleanup, report }) {
    const { product, peerHub: hub } = await bootSideBySide(users, { cleanup, report })
    const ours = footprint(product.host, ['tljh-hub.service', 'tljh-spawner.service'])
    const theirs = footprint(hub.host, ['jupyterhub.service'])
    // Neither is to be measured before it has ever been used.
    for (const url of [product.url, hub.url]) await student(url, users[0] ?? '').logIn(PASSWORD)

    const measure = async (name: string) => {
      await delay(SETTLE_MS)
      const samples: [Sample[], Sample[]] = [[], []]
      for (let round = 1; round <= rounds; round++) {
        const both = await Promise.all([sample(ours), sample(theirs)])
        for (const [index, one] of both.entries()) samples[index]?.push(one)
        report(`${name}, round ${round}: ours ${show(both[0])}, JupyterHub ${show(both[1])}`)
      }
      return samples
    }
    const empty = await measure('no server')
    for (const url of [product.url, hub.url]) await startAll(users.map(name => student(url, name)))
    const full = await measure(`${SERVERS} servers`)

    const row = ([we, they]: [Sample[], Sample[]], key: keyof Sample) => ({
      ours: we.map(one => one[key]),
      peer: they.map(one => one[key]),
      peerName: 'JupyterHub',
      better: 'lower' as const,
    })
    const rows = [
      { id: 'rest.memory-0', unit: 'MB', ...row(empty, 'megabytes') },
      { id: 'rest.memory-50', unit: 'MB', ...row(full, 'megabytes') },
      { id: 'rest.cpu-50', unit: 'thousandths of a core', ...row(full, 'cpu') },
    ]
    return {
      rounds,
      rows,
      goals: rows.map(({ id, ours: we, peer }) => ({
        says: `${id} is at most ${GOAL} of JupyterHub's: ${(median(we) / median(peer)).toFixed(2)}`,
        isMet: median(we) <= GOAL * median(peer),
      })),
      notes: [`Memory is PSS, of hub and spawner beside hub, proxy and culler. ${hub.versions}.`],
    }
  },
}

async function startAll(students: readonly Student[]): Promise<void> {
  const waiting = [...students]
  const starter = async () => {
    for (let one = waiting.shift(); one; one = waiting.shift()) {
      await one.logIn(PASSWORD)
      await one.startServer()
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, starter))
}

async function sample(process: Footprint): Promise<Sample> {
  const [before, begin] = [await process.cpuSeconds(), performance.now()]
  await delay(SAMPLE_MS)
  const cpu = (await process.cpuSeconds()) - before
  return { megabytes: (await process.bytes()) / 1024 ** 2, cpu: (cpu / (performance.now() - begin)) * 1e6 }
}

function show({ megabytes, cpu }: Sample): string {
  return `${megabytes.toFixed(0)} MB, ${cpu.toFixed(1)} thousandths of a core`
}
