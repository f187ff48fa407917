import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { giveMemoryBack } from '../../../machine/memory.ts'

const MB = 2 ** 20

/** What a service does before it rests. `said` takes a number out to the test. */
async function service(t: TestContext, program: string) {
  const begin = `
    import { setTimeout as delay } from 'node:timers/promises'
    import { giveMemoryBack } from '${new URL('../../../machine/memory.ts', import.meta.url)}'
    const said = number => console.log(number)
    const rss = () => process.memoryUsage.rss()
    const work = ms => { for (const end = performance.now() + ms; performance.now() < end; ) {} }
  `
  const env = {
    ...process.env,
    MALLOC_ARENA_MAX: '2',
    MALLOC_MMAP_THRESHOLD_: '262144',
    MALLOC_TRIM_THRESHOLD_: '262144',
  }
  const options = ['--disable-warning=ExperimentalWarning', '--expose-gc', '--no-memory-reducer']
  const argv = [...options, '--input-type=module', '--eval', begin + program]
  const child = spawn(process.execPath, argv, { env, stdio: ['ignore', 'pipe', 'inherit'] })
  t.after(() => child.kill())
  const [output, [code]] = await Promise.all([text(child.stdout), once(child, 'exit')])
  assert.equal(code, 0)
  return output.trim().split('\n').map(Number)
}

/** Freed, 60 MB of it, but between pieces that are still there. */
const holes = `
  const kept = []
  let all = []
  for (let count = 0; count < 1000; count++) {
    all.push(Buffer.alloc(64 * 1024, 1))
    kept.push(Buffer.from(new ArrayBuffer(64)))
  }
  all = undefined
  gc()
  await delay(100)
`
/** Until it is \`least\` less, or for ten seconds. */
const wait = (least: number) => `
  for (let count = 0; count < 100 && before - rss() < ${least * MB}; count++) await delay(100)
  said(before - rss())
  process.exit()
`

test('what was freed between things that are still there goes back to the machine when it is quiet', async t => {
  const [given = 0] = await service(t, `${holes} const before = rss(); giveMemoryBack(50); ${wait(40)}`)
  assert.ok(given >= 40 * MB, `${given} bytes`)
})

test('it goes back after each busy time, before a rest', async t => {
  const program = `
    giveMemoryBack(1000)
    await delay(1500)
    work(200)
    ${holes}
    const before = rss()
    ${wait(40)}
  `
  const [given = 0] = await service(t, program)
  assert.ok(given >= 40 * MB, `${given} bytes`)
})

test('a service that is always busy keeps what it has', async t => {
  const program = `
    ${holes}
    const before = rss()
    giveMemoryBack(50)
    for (const end = performance.now() + 2000; performance.now() < end; await delay(1)) work(5)
    said(before - rss())
    process.exit()
  `
  const [given = 0] = await service(t, program)
  assert.ok(given < 20 * MB, `${given} bytes`)
})

/** Looks at a service of which only the numbers are there, and counts the great clean-ups until each look. */
function looks(t: TestContext, seen: readonly { utilization: number; rss: number }[]): number[] {
  let at = 0
  let collections = 0
  t.mock.timers.enable({ apis: ['setInterval'] })
  t.mock.method(performance, 'eventLoopUtilization', () => ({ utilization: seen[at]?.utilization ?? 0 }))
  t.mock.method(process.memoryUsage, 'rss', () => (seen[at]?.rss ?? 0) * MB)
  const { gc } = globalThis
  globalThis.gc = (() => collections++) as unknown as NonNullable<typeof gc>
  t.after(() => {
    globalThis.gc = gc
  })
  giveMemoryBack(10_000)
  return seen.map((_, index) => {
    at = index
    t.mock.timers.tick(10_000)
    return collections
  })
}

function same(count: number, utilization: number, rss: number) {
  return Array.from({ length: count }, () => ({ utilization, rss }))
}

test('V8 looks through its heap soon after the start, and after a rest of two minutes in which there was more to gain', t => {
  const counts = looks(t, [...same(1, 0.01, 60), ...same(1, 0.9, 100), ...same(13, 0.01, 100)])
  assert.deepEqual(counts, [...Array(13).fill(1), 2, 2])
})

test('a service that something happens in now and then keeps its compiled code', t => {
  const swinging = Array.from({ length: 60 }, (_, index) => ({ utilization: 0.02, rss: index % 2 ? 75 : 60 }))
  assert.equal(looks(t, swinging).at(-1), 1)
})

test('a rest that work interrupts begins anew', t => {
  const counts = looks(t, [...same(1, 0, 60), ...same(11, 0, 100), ...same(1, 0.5, 100), ...same(11, 0, 100)])
  assert.equal(counts.at(-1), 1)
})
