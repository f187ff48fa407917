import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { CommandResult } from '../../harness/host/run-program.ts'
import { visit } from '../../harness/people/visitor.ts'
import { type Classroom, openClassroom } from '../../harness/product/classroom.ts'
import { TLJH_TS } from '../../harness/product/product.ts'

const configFile = '/opt/tljh/config/config.yaml'

let classroom: Classroom

before(async () => {
  classroom = await openClassroom(undefined)
})
after(() => classroom[Symbol.asyncDispose]())

/** `tljh-ts config …` on the class's machine. */
function config(args: string[], input = ''): Promise<CommandResult> {
  return classroom.host.run([...TLJH_TS, 'config', ...args], { check: false, input })
}

/** The same, which must go well. */
async function configured(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await config(args)
  assert.equal(code, 0, stderr)
  return stdout
}

const onDisk = () => classroom.host.readFile(configFile)

test('C6: without a verb it says which there are, and each says how it is called', async () => {
  const usage = await configured()
  for (const verb of usage.matchAll(/^ {2}([a-z-]+) {2,}/gm)) {
    assert.match(await configured('help', verb[1] ?? ''), new RegExp(`^Usage: sudo tljh-ts config ${verb[1]}`))
  }
})

test('a value that is set is in force before the command ends, and the rest of the file is as it was', async () => {
  const before = await onDisk()
  const said = await configured('set', 'branding.title', 'Autumn: 007')
  assert.match(said, /title and message of the pages change now/)
  assert.match(said, /In force now: version \d+\.\nTo go back: sudo tljh-ts config rollback \d+/)
  const { body } = await visit(classroom.url).request('/hub/login')
  assert.match(body, /Autumn: 007/)
  assert.equal((await onDisk()).startsWith(before.trimEnd()), true)
  assert.equal(await configured('get', 'branding.title'), 'Autumn: 007\n')
})

test('a user who is added may log in at once, and one who is removed is logged out at once', async () => {
  await configured('add-item', 'users.allowed', '007')
  const bond = visit(classroom.url)
  assert.equal((await bond.logIn('007', 'shaken, not stirred')).status, 302)
  assert.equal((await bond.request('/hub/home')).status, 200)
  assert.match(await configured('remove-item', 'users.allowed', '007'), /007 may no longer log in/)
  assert.notEqual((await bond.request('/hub/home')).status, 200)
})

test('what is wrong is refused with key, value and fix, and changes nothing', async () => {
  const before = await onDisk()
  for (const [args, words] of [
    [['set', 'limits.memory', 'banana'], /limits\.memory is "banana".*512M/s],
    [['set', 'lmits.memory', '1G'], /no key lmits.*Did you mean limits\?/s],
    [['set', 'http.port', '99999'], /http\.port is 99999/],
    [['set', 'users.allowed', 'ann'], /users\.allowed is "ann".*\[one, two\]/s],
    [['unset', 'limits.swap'], /limits\.swap cannot be removed/],
    [['remove-item', 'users.allowed', 'zoe'], /"zoe" cannot be removed/],
    [['add-item', 'limits.memory', '1G'], /limits\.memory was not changed.*not a list/s],
    [['set', 'limits.memory', '1G', '--dry-run'], /set has no option --dry-run/],
    [['set', 'limits.memory'], /set KEY VALUE/],
    [['frobnicate'], /no command "frobnicate"/],
    [['apply', '-'], /The file is empty/],
    [['rollback', '9999'], /There is no version 9999/],
  ] as const) {
    const { code, stderr } = await config([...args])
    assert.equal(code, 1, args.join(' '))
    assert.match(stderr, words)
    assert.doesNotMatch(stderr, /\n\s+at /, 'no stack trace')
  }
  assert.equal(await onDisk(), before)
})

