import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { checkPrefix } from '../../../installer/steps/machine.ts'
import { bootHost, type Host } from '../../harness/host/host.ts'
import { difference, type Snapshot, snapshot } from '../../harness/image/snapshot.ts'
import { startKernel } from '../../harness/people/kernel.ts'
import { visit } from '../../harness/people/visitor.ts'
import { choosePassword } from '../../harness/product/product.ts'
import { makeRelease, PLACED } from '../../harness/product/unpacked-release.ts'

const install = [...PLACED, 'install', '--no-self-test', '--no-progress-page', '--installed-packages', 'libatomic1,git']
const password = 'a stapled battery'
const sudoers = '/etc/sudoers.d/jupyterhub-admins'

let host: Host
let release: Awaited<ReturnType<typeof makeRelease>>
let fresh: Snapshot

before(async () => {
  release = await makeRelease()
  host = await bootHost({ isBare: true })
  // There is no network to make it anew.
  await host.run(['cp', '--archive', '/opt/tljh/user', '/srv/class-environment'])
  // Somebody's who has nothing to do with the hub.
  await host.run(['useradd', '--create-home', '--comment=The chess club', 'jupyter-chess'])
  fresh = await snapshot(host)
})
after(async () => {
  await host?.[Symbol.asyncDispose]()
  await release?.[Symbol.asyncDispose]()
})

/** Of ann, who is a student. */
async function uid(): Promise<string> {
  return (await host.run(['id', '--user', 'jupyter-ann'])).stdout.trim()
}

async function isExpired(): Promise<boolean> {
  return (await host.run(['getent', 'shadow', 'jupyter-ann'])).stdout.split(':')[7] === '1'
}

async function enter(name = 'ann'): Promise<ReturnType<typeof visit>> {
  const visitor = visit(`http://${host.address}`)
  assert.equal((await visitor.logIn(name, password)).status, 302)
  return visitor
}

/** What it says where it is started in a terminal of prof's server, by the given words. */
async function inServer(words: readonly string[]): Promise<string> {
  const prof = await enter('prof')
  await prof.startServer()
  using kernel = await startKernel(prof, 'prof')
  const run = `subprocess.run(${JSON.stringify(words)}, capture_output=True, text=True)`
  return (await kernel.run(`import subprocess; result = ${run}; print(result.stdout + result.stderr)`)).text
}

