/** A class at work while the hub is upgraded: what each student does in a lesson, and whether they notice. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { setTimeout as delay, setImmediate as oneTurn } from 'node:timers/promises'
import type { Host } from '../../harness/host/host.ts'
import { joinKernel, type Kernel, startKernel } from '../../harness/people/kernel.ts'
import { type Visitor, visit } from '../../harness/people/visitor.ts'
import { studentPassword } from '../../harness/product/classroom.ts'
import { installRelease } from '../../harness/product/upgradable-host.ts'

const classSize = Number(process.env.UPGRADE_CLASS ?? 20)
/** Of JupyterLab, between the first attempts to open a WebSocket again. */
const longestRetryMs = 1_000

interface Work {
  /** Cells that were sent, by their numbers from 0. */
  sent: number
  answered: Set<number>
  /** Of the WebSocket, in milliseconds. */
  gaps: number[]
  /** When the WebSocket has broken and is back, sends no more, and resolves when the last was answered. */
  end(): Promise<void>
  kernel(): Kernel
}

test('a class works on while the hub is upgraded: no cell is lost, and nobody is refused', async t => {
  const over = new AbortController()
  t.after(() => over.abort())
  const students = Array.from({ length: classSize }, (_, index) => `student-${index + 1}`)
  const versions = [{ version: '0.1.0' }, { version: '0.2.0' }]
  await using installed = await installRelease({ versions, users: students })
  const { host, url } = installed
  const works: Work[] = []
  for (const name of students) {
    const visitor = visit(url)
    assert.equal((await visitor.logIn(name, studentPassword)).status, 302)
    await visitor.startServer()
    const kernel = await startKernel(visitor, name)
    await kernel.run('done = []')
    works.push(workOn({ visitor, user: name, first: kernel, over: over.signal }))
  }
  const pids = await kernelPids(host)
  const prober = probe(url, over.signal)

  const { code, stdout, stderr } = await installed.tljhTs('upgrade')

  assert.equal(code, 0, stdout + stderr)
  assert.equal(await installed.current(), '0.2.0')
  assert.deepEqual(await prober.end(), [], 'every connection was answered')
  await Promise.all(works.map(work => work.end()))
  for (const work of works) {
    const { text } = await work.kernel().run('print(done)')
    const done = new Set(JSON.parse(text) as number[])
    const numbers = Array.from({ length: work.sent }, (_, number) => number)
    assert.deepEqual(
      numbers.filter(number => !done.has(number)),
      [],
      'every cell that was sent has run',
    )
    assert.ok(work.gaps.length > 0, 'the WebSocket broke, and came back')
    work.kernel().socket.terminate()
  }
  assert.deepEqual(await kernelPids(host), pids, 'in the same kernels')

  const gaps = works.flatMap(work => work.gaps).toSorted((a, b) => a - b)
  const at = (share: number) => Math.round(gaps[Math.floor(share * (gaps.length - 1))] ?? 0)
  t.diagnostic(`${classSize} students, ${works.reduce((sum, work) => sum + work.sent, 0)} cells`)
  t.diagnostic(
    `WebSocket gaps: ${gaps.length}, least ${at(0)} ms, median ${at(0.5)} ms, 90 % ${at(0.9)} ms, most ${at(1)} ms`,
  )
  t.diagnostic(`new connections: ${prober.count()}, longest wait ${Math.round(prober.longestMs())} ms`)
})

/** Runs a cell every second, and opens the WebSocket again when it breaks, as JupyterLab does: at once, then after up to a second. */
function workOn({
  visitor,
  user,
  first,
  over,
}: {
  visitor: Visitor
  user: string
  first: Kernel
  over: AbortSignal
}): Work {
  let kernel = first
  let isOver = false
  const pending = new Set<Promise<void>>()
  const isBack = Promise.withResolvers<void>()

  async function join(): Promise<Kernel> {
    for (let attempt = 0; ; attempt++) {
      over.throwIfAborted()
      if (attempt > 0) await delay(Math.random() * longestRetryMs)
      const joined = await joinKernel(visitor, user, first.id).catch(() => undefined)
      if (joined) return joined
    }
  }

  async function follow(): Promise<void> {
    while (!isOver && !over.aborted) {
      await once(kernel.socket, 'close')
      if (isOver) return
      const broke = performance.now()
      kernel = await join()
      work.gaps.push(performance.now() - broke)
      isBack.resolve()
    }
  }

  async function execute(): Promise<void> {
    while (!isOver && !over.aborted) {
      // Timers come before what the network has brought, and that may be the end of the WebSocket.
      await oneTurn()
      if (kernel.socket.readyState === kernel.socket.OPEN) {
        const number = work.sent++
        // A cell whose answer the break has swallowed has run all the same: that is what is looked at in the end.
        const cell = kernel.run(`done.append(${number})`).then(
          () => void work.answered.add(number),
          () => undefined,
        )
        pending.add(cell)
        void cell.finally(() => pending.delete(cell))
      }
      await delay(1_000)
    }
  }

  const work: Work = {
    ...{ sent: 0, answered: new Set<number>(), gaps: [] },
    kernel: () => kernel,
    async end() {
      await isBack.promise
      while (kernel.socket.readyState !== kernel.socket.OPEN) await delay(20)
      isOver = true
      await executing
      await Promise.all(pending)
    },
  }
  follow().catch(() => undefined)
  const executing = execute()
  return work
}

/** Opens new connections all along, as new browsers do. */
function probe(url: string, over: AbortSignal) {
  let isOver = false
  let longestMs = 0
  let count = 0
  const refused: string[] = []
  const probers = Array.from({ length: 4 }, async () => {
    while (!isOver && !over.aborted) {
      const began = performance.now()
      const answer = await fetch(`${url}/hub/login`, { headers: { connection: 'close' } }).catch(String)
      const isRight = typeof answer !== 'string' && answer.status === 200 && (await answer.text()).includes('Log in')
      if (!isRight) refused.push(typeof answer === 'string' ? answer : String(answer.status))
      longestMs = Math.max(longestMs, performance.now() - began)
      count++
      // The machine belongs to the class.
      await delay(20)
    }
  })
  return {
    count: () => count,
    longestMs: () => longestMs,
    async end() {
      isOver = true
      await Promise.all(probers)
      return refused
    },
  }
}

async function kernelPids(host: Host): Promise<string> {
  return (await host.run(['pgrep', '--full', 'ipykernel_launcher'])).stdout
}
