import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, afterEach, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { HostProcess } from '../../harness/host/host.ts'
import { bootProduct, type Product, TLJH_TS } from '../../harness/product/product.ts'

let product: Product

before(async () => {
  product = await bootProduct({ config: 'limits:\n  memory: 600M\n' })
})
afterEach(mendKernel)
after(() => product[Symbol.asyncDispose]())

/** Accounts, groups, homes, units and notes that a self-test has left. */
async function traces(): Promise<string> {
  const look =
    'getent passwd | grep tljh-test; getent group | grep tljh-test; ls -A /home | grep tljh-test; ' +
    'systemctl list-units --all --no-legend | grep tljh-test; ls /opt/tljh/hub/self-test /run/tljh/users/* 2>/dev/null; true'
  return (await product.host.run(['sh', '-c', look])).stdout
}

test('the self-test runs a cell in a server with the limits of everybody, and leaves nothing', async () => {
  const { stdout } = await product.host.run([...TLJH_TS, 'self-test', '--json'])

  const { ok, stages } = JSON.parse(stdout)
  assert.equal(ok, true, stdout)
  const names = stages.map(({ name }: { name: string }) => name)
  assert.deepEqual(names, ['name', 'account', 'server', 'page', 'kernel', 'cell', 'stop', 'removal'])
  assert.match(stages[2].title, /at most 600 MB of memory/)
  assert.equal(await traces(), '')
})

const kernel = '/opt/tljh/user/share/jupyter/kernels/python3/kernel.json'

/** Starts a self-test that comes as far as its kernel, which never answers. Resolves when its server runs. */
async function startHanging(): Promise<HostProcess> {
  await product.host.run(['cp', kernel, '/root/kernel.json'])
  const hanging = { argv: ['sleep', 'infinity'], display_name: 'Python 3', language: 'python' }
  await product.host.writeFile(kernel, JSON.stringify(hanging))
  const running = await product.host.start([...TLJH_TS, 'self-test'])
  await once(running.stdout, 'data')
  const units = ['systemctl', 'list-units', '--plain', '--no-legend', '--state=active', 'tljh-user-*.service']
  let hasEnded = false
  void running.ended.then(() => {
    hasEnded = true
  })
  while ((await product.host.run(units)).stdout === '') {
    assert.ok(!hasEnded, 'it has ended before its kernel was asked')
    await delay(50)
  }
  return running
}

/** Where it was made to hang. */
async function mendKernel(): Promise<void> {
  await product.host.run(['sh', '-euc', '[ ! -e "$1" ] || mv "$1" "$2"', 'sh', '/root/kernel.json', kernel])
}

test('the self-test removes what one that was killed has left', async () => {
  await using running = await startHanging()
  running.kill('SIGKILL')
  await running.ended
  assert.match(await traces(), /tljh-test-[\s\S]*\.service/)
  await mendKernel()

  await product.host.run([...TLJH_TS, 'self-test'])

  assert.equal(await traces(), '')
})

test('a self-test that is interrupted takes back what it made', async () => {
  await using running = await startHanging()
  running.kill('SIGINT')
  let said = ''
  for await (const chunk of running.stdout) said += chunk

  assert.equal(await running.ended, 1)
  assert.match(said, /it was interrupted/)
  assert.equal(await traces(), '')
})

test('the self-test says which stage failed and what to do, where the class environment is damaged', async t => {
  const { host } = product
  const folder = (
    await host.run(['sh', '-c', 'echo /opt/tljh/user/lib/python3*/site-packages/jupyterlab'])
  ).stdout.trim()
  await host.run(['mv', folder, `${folder}.away`])
  t.after(() => host.run(['mv', `${folder}.away`, folder]))

  const { code, stdout } = await host.run([...TLJH_TS, 'self-test'], { check: false })

  assert.equal(code, 1)
  assert.match(stdout, /✖ a server, .*\n.*did not start\n {2}why: .*Result=exit-code[\s\S]*No module named 'jupyterlab/)
  assert.match(stdout, /what to do: Complete the Python environment of the class.*sudo tljh-ts install/)
  assert.match(stdout, /✔ removal of the account/)
  assert.equal(await traces(), '')
})

test('the self-test says so where it is not root that asks', async () => {
  const { code, stderr } = await product.host.run([...TLJH_TS, 'self-test'], { user: 'nobody', check: false })

  assert.equal(code, 1)
  assert.match(stderr, /Start it with sudo/)
})
