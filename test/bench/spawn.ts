/**
 * How long a student waits: from the click to a JupyterLab that answers.
 *
 *   spawn.overhead     beside the same server started by hand in the same limits: what we add to the inevitable
 *   spawn.jupyterhub   beside JupyterHub with systemdspawner, on a host of the same kind
 *
 * The three take turns, one at a time, each with a server that is gone before the next one's turn. Ready is when the page of
 * JupyterLab has been answered whole, with what a browser has to do before (the redirects, the progress, and at
 * JupyterHub the OAuth between hub and server).
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { Host } from '../harness/host/host.ts'
import { claiming } from '../harness/product/classroom.ts'
import { bootProduct, type Product } from '../harness/product/product.ts'
import { type Benchmark, median } from './measure/benchmark.ts'
import { student } from './measure/student.ts'
import { BY_HAND_UNIT, type Recipe, readRecipe, startByHand, stopByHand } from './peers/by-hand.ts'
import { bootJupyterHub, type JupyterHub, stopAtJupyterHub } from './peers/jupyterhub.ts'

const GOAL_MS = 300
const USER = 'ann'
const UNIT = `tljh-user-${USER}.service`
const CONFIG = `${claiming}users:\n  allowed:\n    - ${USER}\nlimits:\n  memory: 1G\n`
const PASSWORD = 'a horse that stays correct'

/** So that what a stopped server leaves to do (journal, page cache) is not the next one's to wait for. */
const PAUSE_MS = 500

/** Milliseconds from the click to the whole page, and to what is known on the way there. */
interface Times {
  page: number
  /** systemd has started the main process. */
  process?: number
  /** The server has told systemd that it is ready. */
  told?: number
  /** The student's browser has heard of it. */
  heard?: number
}

interface Contestant {
  name: string
  start(): Promise<Times>
  /** Resolves when the server is gone. */
  stop(): Promise<void>
}

export const benchmark: Benchmark = {
  async run({ rounds, cleanup, report }) {
    const product = cleanup.use(await bootProduct({ config: CONFIG, report }))
    const we = await ourselves(product)
    report('a first start, which does not count: what our server is, is read from it')
    await we.start()
    const recipe = await readRecipe(product.host, UNIT)
    const { stdout: slice } = await product.host.run(['systemctl', 'cat', recipe.limits.Slice ?? ''])
    await we.stop()
    const peerHub = cleanup.use(await bootJupyterHub({ users: [USER], limits: recipe.limits, slice, report }))
    const hand = byHand(product, recipe)
    const theirs = await jupyterHub(peerHub)

    const contestants = [we, hand, theirs]
    const times = new Map<Contestant, Times[]>(contestants.map(contestant => [contestant, []]))
    for (let round = 0; round <= rounds; round++) {
      for (const contestant of contestants) {
        await delay(PAUSE_MS)
        const time = await contestant.start()
        await contestant.stop()
        report(`${round === 0 ? 'warm-up' : `round ${round}`}: ${contestant.name} ${time.page.toFixed(0)} ms`)
        if (round > 0) times.get(contestant)?.push(time)
      }
    }

    const pages = (contestant: Contestant) => (times.get(contestant) ?? []).map(time => time.page)
    const [ours, inevitable, other] = [pages(we), pages(hand), pages(theirs)]
    const overhead = median(ours) - median(inevitable)
    const row = { unit: 'ms', better: 'lower', ours } as const
    return {
      rounds,
      rows: [
        { ...row, id: 'spawn.overhead', peer: inevitable, peerName: hand.name },
        { ...row, id: 'spawn.jupyterhub', peer: other, peerName: theirs.name },
      ],
      goals: [
        {
          says: `our overhead over the server started by hand is at most ${GOAL_MS} ms: ${overhead.toFixed(0)} ms`,
          isMet: overhead <= GOAL_MS,
        },
        {
          says: `we are faster than JupyterHub: ${median(ours).toFixed(0)} ms and ${median(other).toFixed(0)} ms`,
          isMet: median(ours) < median(other),
        },
      ],
      notes: [
        `From the click to the whole page of JupyterLab, ${memoryOf(recipe)}, accounts made before.`,
        `The peer is ${peerHub.versions}, set up as TLJH does; Node.js ${process.version} for both proxies.`,
        whereItGoes(times.get(we) ?? [], times.get(hand) ?? []),
      ],
    }
  },
}

async function ourselves({ url, host }: Product): Promise<Contestant> {
  const ann = student(url, USER)
  await ann.logIn(PASSWORD)
  return {
    name: 'ours',
    async start() {
      const { clickUs, readyMs, pageMs } = await ann.startServer()
      const moments = await momentsOf(host, UNIT, clickUs)
      return { ...moments, heard: readyMs, page: pageMs }
    },
    async stop() {
      await ann.send('POST', '/hub/stop')
      for await (const _event of ann.progress());
    },
  }
}

function byHand({ host }: Product, recipe: Recipe): Contestant {
  return {
    name: 'the same, by hand',
    async start() {
      // What the hub tells a server about who asks.
      const ask = { path: `/user/${USER}/lab`, headers: { 'X-Tljh-User': USER } }
      const { startUs, pageMs } = await startByHand(host, recipe, ask)
      const { process } = await momentsOf(host, BY_HAND_UNIT, startUs)
      return { process, page: pageMs }
    },
    stop: () => stopByHand(host),
  }
}

async function jupyterHub(hub: JupyterHub): Promise<Contestant> {
  const ann = student(hub.url, USER)
  await ann.logIn(PASSWORD)
  return {
    name: 'JupyterHub',
    start: async () => ({ page: (await ann.startServer()).pageMs }),
    stop: () => stopAtJupyterHub(hub, ann),
  }
}

/** When systemd started the process, and when it heard that it is ready: in milliseconds after `sinceUs`. */
async function momentsOf(host: Host, unit: string, sinceUs: number): Promise<{ process: number; told: number }> {
  const moment = async (property: string) => {
    const { stdout } = await host.run(['systemctl', 'show', unit, `--property=${property}`, '--value'])
    return (Number(stdout) - sinceUs) / 1000
  }
  return {
    process: await moment('ExecMainStartTimestampMonotonic'),
    told: await moment('ActiveEnterTimestampMonotonic'),
  }
}

function memoryOf({ limits }: Recipe): string {
  return `MemoryMax ${(Number(limits.MemoryMax) / 2 ** 30).toFixed(1)} GiB`
}

/** The parts of a start, in medians. Between process and ready is Jupyter itself, in the sandbox that the unit makes. */
function whereItGoes(ours: readonly Times[], hand: readonly Times[]): string {
  const part = (times: readonly Times[], to: keyof Times, from?: keyof Times) =>
    `${median(times.map(time => (time[to] ?? Number.NaN) - (from ? (time[from] ?? Number.NaN) : 0))).toFixed(0)} ms`
  return [
    `Ours: ${part(ours, 'process')} to the process, ${part(ours, 'told', 'process')} to ready,`,
    `${part(ours, 'heard', 'told')} to the browser's knowing it, ${part(ours, 'page', 'heard')} to the page.`,
    `By hand: ${part(hand, 'process')} to the process, ${part(hand, 'page', 'process')} to the page.`,
  ].join(' ')
}