test('homes and accounts stay, closed, and everything else is gone but what was listed', async () => {
  await release.place(host)
  await host.run([...install, '--admin', `prof:${password}`])
  const { stdout: added } = await host.run(['tljh-ts', 'user', 'add', 'ann', '--json'])
  const [{ code }] = JSON.parse(added) as [{ code: string }]
  await choosePassword(`http://${host.address}`, 'ann', code, password)
  await (await enter()).startServer()
  await host.run(['sh', '-c', 'echo "to be kept" >/home/jupyter-ann/work.txt'])
  await host.run(['sh', '-c', `echo '# edited' >>${sudoers}`])
  const annsUid = await uid()

  const planned = (await host.run(['tljh-ts', 'uninstall', '--dry-run'])).stdout
  assert.equal(
    (await host.run(['systemctl', 'is-active', 'tljh-user-ann'])).stdout.trim(),
    'active',
    'nothing was done',
  )
  const unsure = await host.run(['tljh-ts', 'uninstall'], { check: false })
  assert.equal(unsure.code, 1)
  assert.match(unsure.stderr, /nobody to ask[\s\S]*--yes/)
  const uninstall = ['tljh-ts', 'uninstall', '--yes']
  assert.match(await inServer(['sudo', ...uninstall]), /Nothing was removed[\s\S]*would end with it[\s\S]*systemd-run/)
  assert.match(await inServer(['sudo', 'su', '-', '-c', uninstall.join(' ')]), /Nothing was removed[\s\S]*systemd-run/)
  const bySystemd = ['sudo', 'systemd-run', '--collect', '--unit=tljh-uninstall', '--wait', '--pipe']
  assert.match(await inServer([...bySystemd, 'tljh-ts', 'uninstall']), /nobody to ask/)

  const { stdout } = await host.run(['tljh-ts', 'uninstall', '--yes'])
  assert.doesNotMatch(planned, /chess/)
  assert.match(stdout, /2 homes in \/home[\s\S]*account jupyter-ann[\s\S]*sudo apt-get remove libatomic1 git/)
  const copy = `/var/backups/tljh-ts${sudoers}`
  assert.match(await host.readFile(copy), /# edited/)
  assert.ok(stdout.includes(copy))

  assert.match(await host.readFile('/opt/tljh/backups/class-packages.txt'), /^jupyterlab==\d/m)

  assert.equal(await uid(), annsUid)
  assert.equal(await isExpired(), true)
  const left = difference(fresh, await snapshot(host)).filter(
    line => !isOfKeptPeople(line) && !line.includes('/opt/tljh'),
  )
  assert.deepEqual(
    left.filter(line => !line.includes('/var/backups')),
    [],
  )
  const inPrefix = (await host.run(['find', '/opt/tljh', '-mindepth', '1', '-maxdepth', '2'])).stdout.trim().split('\n')
  assert.deepEqual(
    inPrefix.filter(path => !/^\/opt\/tljh\/(?:config|state|archives|backups)(?:\/|$)/.test(path)).toSorted(),
    ['/opt/tljh/hub', '/opt/tljh/hub/changes.jsonl'],
  )
})

/** Accounts, groups, homes, and what shadow(5)'s own tools keep. */
function isOfKeptPeople(line: string): boolean {
  return /\/home\/jupyter-|tljh-hub|jupyterhub-(?:users|admins)|jupyter-\w+|\/etc\/(?:passwd|group|shadow|gshadow|subuid|subgid)(?:-|$| )/.test(
    line,
  )
}

test('installed again over the homes, the same people log in with the same passwords and find their files', async () => {
  await host.run(['mv', '/srv/class-environment', '/opt/tljh/user'])
  await release.place(host)
  await host.run(install)
  const ann = await enter()
  await ann.startServer()
  const { status, body } = await ann.jupyter('GET', 'api/contents/work.txt')
  assert.equal(status, 200)
  assert.match(body, /to be kept/)
  assert.equal(await isExpired(), false)
})

test('purging that is cut off is completed by the same command, and leaves the machine as it was', async () => {
  const purge = ['tljh-ts', 'uninstall', '--purge', '--yes']
  // A home that cannot be removed whole, and somebody's file in our folder.
  const mounted = '/home/jupyter-ann/mounted'
  await host.run(['mkdir', mounted])
  await host.run(['mount', '-t', 'tmpfs', 'tmpfs', mounted])
  await host.run(['touch', '/opt/tljh/notes'])
  await using first = await host.start(purge)
  // Among the first files that go, before homes and accounts.
  const early = join(host.rootPath, 'etc/bash_completion.d/tljh-ts')
  while (existsSync(early)) await delay(5)
  first.kill('SIGKILL')
  await first.ended

  const partly = await host.run(purge, { check: false })
  assert.equal(partly.code, 1)
  assert.match(partly.stderr, /jupyter-ann was not removed: its home is still there[\s\S]*needed once more/)
  await host.run(['id', 'jupyter-ann'])
  assert.notEqual((await host.run(['id', 'jupyter-prof'], { check: false })).code, 0)

  await host.run(['umount', mounted])
  const { stdout } = await host.run(purge)
  assert.match(stdout, /\/opt\/tljh\/notes, which is not ours/)
  assert.match(stdout, /\/home\/jupyter-ann\s+\S+, last changed \d{4}-/)

  const left = difference(fresh, await snapshot(host)).filter(
    line => !/\/opt\/tljh\/user|\/srv\/class-environment/.test(line),
  )
  // The copies that the system's own tools keep, and what they write a day into.
  const ofTools =
    /[ /]etc\/(?:passwd|group|shadow|gshadow|subuid|subgid)-|[0-9a-f]{64} +\/etc\/(?:shadow|subuid|subgid)$/
  assert.deepEqual(
    left.filter(line => !ofTools.test(line) && !/\/var\/backups/.test(line)),
    ['+ /opt/tljh/notes f 644 0:0 '],
  )
  assert.equal((await host.run(['ls', '--almost-all', '/opt/tljh'])).stdout, 'notes\n')

  await host.run(['rm', '/opt/tljh/notes'])
  await release.place(host)
  await host.run([...PLACED, 'uninstall', '--purge', '--yes'])
  assert.equal(existsSync(join(host.rootPath, 'opt/tljh')), false)
})

test('a folder of the system’s is refused for the hub, and so is one for other things', async () => {
  for (const prefix of ['/srv', '/opt', '/data', '/var/lib', '/etc/tljh', '/usr/local/tljh', '/var/lib/dpkg/tljh']) {
    assert.throws(() => checkPrefix(prefix), { code: 'INSTALL_PREFIX' }, prefix)
  }
  for (const prefix of ['/srv/tljh', '/opt/tljh', '/var/lib/tljh', '/var/opt/tljh', '/mnt/disk/tljh'])
    checkPrefix(prefix)
})
