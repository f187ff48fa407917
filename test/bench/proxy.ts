/**
 * The proxy: every keystroke of a class goes through it.
 *
 *   proxy.small         answers of 1 kB a second, on 32 connections, in the first two seconds after a minute of rest
 *   proxy.small-steady  the same in the two seconds after such two
 *   proxy.p99           99th percentile of such answers, at one rate for all: half of what configurable-http-proxy reaches
 *   proxy.download      MB a second of answers of 16 MB
 *   proxy.ws-large      MB a second of WebSocket messages of 4 MB, there and back
 *   proxy.ws-small      messages of 64 bytes a second, there and back, on 32 WebSockets
 *   proxy.ws-open       milliseconds until a new WebSocket is open
 *   proxy.idle-memory   memory of the process with 10 000 idle WebSockets
 *
 * Ours is the hub as a release installs it, with real sessions of people whose servers run; behind it, as behind the others, an upstream
 * stands in the place of Jupyter, on the sockets of those servers (peers/upstream.ts). The others know no sessions, and let everybody in.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import { defaultLayers, type Host } from '../harness/host/host.ts'
import { CHECKOUT } from '../harness/image/cache.ts'
import { visit } from '../harness/people/visitor.ts'
import { claiming } from '../harness/product/classroom.ts'
import { bootProduct, checkoutProgram } from '../harness/product/product.ts'
import { makeRelease } from '../harness/product/unpacked-release.ts'
import { type Benchmark, type Comparison, median } from './measure/benchmark.ts'
import { footprint } from './measure/footprint.ts'
import type { Order, Seen, Visit } from './measure/load.ts'
import { putOwnNode } from './peers/own-node.ts'
import { peerNames, peerPorts, proxiesLayer, startPeers } from './peers/proxies.ts'

/** A server may hold 1000 requests and WebSockets at a time. */
const USERS = 12
const WANTED = 10_000
/**
 * Each takes two descriptors of a proxy, and one address has at most half of the hub's connections (hub/bounds/door.ts). Where this machine does not
 * give so many, fewer are held, and the rest is reckoned.
 */
const HELD = Math.min(WANTED, Math.floor((descriptorLimit() - 2_000) / 4))
const STRETCH_MS = 2_000
const CONNECTIONS = 32
const MB = 2 ** 20
const BIG_MB = 16
const MESSAGE_MB = 4
const OPENED = 200
/** What has grown under the load before is given back when it is quiet, or never. */
const SETTLE_MS = 30_000
const UPSTREAM_PORT = 9000
const UPSTREAM = 'test/bench/peers/upstream.ts'
const LOAD = 'test/bench/measure/load.ts'
/** Of these two. */
const NODE = '/opt/peer/measure/node'
const PASSWORD = 'a horse that stays correct'
const users = Array.from({ length: USERS }, (_, index) => `user${index + 1}`)
const CONFIG = `${claiming}users:\n  allowed: [${users.join(', ')}]\n`

const contestants = ['ours', 'chp', 'nginx'] as const
type Contestant = (typeof contestants)[number]
const ports: Record<Contestant, number> = { ours: 80, ...peerPorts }
const units: Record<Contestant, string> = { ours: 'tljh-hub', chp: 'chp', nginx: 'peer-nginx' }

interface Measure {
  id: string
  unit: string
  better: Comparison['better']
  take(at: Contestant): Promise<number>
}

