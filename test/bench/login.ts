/**
 * A class that logs in, and what those who are at work feel of it.
 *
 *   login.rate      logins a second, eight people at a time, without a pause
 *   login.page      99th percentile of the login page meanwhile
 *   login.proxied   99th percentile of a file of somebody's server, through the proxy, meanwhile
 *
 * The peer is JupyterHub with FirstUseAuthenticator, which is what TLJH has: bcrypt with 12 rounds, in the hub's only thread. Ours is
 * argon2id, 19 MiB and 2 passes (the OWASP password storage cheat sheet's first choice), in threads of their own. Both compare the same wall clock.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { type Benchmark, median, percentile99 } from './measure/benchmark.ts'
import { type Student, student } from './measure/student.ts'
import { bootSideBySide } from './peers/jupyterhub.ts'

const AT_ONCE = 8
const STORM_MS = 6_000
const PAUSE_MS = 10
const PASSWORD = 'a horse that stays correct'
const users = Array.from({ length: AT_ONCE }, (_, index) => `student-${index + 1}`)
const WORKER = 'ann'

interface Storm {
  /** Logins a second. */
  rate: number
  /** 99th percentiles in milliseconds. */
  page: number
  proxied: number
}

interface Contestant {
  name: string
  url: string
  worker: Student
}

export const benchmark: Benchmark = {
  async run({ rounds, cleanup, report }) {
    const { product, peerHub } = await bootSideBySide([WORKER, ...users], { cleanup, report })
    const we = await contestant('ours', product.url)
    const they = await contestant('JupyterHub', peerHub.url)

    const idle: number[] = []
    const [ours, theirs]: [Storm[], Storm[]] = [[], []]
    for (let round = 0; round <= rounds; round++) {
      const calm = await sample(() => file(we), new AbortController().signal, STORM_MS / 3)
      const own = await storm(we)
      const other = await storm(they)
      const name = round === 0 ? 'warm-up' : `round ${round}`
      report(`${name}: ours ${show(own)}, without logins ${calm.toFixed(0)} ms; JupyterHub ${show(other)}`)
      if (round === 0) continue
      idle.push(calm)
      ours.push(own)
      theirs.push(other)
    }
    const row = <Key extends keyof Storm>(key: Key) => ({
      ours: ours.map(one => one[key]),
      peer: theirs.map(one => one[key]),
      peerName: 'JupyterHub',
    })
    const [calm, meanwhile] = [median(idle), median(ours.map(one => one.proxied))]
    return {
      rounds,
      rows: [
        { id: 'login.rate', unit: 'logins/s', better: 'higher', ...row('rate') },
        { id: 'login.page', unit: 'ms', better: 'lower', ...row('page') },
        { id: 'login.proxied', unit: 'ms', better: 'lower', ...row('proxied') },
      ],
      goals: [
        {
          says: `the 99th percentile of a proxied request is at most 3 times as long while a class logs in: ${meanwhile.toFixed(1)} ms beside ${calm.toFixed(1)} ms`,
          isMet: meanwhile <= 3 * calm,
        },
      ],
      notes: [
        `Each round: ${AT_ONCE} people log in as fast as they are let, for ${STORM_MS / 1000} s, from this machine's same processors.`,
        `The peer: ${peerHub.versions}; its proxy is a process of its own.`,
      ],
    }
  },
}

async function contestant(name: string, url: string): Promise<Contestant> {
  // The first login chooses the password.
  for (const user of users) await student(url, user).logIn(PASSWORD)
  const worker = student(url, WORKER)
  await worker.logIn(PASSWORD)
  await worker.startServer()
  return { name, url, worker }
}

async function storm(at: Contestant): Promise<Storm> {
  const end = new AbortController()
  let count = 0
  const begin = performance.now()
  const logins = users.map(async user => {
    while (!end.signal.aborted) {
      await student(at.url, user).logIn(PASSWORD)
      count++
    }
  })
  const [page, proxied] = await Promise.all([
    sample(() => loginPage(at), end.signal, STORM_MS),
    sample(() => file(at), end.signal, STORM_MS),
  ])
  const seconds = (performance.now() - begin) / 1000
  const rate = count / seconds
  end.abort()
  await Promise.all(logins)
  return { rate, page, proxied }
}

/** The 99th percentile, in milliseconds, of asking again and again. */
async function sample(ask: () => Promise<void>, signal: AbortSignal, lengthMs: number): Promise<number> {
  const times: number[] = []
  const end = performance.now() + lengthMs
  while (performance.now() < end && !signal.aborted) {
    const start = performance.now()
    await ask()
    times.push(performance.now() - start)
    await delay(PAUSE_MS)
  }
  return percentile99(times)
}

async function loginPage({ url, name }: Contestant): Promise<void> {
  const answer = await fetch(`${url}/hub/login`)
  await answer.text()
  if (!answer.ok) throw new Error(`${name}: the login page: ${answer.status}`)
}

async function file({ worker, name }: Contestant): Promise<void> {
  const { status } = await worker.send('GET', `/user/${WORKER}/static/favicons/favicon.ico`)
  if (status !== 200) throw new Error(`${name}: a file of the server: ${status}`)
}

function show({ rate, page, proxied }: Storm): string {
  return `${rate.toFixed(1)} logins/s, page ${page.toFixed(0)} ms, proxied ${proxied.toFixed(0)} ms`
}
