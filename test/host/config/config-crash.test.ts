import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { readConfig, versionOf } from '../../../config/meaning/config.ts'
import { connectSpawner } from '../../../spawner/client/client.ts'
import type { Host } from '../../harness/host/host.ts'
import { openClassroom } from '../../harness/product/classroom.ts'
import { checkoutProgram } from '../../harness/product/product.ts'

const file = '/opt/tljh/config/config.yaml'
/** Brings what comes at its input into force, in the host. */
const apply = checkoutProgram('test/bench/peers/apply-clock.ts')

const text = (round: number, lines = 2000) =>
  `users:\n  admin: [admin]\n  allowed: [ann]\nlimits:\n  tasks: ${1000 + round}\n${'# a line\n'.repeat(lines)}`

async function openClass(t: TestContext) {
  const classroom = await openClassroom(t)
  const spawner = connectSpawner(join(classroom.host.rootPath, 'run/tljh/spawner.sock'))
  t.after(() => spawner.close())
  /** Resolves when hub and spawner both run what is in the file. */
  async function agree(): Promise<void> {
    const version = versionOf(await classroom.host.readFile(file))
    await spawner.services.reload({ isAtOnce: false })
    for (;;) {
      const status = await spawner.services.status()
      if (status.spawner === version && status.hub === version) return
      await delay(10)
    }
  }
  return { ...classroom, agree }
}

/** Milliseconds that one takes on this machine, as it is now; the longest of three. What they write is `offered`, too. */
async function timeOfApply(host: Host, offered: Set<string>): Promise<number> {
  const times: number[] = []
  for (const round of [9001, 9002, 9003]) {
    const begin = performance.now()
    offered.add(versionOf(text(round)))
    await host.run(apply, { input: text(round) })
    times.push(performance.now() - begin)
  }
  return Math.max(...times)
}

test('an apply that is killed at any moment leaves one whole version in force', async t => {
  const { host, agree } = await openClass(t)
  const offered = new Set([versionOf(await host.readFile(file))])
  const seen = new Set<string>()
  let limitMs = 1.4 * (await timeOfApply(host, offered))
  for (let round = 1; round <= 200; round++) {
    const next = text(round)
    offered.add(versionOf(next))
    await using running = await host.start(apply)
    running.stdin.on('error', () => undefined)
    running.stdin.end(next)
    // Up to after its end: some are not killed at all.
    await Promise.race([delay(randomInt(Math.ceil(limitMs))), running.ended])
    running.kill('SIGKILL')
    await running.ended

    const now = await host.readFile(file)
    assert.ok(offered.has(versionOf(now)), `round ${round}: a version that nobody wrote`)
    assert.ok(readConfig(now).config, 'and it is valid')
    seen.add(versionOf(now))
    // What else the machine does makes it faster or slower meanwhile: half of them are to come into force.
    limitMs *= versionOf(now) === versionOf(next) ? 0.95 : 1.05
    await agree()
  }
  assert.ok(seen.size > 10, `only ${seen.size} of 200 came into force: the moments were not what they should be`)
  assert.ok(seen.size < 200, 'all came into force: none was killed in time')
})

test('a disk that fills up leaves the version before in force, and says so', async t => {
  const { host, agree } = await openClass(t)
  const before = await host.readFile(file)
  await host.run(['sh', '-c', 'cp -a /opt/tljh/config /tmp/config'])
  await host.run(['mount', '-t', 'tmpfs', '-o', 'size=256k,mode=750,uid=0,gid=tljh-hub', 'tmpfs', '/opt/tljh/config'])
  await host.run(['sh', '-c', 'cp -a /tmp/config/. /opt/tljh/config'])
  await host.run(['systemctl', 'restart', 'tljh-hub', 'tljh-spawner'])
  await agree()

  // From a disk that is full at once to one on which nearly everything fits.
  let refused = 0
  for (let free = 0; free <= 72; free += 4) {
    await host.run([
      'sh',
      '-c',
      `rm -f /opt/tljh/config/filler; dd if=/dev/zero of=/opt/tljh/config/filler bs=1k 2>/dev/null; truncate -s -${free}k /opt/tljh/config/filler`,
    ])
    const { code, stderr } = await host.run(apply, { input: text(free, 500), check: false })
    const now = await host.readFile(file)
    if (code === 0) {
      assert.equal(now, text(free, 500))
    } else {
      refused++
      assert.match(stderr, /The configuration was not changed.*no space left/is)
      assert.ok(now === before || readConfig(now).config, 'the file is whole')
    }
    assert.equal(
      (await host.run(['ls', '/opt/tljh/config'])).stdout.includes('.new'),
      false,
      'nothing is left beside it',
    )
    await agree()
  }
  assert.ok(refused > 0)
  await host.run(['rm', '/opt/tljh/config/filler'])
  await host.run(apply, { input: text(1, 500) })
  assert.equal(await host.readFile(file), text(1, 500))
})