test('apply: a dry run tells by its code whether anything would change, and changes nothing', async () => {
  const before = await onDisk()
  const after = `${before}# one more line\n`
  assert.equal((await config(['apply', '-', '--dry-run'], before)).code, 0)
  const { code, stdout } = await config(['apply', '-', '--dry-run'], after)
  assert.equal(code, 2)
  assert.match(stdout, /\+# one more line/)
  assert.equal((await config(['apply', '-', '--dry-run'], 'limits: 5')).code, 1)
  assert.equal(await onDisk(), before)
  assert.equal((await config(['apply', '-'], after)).code, 0)
  assert.equal(await onDisk(), after)
})

test('show, then apply, changes nothing', async () => {
  const { code, stdout } = await config(['apply', '-'], await configured('show'))
  assert.equal(code, 0)
  assert.match(stdout, /Nothing to do/)
})

test('rollback goes back, and back again; the log says who did what', async () => {
  const before = await onDisk()
  await configured('set', 'limits.tasks', '2000')
  const after = await onDisk()
  await configured('rollback')
  assert.equal(await onDisk(), before)
  await configured('rollback')
  assert.equal(await onDisk(), after)
  const log = JSON.parse(await configured('log', '--json')) as { who: string; how: string; number: number }[]
  assert.deepEqual(
    log.slice(-3).map(({ who, how }) => [who, how.replace(/\d+$/, 'N')]),
    [
      ['root', 'set limits.tasks N'],
      ['root', 'rollback N'],
      ['root', 'rollback N'],
    ],
  )
  assert.match(await configured('log'), /root\s+set limits\.tasks 2000/)
})

test('a file that was edited by hand: reload brings it into force and into the history, or says what is wrong', async () => {
  const { host, url } = classroom
  const before = await onDisk()
  await host.writeFile(configFile, `${before}limits: [\n`, { mode: 0o640, group: 'tljh-hub' })
  try {
    const refused = await config(['reload'])
    assert.equal(refused.code, 1)
    assert.match(refused.stderr, /config\.yaml:\d+:\d+ error: .*\n>?\s+\d+ \|/)
    assert.equal((await config(['validate'])).code, 1)
    assert.equal((await visit(url).request('/hub/login')).status, 200, 'the hub goes on')
    const set = await config(['set', 'limits.cpu', '1'])
    assert.match(set.stderr, /The configuration on disk is not valid.*config edit/s)
  } finally {
    await host.writeFile(configFile, before.replace('2000', '3000'), { mode: 0o640, group: 'tljh-hub' })
  }

  assert.match(await configured('diff'), /\+.*3000/)
  assert.match(await configured('reload'), /3000 tasks.*In force now/s)
  assert.match(await configured('diff'), /is the same as version/)
  assert.match(await configured('reload'), /Nothing to do/)
})

test('a file that was lost is not taken for an empty one', async () => {
  const before = await onDisk()
  await classroom.host.run(['rm', configFile])
  const { code, stderr } = await config(['set', 'limits.cpu', '1'])
  await configured('rollback')
  assert.equal(code, 1)
  assert.match(stderr, /empty or not there.*rollback/s)
  assert.equal(await onDisk(), before)
})

test('programs get JSON, and nothing but JSON', async () => {
  for (const args of [
    ['show', '--json'],
    ['show', '--effective', '--json'],
    ['get', 'http.port', '--json'],
    ['validate', '--json'],
    ['set', 'limits.tasks', '900', '--json'],
    ['set', 'limits.tasks', '900', '--json'],
    ['diff', '--json'],
    ['log', '--json'],
    ['rollback', '--json'],
    ['reload', '--json'],
    ['schema'],
  ]) {
    const printed = await configured(...args)
    assert.doesNotThrow(() => JSON.parse(printed) as unknown, args.join(' '))
  }
})

test('somebody who is not root is told so', async () => {
  const { code, stderr } = await classroom.host.run([...TLJH_TS, 'config', 'show'], { user: 'nobody', check: false })
  assert.equal(code, 1)
  assert.match(stderr, /for root alone.*sudo tljh-ts config show/s)
})

test('with the services stopped, a change is written, and counts when they run again', async () => {
  const { host, url } = classroom
  await host.run(['systemctl', 'stop', 'tljh-spawner.socket', 'tljh-spawner.service', 'tljh-hub.service'])
  const { code, stdout, stderr } = await config(['set', 'branding.title', 'Winter'])
  assert.equal(code, 0)
  assert.match(stderr, /the services do not answer/)
  assert.match(stdout, /Written: version/)
  await host.run(['systemctl', 'start', 'tljh-spawner.socket', 'tljh-spawner.service', 'tljh-hub.service'])
  assert.match((await visit(url).request('/hub/login')).body, /Winter/)
})
