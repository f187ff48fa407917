/** A class that comes at nine o'clock: who starts when, and what those see who wait. */
import assert from 'node:assert/strict'
import { totalmem } from 'node:os'
import { after, afterEach, before, test } from 'node:test'
import { type Visitor, visit } from '../../harness/people/visitor.ts'
import { claiming, studentPassword } from '../../harness/product/classroom.ts'
import { bootProduct, type Product, TLJH_TS } from '../../harness/product/product.ts'

const students = ['ann', 'bob', 'cat', 'dan']

/** Holds ann's server up in its start, so that who comes meanwhile comes meanwhile on any machine. */
const closedGate = '/etc/jupyter/closed'
const gate = `
import os, time
while os.environ["JUPYTERHUB_USER"] == "ann" and os.path.exists("${closedGate}"): time.sleep(0.05)
`

let product: Product
const people = new Map<string, Visitor>()

before(async () => {
  product = await bootProduct({
    config: `users:\n  allowed: [${students.join(', ')}]\n${claiming}spawner: { concurrent_spawn_limit: 1 }\n`,
  })
  for (const name of students) await enter(name, studentPassword)
  await enter(product.admin, product.adminPassword)
  await product.host.writeFile('/etc/jupyter/jupyter_server_config.py', gate)
})
afterEach(stopAll)
after(() => product[Symbol.asyncDispose]())

async function enter(name: string, password: string): Promise<void> {
  const visitor = visit(product.url)
  assert.equal((await visitor.logIn(name, password)).status, 302)
  people.set(name, visitor)
}

function of(name: string): Visitor {
  const visitor = people.get(name)
  assert.ok(visitor, name)
  return visitor
}

/** Resolves with all that the page of the start was told. `listener` hears it at once. */
async function toldUntilReady(name: string, listener?: (message: string) => void): Promise<string[]> {
  const messages: string[] = []
  for await (const { message, ready, failed } of of(name).progress(name)) {
    messages.push(message)
    listener?.(message)
    assert.ok(!failed, `${name}: ${message}`)
    if (ready) return messages
  }
  throw new Error(`${name} was told nothing more after: ${messages.join('; ')}`)
}

async function stopAll(): Promise<void> {
  await product.host.run(['rm', '-f', closedGate])
  for (const [name, visitor] of people) {
    await visitor.post('/hub/stop')
    for await (const { failed } of visitor.progress(name)) if (failed) break
  }
}

/** From when to when the server was starting, in microseconds since the boot. */
async function startOf(name: string): Promise<{ name: string; from: number; to: number }> {
  const properties = 'InactiveExitTimestampMonotonic,ActiveEnterTimestampMonotonic'
  const { stdout } = await product.host.run([
    'systemctl',
    'show',
    `--property=${properties}`,
    `tljh-user-${name}.service`,
  ])
  const value = (property: string) => Number(new RegExp(`^${property}=(\\d+)$`, 'm').exec(stdout)?.[1])
  return { name, from: value('InactiveExitTimestampMonotonic'), to: value('ActiveEnterTimestampMonotonic') }
}

async function stateOf(name: string): Promise<string> {
  const unit = `tljh-user-${name}.service`
  return (await product.host.run(['systemctl', 'show', '--value', '--property=ActiveState', unit])).stdout.trim()
}

async function configure(key: string, value: string): Promise<void> {
  await product.host.run([...TLJH_TS, 'config', 'set', key, value])
}

test('one starts after the other, the teacher before those who wait, and each sees the place', async () => {
  const order = ['ann', 'bob', 'cat', 'dan', product.admin]
  const threeAhead = 'Waiting for a turn: 3 others start first'
  const dan = Promise.withResolvers<void>()
  const told = new Map<string, Promise<string[]>>()
  await product.host.run(['touch', closedGate])
  for (const name of order) {
    await of(name).post('/hub/spawn')
    const listener = (message: string) => name === 'dan' && message === threeAhead && dan.resolve()
    told.set(name, toldUntilReady(name, listener))
  }
  await Promise.race([dan.promise, told.get('dan')])
  const page = (await of('dan').request('/hub/spawn-pending/dan')).body
  await product.host.run(['rm', closedGate])
  const messages = await told.get('dan')
  await Promise.all(told.values())

  const starts = (await Promise.all(order.map(startOf))).toSorted((a, b) => a.from - b.from)
  assert.deepEqual(
    starts.map(start => start.name),
    ['ann', product.admin, 'bob', 'cat', 'dan'],
  )
  for (const [index, { from, name }] of starts.entries()) {
    const before = starts[index - 1]
    assert.ok(!before || before.to <= from, `${name} did not wait for ${before?.name}`)
  }
  assert.ok(page.includes(threeAhead), page)
  const places = (messages ?? []).filter(message => message.startsWith('Waiting for a turn'))
  assert.deepEqual(places.slice(-3), [
    'Waiting for a turn: 2 others start first',
    'Waiting for a turn: one other starts first',
    'Waiting for a turn: yours is next',
  ])
})

test('those who wait start all the same when the spawner is killed, and who has stopped waiting does not', async () => {
  await product.host.run(['touch', closedGate])
  for (const name of students) await of(name).post('/hub/spawn')
  await of('cat').post('/hub/stop')
  while ((await stateOf('ann')) !== 'activating');

  await product.host.run(['systemctl', 'kill', '--signal=KILL', 'tljh-spawner'])

  await product.host.run(['rm', closedGate])
  await Promise.all(['ann', 'bob', 'dan'].map(name => toldUntilReady(name)))
  assert.match((await of('cat').request('/hub/home')).body, /Not running/)
})

test('without memory for one more a start waits, says what for, and goes on when there is some', async t => {
  t.after(() => configure('spawner.memory_reserve', '64M'))
  await configure('spawner.memory_reserve', String(totalmem() - 1))
  await of('ann').post('/hub/spawn')
  assert.match(
    (await of('ann').request('/hub/home')).body,
    /Waiting for memory: other servers use all that the machine has/,
  )
  const ready = toldUntilReady('ann')
  await configure('spawner.memory_reserve', '64M')
  await ready
})

test('a reserve that is all of the machine is refused, because nothing would ever start', async () => {
  const all = String(totalmem())
  const set = [...TLJH_TS, 'config', 'set', 'spawner.memory_reserve', all]
  const { code, stderr } = await product.host.run(set, { check: false })
  assert.equal(code, 1)
  assert.match(stderr, /spawner\.memory_reserve is .*[\s\S]*so no server would ever start/)
})

test('where as many run as may, the next is told so at once, and an administrator is let through', async () => {
  await configure('spawner.active_server_limit', '1')
  await of('ann').startServer()
  const { status, body } = await of('bob').post('/hub/spawn')
  assert.equal(status, 429)
  assert.match(body, /one server runs, and the teacher lets no more run at a time/)
  await of(product.admin).startServer()
  await of('ann').startServer()
})
