import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'

const MB = 2 ** 20

/** What a service does before it rests. `said` takes a number out to the test. */
async function service(t: TestContext, program: string, options = ['--expose-gc', '--no-memory-reducer']) {
  const begin = `
    import { setTimeout as delay } from 'node:timers/promises'
    import { giveMemoryBack } from '${new URL('../../memory.ts', import.meta.url)}'
    const said = number => console.log(number)
    const rss = () => process.memoryUsage.rss()
  `
  const env = {
    ...process.env,
    MALLOC_ARENA_MAX: '2',
    MALLOC_MMAP_THRESHOLD_: '262144',
    MALLOC_TRIM_THRESHOLD_: '262144',
  }
  const argv = ['--disable-warning=ExperimentalWarning', ...options, '--input-type=module', '--eval', begin + program]
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
    for (const end = performance.now() + 2000; performance.now() < end; await delay(1)) for (const stop = performance.now() + 5; performance.now() < stop; ) {}
    said(before - rss())
    process.exit()
  `
  const [given = 0] = await service(t, program)
  assert.ok(given < 20 * MB, `${given} bytes`)
})
