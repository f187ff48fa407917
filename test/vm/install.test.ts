/**
 * The whole way on a machine of its own: from a fresh disk, by the one line, over HTTP from a site that stands for that of the
 * releases; and again after a reboot. Each test goes on where the one before has ended.
 */
import assert from 'node:assert/strict'
import { after, afterEach, before, test } from 'node:test'
import { startKernel } from '../harness/people/kernel.ts'
import { type Visitor, visit } from '../harness/people/visitor.ts'
import { choosePassword } from '../harness/product/product.ts'
import { type ReleaseSite, serveReleases } from '../harness/product/release-site.ts'
import { bootVm, type Vm } from '../harness/vm/vm.ts'

const password = 'a stapled battery'
/** It takes five minutes. */
const installTimeoutMs = 20 * 60_000

let vm: Vm
let site: ReleaseSite
/** What the installation printed. */
let printed = ''

before(async () => {
  vm = await bootVm({ report: line => console.error(line) })
  site = await serveReleases({ versions: [{ version: '0.1.0' }], host: vm })
})
// The machine is gone when somebody reads of a failure.
afterEach(async context => {
  if (!('passed' in context) || context.passed) return
  const journal = await vm?.run(['journalctl', '--boot', '--lines=200', '--no-pager'], { check: false })
  console.error(journal?.stdout)
})
after(async () => {
  await vm?.[Symbol.asyncDispose]()
  await site?.[Symbol.asyncDispose]()
})

async function teacher(): Promise<Visitor> {
  const visitor = visit(vm.url)
  assert.equal((await visitor.logIn('teacher', password)).status, 302)
  return visitor
}

/** What stands behind `name=` in what systemd says of the server. */
async function ofServer(name: string): Promise<string> {
  return (
    await vm.run(['systemctl', 'show', '--value', `--property=${name}`, 'tljh-user-teacher.service'])
  ).stdout.trim()
}

test('the one line installs the hub on a fresh disk, and a server has started in it', async () => {
  const line = `curl -fsSL ${site.url}/install.sh | bash -s -- --admin teacher`

  const result = await vm.run(['sh', '-c', line], { timeoutMs: installTimeoutMs, check: false })

  printed = result.stdout
  assert.equal(result.code, 0, `${result.stdout}\n${result.stderr}`)
  assert.match(printed, /^one-time code: \S+$/m)
})

test('the administrator chooses a password, starts a server and runs a cell in it', async () => {
  await choosePassword(vm.url, 'teacher', /^one-time code: (\S+)$/m.exec(printed)?.[1] ?? '', password)
  await vm.run(['tljh-ts', 'config', 'set', 'limits.memory', '400M'])
  const visitor = await teacher()
  await visitor.startServer()
  using kernel = await startKernel(visitor, 'teacher')

  assert.equal((await kernel.run('sum(range(10))')).text, '45')
})

test('a kernel that needs more than the limit is killed by the kernel of the machine, and the server lives', async () => {
  const visitor = await teacher()
  await visitor.startServer()
  using kernel = await startKernel(visitor, 'teacher')
  await kernel.run('1')
  const server = await ofServer('MainPID')

  await assert.rejects(kernel.run('b = b"1" * (700 * 1024**2)'), { code: 'KERNEL_DIED' })

  const group = await ofServer('ControlGroup')
  const events = (await vm.run(['cat', `/sys/fs/cgroup${group}/memory.events`])).stdout
  assert.ok(Number(/^oom_kill (\d+)$/m.exec(events)?.[1]) >= 1, events)
  assert.equal((await vm.run(['cat', `/sys/fs/cgroup${group}/memory.max`])).stdout.trim(), String(400 * 1024 ** 2))
  assert.equal(await ofServer('ActiveState'), 'active')
  assert.equal(await ofServer('MainPID'), server)
})

test('a server gets no port that becomes the hub’s while it runs, on cgroup v2 either', async () => {
  await vm.run(['tljh-ts', 'config', 'set', 'admins.visit_port', '8081'])
  const visitor = await teacher()
  await visitor.startServer()
  using kernel = await startKernel(visitor, 'teacher')

  const { text } = await kernel.run(
    'import socket\nfor at in ("127.0.0.1", "127.0.0.2"):\n  try: socket.socket().bind((at, 8081))\n  except OSError as e: print(e.strerror)',
  )

  assert.equal(text.trim(), 'Address already in use\nAddress already in use')
})

test('after a reboot the hub is there again, and all is green', async () => {
  await vm.reboot()
  const visitor = await teacher()
  await visitor.startServer()
  using kernel = await startKernel(visitor, 'teacher')

  assert.equal((await kernel.run('6 * 7')).text, '42')
  const { code, stdout } = await vm.run(['tljh-ts', 'status'], { check: false })
  assert.equal(code, 0, stdout)
  assert.doesNotMatch(stdout, /[!✖]/)
})
