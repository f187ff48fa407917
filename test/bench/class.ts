/**
 * Nine o'clock: a whole class logs in at once, starts its servers and runs a cell.
 *
 *   class.last-cell   from the first login until the last student has run a cell, or was told that there is no server
 *   class.failures    students who had none in the end
 *   class.memory      the most that the hub's own processes held meanwhile
 *
 * The servers are real, and so are the kernels. The peer is JupyterHub with systemdspawner as TLJH sets it up; each has the machine for
 * itself in its turn.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { type Benchmark, median, percentile99 } from './measure/benchmark.ts'
import { type Footprint, footprint } from './measure/footprint.ts'
import { type Student, student } from './measure/student.ts'
import { bootSideBySide, stopAtJupyterHub } from './peers/jupyterhub.ts'

/** As many as two cores are to bring to work within a minute. */
const CLASS = 50
const GOAL_S = 60
const GOAL_PAGE_MS = 100
const PASSWORD = 'a horse that stays correct'
const PAUSE_MS = 100
const users = Array.from({ length: CLASS }, (_, index) => `student-${index + 1}`)

interface Morning {
  lastCellS: number
  failures: number
  /** Of one of them. */
  why: string
  megabytes: number
  /** 99th percentile of the hub's login page meanwhile. */
  pageMs: number
}

interface Contestant {
  name: string
  url: string
  students: Student[]
  footprint: Footprint
  stop(student: Student): Promise<void>
}

export const benchmark: Benchmark = {
  async run({ rounds, cleanup, report }) {
    const { product, peerHub: hub } = await bootSideBySide(users, { cleanup, report })
    const we: Contestant = {
      name: 'ours',
      url: product.url,
      students: users.map(name => student(product.url, name)),
      footprint: footprint(product.host, ['tljh-hub.service', 'tljh-spawner.service']),
      async stop(one) {
        await one.send('POST', '/hub/stop')
        for await (const _event of one.progress());
      },
    }
    const they: Contestant = {
      name: 'JupyterHub',
      url: hub.url,
      students: users.map(name => student(hub.url, name)),
      footprint: footprint(hub.host, ['jupyterhub.service']),
      stop: one => stopAtJupyterHub(hub, one),
    }
    // The first login chooses the password; a first start reads JupyterLab from the disk.
    for (const contestant of [we, they]) {
      for (const one of contestant.students) await one.logIn(PASSWORD)
      await contestant.students[0]?.startServer()
      if (contestant.students[0]) await contestant.stop(contestant.students[0])
    }

    const [ours, theirs]: [Morning[], Morning[]] = [[], []]
    for (let round = 1; round <= rounds; round++) {
      for (const [contestant, mornings] of [[we, ours] as const, [they, theirs] as const]) {
        const morning = await nineOClock(contestant)
        mornings.push(morning)
        report(`round ${round}: ${contestant.name} ${show(morning)}`)
      }
    }
    const row = (key: 'lastCellS' | 'failures' | 'megabytes') => ({
      ours: ours.map(one => one[key]),
      peer: theirs.map(one => one[key]),
      peerName: 'JupyterHub',
      better: 'lower' as const,
    })
    const last = median(ours.map(one => one.lastCellS))
    const page = median(ours.map(one => one.pageMs))
    const failures = ours.reduce((sum, one) => sum + one.failures, 0)
    return {
      rounds,
      rows: [
        { id: 'class.last-cell', unit: 's', ...row('lastCellS') },
        { id: 'class.failures', unit: 'students', ...row('failures') },
        { id: 'class.memory', unit: 'MB', ...row('megabytes') },
      ],
      goals: [
        { says: `${CLASS} students have run a cell within ${GOAL_S} s: ${last.toFixed(0)} s`, isMet: last <= GOAL_S },
        { says: `nobody is left without a server: ${failures} in ${rounds} rounds`, isMet: failures === 0 },
        {
          says: `the hub’s pages take less than ${GOAL_PAGE_MS} ms meanwhile (99th percentile of the login page): ${page.toFixed(0)} ms`,
          isMet: page < GOAL_PAGE_MS,
        },
      ],
      notes: [
        `${CLASS} students log in and click at the same moment; those who ask are on the same processors as those who answer.`,
        `JupyterHub’s login page meanwhile: ${median(theirs.map(one => one.pageMs)).toFixed(0)} ms. ${hub.versions}.`,
      ],
    }
  },
}

async function nineOClock({ url, students, footprint, stop }: Contestant): Promise<Morning> {
  await footprint.forgetPeak()
  const begin = performance.now()
  const since = () => (performance.now() - begin) / 1000
  const over = new AbortController()
  const pages = sampleLoginPage(url, over.signal)
  const cells = await Promise.allSettled(
    students.map(async one => {
      await one.logIn(PASSWORD)
      await one.startServer()
      await one.runCell('6 * 7')
    }),
  )
  const lastCellS = since()
  over.abort()
  const failed = cells.flatMap(cell => (cell.status === 'rejected' ? [String(cell.reason).slice(0, 300)] : []))
  const megabytes = (await footprint.peakBytes()) / 1024 ** 2
  const pageMs = await pages
  await Promise.all(students.map(stop))
  return { lastCellS, failures: failed.length, why: failed[0] ?? '', megabytes, pageMs }
}

/** The 99th percentile, in milliseconds, of asking again and again. */
async function sampleLoginPage(url: string, signal: AbortSignal): Promise<number> {
  const times: number[] = []
  while (!signal.aborted) {
    const start = performance.now()
    await (await fetch(`${url}/hub/login`)).text()
    times.push(performance.now() - start)
    await delay(PAUSE_MS)
  }
  return percentile99(times)
}

function show({ lastCellS, failures, why, megabytes, pageMs }: Morning): string {
  return `${lastCellS.toFixed(1)} s, ${failures} failures${why && ` (${why})`}, ${megabytes.toFixed(0)} MB, page ${pageMs.toFixed(0)} ms`
}
