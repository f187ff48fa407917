/**
 * A class of nine at work on a machine with 2 GB, while one student uses everything against the hub at once (test/bench/measure/siege.py).
 *
 *   siege.health    99th percentile of asking for /hub/health
 *   siege.memory    the most that the hub held
 *   siege.failures  logins, starts and cells of others that failed
 *
 * The peer is the same hub with the same class in peace. Five rounds of a minute are the five minutes of the goal.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { execute } from '../harness/host/run-program.ts'
import { type Benchmark, median, percentile99 } from './measure/benchmark.ts'
import { footprint } from './measure/footprint.ts'
import { besiege, bootBesieged, restartsOf, workAllTheWhile } from './measure/siege.ts'

const seconds = 60
const goalMs = 250
const goalMegabytes = 400

interface Minute {
  healthMs: number
  megabytes: number
  failures: number
  cells: number
  why: string
}

/** Asks ten times a second, in a process of its own: one that is busy measures itself. Prints the milliseconds of each. */
const askForHealth = `
import sys, time, urllib.request
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    begin = time.monotonic()
    try:
        urllib.request.urlopen(sys.argv[1], timeout=30).read()
        print((time.monotonic() - begin) * 1000)
    except OSError:
        print(30000)
    time.sleep(0.1)
`

export const benchmark: Benchmark = {
  async run({ rounds, cleanup, report }) {
    const product = cleanup.use(await bootBesieged(report))
    const hub = footprint(product.host, ['tljh-hub.service'])

    async function minute(name: string): Promise<Minute> {
      await hub.forgetPeak()
      const over = AbortSignal.timeout(seconds * 1000)
      const [toll, { stdout }] = await Promise.all([
        workAllTheWhile(product, over),
        execute(['python3', '-c', askForHealth, `${product.url}/hub/health`, String(seconds)], {
          timeoutMs: seconds * 3000,
        }),
      ])
      const healthMs = percentile99(stdout.trim().split('\n').map(Number))
      const megabytes = (await hub.peakBytes()) / 1024 ** 2
      const { failures, cells } = toll
      const found = { healthMs, megabytes, failures: failures.length, cells, why: failures[0] ?? '' }
      report(
        `${name}: health ${healthMs.toFixed(0)} ms, hub ${megabytes.toFixed(0)} MB, ${cells} cells, ${failures.length} failures ${found.why}`,
      )
      return found
    }

    const [siege, peace]: [Minute[], Minute[]] = [[], []]
    // Accounts are made, and JupyterLab is read from the disk.
    await minute('before')
    for (let round = 1; round <= rounds; round++) {
      peace.push(await minute(`round ${round}, in peace`))
      await besiege(product, seconds)
      siege.push(await minute(`round ${round}, under siege`))
      await delay(5_000)
    }
    const restarts = await restartsOf(product.host, 'tljh-hub')
    const health = median(siege.map(one => one.healthMs))
    const most = Math.max(...siege.map(one => one.megabytes))
    const failures = siege.reduce((sum, one) => sum + one.failures, 0)
    const row = (key: 'healthMs' | 'megabytes' | 'failures') => ({
      ours: siege.map(one => one[key]),
      peer: peace.map(one => one[key]),
      peerName: 'in peace',
      better: 'lower' as const,
    })
    return {
      rounds,
      rows: [
        { id: 'siege.health', unit: 'ms', ...row('healthMs') },
        { id: 'siege.memory', unit: 'MB', ...row('megabytes') },
        { id: 'siege.failures', unit: 'failures', ...row('failures') },
      ],
      goals: [
        {
          says: `/hub/health takes less than ${goalMs} ms (99th percentile): ${health.toFixed(0)} ms`,
          isMet: health < goalMs,
        },
        { says: `the hub stays below ${goalMegabytes} MB: ${most.toFixed(0)} MB`, isMet: most < goalMegabytes },
        { says: `nobody is kept from anything: ${failures} failures`, isMet: failures === 0 },
        { says: `the hub is not started again: ${restarts} times`, isMet: restarts === 0 },
      ],
      notes: ['Attackers and those who work are on the same two processors; the attacker’s server has a limit of one.'],
    }
  },
}
