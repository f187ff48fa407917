/** What every other test relies on: that a test host is a machine of its own, and gone afterwards. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { bootHost, type Host, removeLeftovers } from '../../harness/host/host.ts'
import { hostsOf } from '../../harness/host/host-numbers.ts'
import { identifyProcess, isAlive } from '../../harness/host/process.ts'
import { CHECKOUT } from '../../harness/image/cache.ts'

test('two hosts side by side have files, names and ports of their own', async () => {
  const [first, second] = await Promise.all([bootHost(), bootHost()])
  await using _first = first
  await using _second = second
  assert.notEqual(first.name, second.name)

  await Promise.all([serveFolder(first, '/etc', 8080), serveFolder(second, '/etc', 8080)])

  assert.equal(await page(`http://${first.address}:8080/hostname`), `${first.name}\n`)
  assert.equal(await page(`http://${second.address}:8080/hostname`), `${second.name}\n`)
})

test('a host boots without a failed unit, and shows what was written in no other', async () => {
  {
    await using host = await bootHost()
    assert.equal((await host.run(['systemctl', 'is-system-running'])).stdout, 'running\n')
    await host.writeFile('/srv/deep/note', 'here', { mode: 0o600, owner: 'nobody', group: 'nogroup' })
    assert.equal(await host.readFile('/srv/deep/note'), 'here')
    assert.equal((await host.run(['stat', '--format=%a %U', '/srv/deep/note'])).stdout, '600 nobody\n')
  }
  await using next = await bootHost()
  await assert.rejects(next.readFile('/srv/deep/note'), /No such file/)
})

test('a reboot keeps the files, and starts everything anew', async () => {
  await using host = await bootHost()
  const before = (await host.run(['systemctl', 'show', '--property=UserspaceTimestampMonotonic'])).stdout
  await host.writeFile('/srv/note', 'kept')
  await host.writeFile('/run/note', 'in memory')

  await host.reboot()

  assert.equal(await host.readFile('/srv/note'), 'kept')
  await assert.rejects(host.readFile('/run/note'), /No such file/)
  const after = (await host.run(['systemctl', 'show', '--property=UserspaceTimestampMonotonic'])).stdout
  assert.notEqual(after, before)

  await host.kill()
  await host.reboot()
  assert.equal(await host.readFile('/srv/note'), 'kept')
})

test('a host has the checkout where it would be installed, and cannot change it', async () => {
  await using host = await bootHost()
  const { name } = JSON.parse(await host.readFile('/opt/tljh/hub/current/package.json'))
  assert.equal(name, 'tljh-ts')
  await assert.rejects(host.run(['touch', '/opt/tljh/hub/current/problem.ts']), /Read-only file system/)
  const node = '/opt/tljh/hub/current/node_modules/node/bin/node'
  assert.equal((await host.run([node, '--version'])).stdout, `${process.version}\n`)
})

test('a host has no way out, unless it was asked for', async () => {
  await using closed = await bootHost()
  const download = ['/opt/tljh/user/bin/pip', 'download', '--quiet', '--no-deps', '--dest=/srv/wheels', 'idna']
  // 192.0.2.0/24 is for documentation (RFC 5737): the answer is the host's own, and at once.
  const { code } = await closed.run(['curl', '--silent', 'http://192.0.2.1/'], { check: false })
  assert.equal(code, 7, 'curl could not connect')
  assert.equal((await closed.run(['ip', 'route', 'show', 'default'])).stdout, '')

  await using open = await bootHost({ registries: true })
  await open.run(download)
  assert.match((await open.run(['ls', '/srv/wheels'])).stdout, /^idna-.*\.whl$/m)
})

test('limits of units are enforced in a host', async () => {
  await using host = await bootHost()
  const limited = (...properties: string[]) => [
    'systemd-run',
    '--wait',
    '--pipe',
    ...properties.map(p => `--property=${p}`),
  ]
  const allocate = ['python3', '-c', 'print(len(bytearray(300 * 2**20)))']

  assert.equal((await host.run([...limited('MemoryMax=400M'), ...allocate])).stdout, `${300 * 2 ** 20}\n`)

  const killed = await host.run([...limited('MemoryMax=100M', 'MemorySwapMax=0'), ...allocate], { check: false })
  assert.notEqual(killed.code, 0)
  assert.match(killed.stderr, /result: (signal|oom-kill)/)
})

test('a program in a host runs as the user, with the input and the environment that it was given', async () => {
  await using host = await bootHost()
  await host.run(['useradd', '--create-home', '--groups=audio', 'ann'])
  const script = 'read -r line; echo "$line $VARIABLE $HOME $(id -un) $(id -Gn) $PWD"'
  const { stdout } = await host.run(['sh', '-c', script], { user: 'ann', input: 'hello\n', env: { VARIABLE: 'a b' } })
  assert.equal(stdout, 'hello a b /home/ann ann ann audio /\n')
  await assert.rejects(host.run(['sh', '-c', 'echo no >&2; exit 3']), { name: 'CommandError', code: 3, stderr: 'no\n' })
  await assert.rejects(host.run(['sleep', 'infinity'], { timeoutMs: 3_000 }), /took longer than 3000 ms/)
  await assert.rejects(host.run(LIVING_SLEEP), { code: 1 })
})

test('a program that was started gets signals, and is killed when it is disposed of', async () => {
  await using host = await bootHost()
  const trap = await host.start(['sh', '-c', 'trap "exit 7" TERM; echo ready; while :; do read -r line; done'])
  await once(trap.stdout, 'data')
  trap.kill('SIGTERM')
  // The shell looks at its traps between two lines.
  trap.stdin.write('\n')
  assert.equal(await trap.ended, 7)
  {
    await using sleeper = await host.start(['sleep', 'infinity'], { user: 'nobody' })
    assert.ok(identifyProcess(sleeper.pid))
  }
  await assert.rejects(host.run(LIVING_SLEEP), { code: 1 })
})

test('a host that does not boot says so, with its journal', async () => {
  await using host = await bootHost()
  await host.run(['ln', '--symbolic', '--force', '/bin/false', '/lib/systemd/systemd'])
  await host.kill()
  await assert.rejects(host.reboot(), /did not boot: its PID 1 has ended/)
})

test('a host whose owner is killed disappears, and nothing of it is left', async () => {
  const owner = spawn(process.execPath, ['--input-type=module', '--eval', OWNER], {
    cwd: CHECKOUT,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = once(owner, 'exit')
  const [line] = await once(owner.stdout, 'data')
  const { pid, name } = JSON.parse(String(line))
  const init = identifyProcess(pid)
  assert.ok(owner.pid && init)
  assert.deepEqual(await hostsOf(owner.pid), [name])

  owner.kill('SIGKILL')
  await ended
  await removeLeftovers()

  assert.equal(isAlive(init), false)
  assert.deepEqual(await hostsOf(owner.pid), [])
})

test('nobody in a host sets the clock or its zone, which are the machine’s', async () => {
  await using host = await bootHost()
  const maySetTime = async (pid: string) =>
    (BigInt(`0x${/^CapBnd:\s*(\S+)$/m.exec(await host.readFile(`/proc/${pid}/status`))?.[1]}`) >> 25n) & 1n
  assert.equal(await maySetTime('1'), 0n, 'CAP_SYS_TIME of systemd, and so of all that it starts')
  assert.equal(await maySetTime('self'), 0n, 'and of what a test starts')
  const { code, stderr } = await host.run(['date', '--set=@1'], { check: false })
  assert.equal(code, 1)
  assert.match(stderr, /cannot set date: Operation not permitted/)
})

test('a host with folders deeper than a path can be is removed like any other', async () => {
  await using host = await bootHost()
  const deep = 'import os\nos.chdir("/srv")\nfor _ in range(100): os.mkdir("a" * 200); os.chdir("a" * 200)'
  await host.run(['python3', '-c', deep])
  await host.close()
  assert.deepEqual(await hostsOf(process.pid), [])
})

/** Without those that are dead and wait for PID 1 to take note of it. */
const LIVING_SLEEP = ['pgrep', '--runstates=DRS', '--exact', 'sleep']

/** Boots a host, tells about it, and stays until it is killed. */
const OWNER = `
  import { bootHost } from './test/harness/host/host.ts'
  const { pid, name } = await bootHost({ registries: true })
  console.log(JSON.stringify({ pid, name }))
`

/** Serves the files of a folder of the host until the host ends. */
async function serveFolder(host: Host, folder: string, port: number): Promise<void> {
  const argv = ['python3', '-u', '-m', 'http.server', String(port), '--directory', folder]
  const server = await host.start(argv)
  await once(server.stdout, 'data')
}

async function page(url: string): Promise<string> {
  return await (await fetch(url)).text()
}