export const benchmark: Benchmark = {
  async run({ rounds, cleanup, report }) {
    const layers = [...defaultLayers(), proxiesLayer()]
    const release = cleanup.use(await makeRelease())
    const { host, url } = cleanup.use(await bootProduct({ config: CONFIG, layers, release, report }))
    await putPrograms(host)
    report(`starting ${USERS} servers`)
    const visits: Visit[] = []
    for (const user of users) visits.push(await enter(url, user))
    await putUpstream(host, cleanup)
    await startPeers(host, users, UPSTREAM_PORT)
    // It holds connections to the servers before.
    await host.run(['systemctl', 'restart', 'tljh-hub'])

    const equalRate = Math.floor((await requestRate(host, 'chp', visits, 'small')) / 2)
    const measures = measuresOf(host, visits, equalRate)
    const found = new Map<string, Record<Contestant, number[]>>()
    for (let round = 0; round <= rounds; round++) {
      for (const measure of measures) {
        const numbers = found.get(measure.id) ?? { ours: [], chp: [], nginx: [] }
        found.set(measure.id, numbers)
        const line: string[] = []
        for (const at of turn(round)) {
          const value = await measure.take(at)
          line.push(`${at} ${value.toFixed(2)}`)
          if (round > 0) numbers[at].push(value)
        }
        report(`${round === 0 ? 'warm-up' : `round ${round}`}, ${measure.id}: ${line.join(', ')} ${measure.unit}`)
      }
    }

    const rowOf = ({ id, unit, better }: Measure, peer: 'chp' | 'nginx'): Comparison => {
      const numbers = found.get(id) ?? { ours: [], chp: [], nginx: [] }
      const suffix = peer === 'chp' ? '' : '.nginx'
      return { id: `${id}${suffix}`, unit, better, ours: numbers.ours, peer: numbers[peer], peerName: peerNames[peer] }
    }
    const rows = measures.map(measure => rowOf(measure, 'chp'))
    const memory = median(found.get('proxy.idle-memory')?.ours ?? [])
    return {
      rounds,
      rows: [...rows, ...measures.map(measure => rowOf(measure, 'nginx'))],
      goals: [
        ...goals.map(goal => goalMet(rows, goal)),
        {
          says: `${WANTED} idle WebSockets are held in under 150 MB: ${memory.toFixed(0)} MB, all of the hub’s memory`,
          isMet: memory < 150,
        },
      ],
      notes: [
        'Ours: the hub of an installation, with sessions; a path below user/NAME/ and the cookie of NAME, checked at each request.',
        `proxy.p99: ${equalRate} requests a second at each, half of what configurable-http-proxy reached before the rounds.`,
        `proxy.idle-memory: ${HELD} were held (this machine gives a process ${descriptorLimit()} descriptors), and the growth scaled to ${WANTED}.`,
        'proxy.small: two seconds after a minute of rest, in which compiled code is lost and made again; proxy.small-steady: when it is there.',
        'Load, proxy and upstream share the processors of this machine: ratios say more than numbers.',
      ],
    }
  },
}

const goals = [
  { id: 'proxy.small', least: 3.5, says: 'answers of 1 kB a second' },
  { id: 'proxy.p99', least: 1, says: 'the 99th percentile at equal load' },
  { id: 'proxy.download', least: 1.1, says: 'downloads of 16 MB' },
  { id: 'proxy.ws-large', least: 1.1, says: 'WebSocket messages of 4 MB' },
  { id: 'proxy.ws-open', least: 1, says: 'opening a WebSocket' },
]

function goalMet(rows: readonly Comparison[], { id, least, says }: (typeof goals)[number]) {
  const row = rows.find(one => one.id === id)
  const [ours, peer] = [median(row?.ours ?? []), median(row?.peer ?? [])]
  const times = row?.better === 'lower' ? peer / ours : ours / peer
  return {
    says: `${says}: at least ${least} times as good as ${peerNames.chp}: ${times.toFixed(2)}`,
    isMet: times >= least,
  }
}

/** Each begins as often as the others. */
function turn(round: number): Contestant[] {
  const first = round % contestants.length
  return [...contestants.slice(first), ...contestants.slice(0, first)]
}

/** Logs in and starts the server. */
async function enter(url: string, user: string): Promise<Visit> {
  const visitor = visit(url)
  const { status, body } = await visitor.logIn(user, PASSWORD)
  if (status !== 302) throw new Error(`${user} could not log in: ${status} ${body}`)
  await visitor.startServer()
  return { path: `/user/${user}`, cookie: visitor.headersFor(`/user/${user}/`).cookie ?? '' }
}

/** A release has no programs of ours for measuring. */
async function putPrograms(host: Host): Promise<void> {
  for (const path of [UPSTREAM, LOAD, 'test/bench/measure/benchmark.ts']) {
    await host.writeFile(checkoutProgram(path).at(-1) ?? '', readFileSync(join(CHECKOUT, path), 'utf8'))
  }
  await putOwnNode(host, NODE)
}

function runs(path: string): string[] {
  return [NODE, ...checkoutProgram(path).slice(1)]
}

async function putUpstream(host: Host, cleanup: AsyncDisposableStack): Promise<void> {
  const sockets = users.map(user => `/run/tljh/users/${user}/socket`)
  const server = cleanup.use(await host.start([...runs(UPSTREAM), String(UPSTREAM_PORT), ...sockets]))
  const isUp = new Promise<void>(resolve => server.stdout.once('data', () => resolve()))
  const isDown = server.ended.then(code => Promise.reject(new Error(`the upstream ended with ${code}`)))
  isDown.catch(() => undefined)
  await Promise.race([isUp, isDown])
}

function measuresOf(host: Host, visits: readonly Visit[], equalRate: number): Measure[] {
  const sockets = at('/ws')
  const lengthMs = STRETCH_MS
  function at(path: string): Visit[] {
    return visits.map(one => ({ ...one, path: one.path + path }))
  }
  const ask = (contestant: Contestant, order: Omitted) => load(host, { ...order, port: ports[contestant] } as Order)
  const higher = 'higher' as const
  const lower = 'lower' as const
  return [
    { id: 'proxy.small', unit: '/s', better: higher, take: one => requestRate(host, one, visits, 'small') },
    {
      id: 'proxy.small-steady',
      unit: '/s',
      better: higher,
      take: async one => {
        await requestRate(host, one, visits, 'small')
        return requestRate(host, one, visits, 'small')
      },
    },
    {
      id: 'proxy.p99',
      unit: 'ms',
      better: lower,
      take: async one =>
        (await ask(one, { kind: 'steady', visits: at('/small'), rate: equalRate, connections: CONNECTIONS, lengthMs }))
          .p99 ?? Number.NaN,
    },
    {
      id: 'proxy.download',
      unit: 'MB/s',
      better: higher,
      take: async one => BIG_MB * (await requestRate(host, one, visits, 'big')),
    },
    {
      id: 'proxy.ws-large',
      unit: 'MB/s',
      better: higher,
      take: async one =>
        MESSAGE_MB *
        ((await ask(one, { kind: 'echo', visits: sockets, bytes: MESSAGE_MB * MB, connections: 1, lengthMs })).rate ??
          Number.NaN),
    },
    {
      id: 'proxy.ws-small',
      unit: '/s',
      better: higher,
      take: async one =>
        (await ask(one, { kind: 'echo', visits: sockets, bytes: 64, connections: CONNECTIONS, lengthMs })).rate ??
        Number.NaN,
    },
    {
      id: 'proxy.ws-open',
      unit: 'ms',
      better: lower,
      take: async one => (await ask(one, { kind: 'open', visits: sockets, count: OPENED })).openMs ?? Number.NaN,
    },
    { id: 'proxy.idle-memory', unit: 'MB', better: lower, take: one => idleMemory(host, one, sockets) },
  ]
}

type Omitted = Order extends infer One ? (One extends Order ? Omit<One, 'port'> : never) : never

async function requestRate(
  host: Host,
  at: Contestant,
  visits: readonly Visit[],
  file: 'small' | 'big',
): Promise<number> {
  const [one] = visits
  const connections = file === 'small' ? CONNECTIONS : 2
  const { stdout } = await host.run(
    [
      ...['wrk', '--threads=1', `--connections=${connections}`, `--duration=${STRETCH_MS / 1000}s`],
      ...['--header', `Cookie: ${one?.cookie}`, `http://127.0.0.1:${ports[at]}${one?.path}/${file}`],
    ],
    { timeoutMs: 60_000 },
  )
  const rate = Number(/^Requests\/sec:\s+([\d.]+)/m.exec(stdout)?.[1])
  if (!(rate > 0) || /Non-2xx|Socket errors/.test(stdout)) throw new Error(`wrk at ${at}:\n${stdout}`)
  return rate
}

async function load(host: Host, order: Order): Promise<Seen> {
  const { stdout } = await host.run(runs(LOAD), {
    input: `${JSON.stringify(order)}\n`,
    timeoutMs: 60_000,
  })
  return JSON.parse(stdout) as Seen
}

/** In MB, with all of them open, and pages that are shared counted by their share. */
async function idleMemory(host: Host, at: Contestant, visits: readonly Visit[]): Promise<number> {
  const memory = async () => (await footprint(host, [units[at]]).bytes()) / MB
  const before = await memory()
  await using client = await host.start(runs(LOAD))
  const order: Order = { kind: 'hold', port: ports[at], visits, count: HELD }
  client.stdin.write(`${JSON.stringify(order)}\n`)
  const lines = createInterface({ input: client.stdout })[Symbol.asyncIterator]()
  const complaints = text(client.stderr)
  const { done } = await lines.next()
  if (done) throw new Error(`${at} does not hold ${HELD} WebSockets: ${await complaints}`)
  await delay(SETTLE_MS)
  const held = await memory()
  return before + ((held - before) * WANTED) / HELD
}

function descriptorLimit(): number {
  return Number(/Max open files\s+(\d+)/.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1])
}
