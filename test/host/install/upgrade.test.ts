/** Upgrades that end as they should, in whatever way the new version, the network or a kill -9 gets in the way. One class, many tries. */
import assert from 'node:assert/strict'
import { appendFile, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, afterEach, before, suite, test } from 'node:test'
import { sign } from '../../../installer/release/signing.ts'
import { joinKernel, startKernel } from '../../harness/people/kernel.ts'
import { type Visitor, visit } from '../../harness/people/visitor.ts'
import { studentPassword } from '../../harness/product/classroom.ts'
import { type Installed, installRelease } from '../../harness/product/upgradable-host.ts'

type Change = (folder: string) => Promise<void>

/** Puts a line into a file of a version, after the one with `mark` in it. */
function insert(file: string, mark: string, line: string): Change {
  return async folder => {
    const path = join(folder, file)
    const lines = (await readFile(path, 'utf8')).split('\n')
    const at = lines.findIndex(text => text.includes(mark))
    assert.ok(at >= 0, `${file} has no line with ${mark}`)
    await writeFile(path, lines.toSpliced(at + 1, 0, line).join('\n'))
  }
}

function replaced(file: string, from: string, to: string): Change {
  return async folder => {
    const text = await readFile(join(folder, file), 'utf8')
    assert.ok(text.includes(from), `${file} has no ${from}`)
    await writeFile(join(folder, file), text.replace(from, to))
  }
}

function all(...changes: readonly Change[]): Change {
  return async folder => {
    for (const change of changes) await change(folder)
  }
}

const broken = `throw new Error('broken on purpose')`
/** One more at the end of the list, where new ones belong. */
const migrating: Change = async folder => {
  const file = join(folder, 'hub/state/database.ts')
  const text = await readFile(file, 'utf8')
  const end = text.indexOf('\n]\n')
  assert.ok(end > 0)
  await writeFile(file, `${text.slice(0, end)}\n  'CREATE TABLE things (name TEXT) STRICT',${text.slice(end)}`)
}
const hubFails = insert('hub/hub.ts', 'const db = openState', broken)

suite('an upgrade', () => {
  let installed: Installed
  let ann: Visitor
  let kernelId = ''
  const tljhTs = (...args: string[]) => installed.tljhTs(...args)

  before(async () => {
    installed = await installRelease({ versions: [{ version: '0.1.0' }] })
    ann = visit(installed.url)
    assert.equal((await ann.logIn('ann', studentPassword)).status, 302)
    await ann.startServer()
    const kernel = await startKernel(ann, 'ann')
    await kernel.run('kept = 42')
    kernel.socket.terminate()
    kernelId = kernel.id
  })
  afterEach(() => installed.site.heal())
  after(() => installed[Symbol.asyncDispose]())

  /** That version is in force and answers; ann is logged in, with the same server and kernel. */
  async function isWell(version: string): Promise<void> {
    assert.equal(await installed.current(), version)
    const health = await ann.request('/hub/health')
    assert.deepEqual(JSON.parse(health.body), { status: 'ok', version })
    const home = await ann.request('/hub/home')
    assert.equal(home.status, 200, 'still logged in')
    assert.match(home.body, /Open my server/)
    using kernel = await joinKernel(ann, 'ann', kernelId)
    assert.equal((await kernel.run('kept')).text, '42')
  }

  /** The site has another 0.2.0 from now on, and the host none. */
  async function publish(change?: Change): Promise<void> {
    await installed.host.run(['rm', '-rf', '/opt/tljh/hub/versions/0.2.0'])
    await installed.site.add({ version: '0.2.0', change })
  }

  test('has nothing to do where there is nothing newer', async () => {
    const { code, stdout } = await tljhTs('upgrade', '--check')
    assert.equal(code, 0)
    assert.match(stdout, /0\.1\.0 is in force, and there is nothing newer/)
  })

  const bad: [what: string, change: Change, why: RegExp][] = [
    ['whose code does not load', insert('hub/login/password-login.ts', '*/', 'import "./no-such.ts"'), /no-such\.ts/],
    [
      'whose migration throws',
      all(migrating, insert('hub/state/database.ts', 'const seen =', broken)),
      /broken on purpose/,
    ],
    ['whose hub does not start', insert('hub/hub.ts', 'const stopped = new', broken), /tljh-hub.*broken on purpose/s],
    [
      'whose hub is another one',
      insert('machine/version.ts', 'export function', "return '9.9.9'"),
      /it says that it is 9\.9\.9/,
    ],
    [
      'whose hub answers as another one',
      replaced('hub/login/login-routes.ts', "status: 'ok', version", "status: 'ok', version: '9.9.9'"),
      /the hub says that it is/,
    ],
    [
      'whose spawner does not start',
      insert('spawner/service/spawner.ts', 'Promise<void> {', broken),
      /tljh-spawner.*on purpose/s,
    ],
    ['that has migrated and fails then', all(migrating, hubFails), /broken on purpose/],
  ]
  for (const [what, change, why] of bad) {
    test(`to a version ${what} goes back by itself, and everybody is still logged in`, async () => {
      await publish(change)
      const { code, stderr } = await tljhTs('upgrade')
      assert.equal(code, 1)
      assert.match(stderr, why)
      await isWell('0.1.0')
    })
  }

  test('that is killed at any point is finished or undone by the next command', async () => {
    await publish()
    for (const [phase, next] of [
      ['download', 'upgrade'],
      ['switch', 'rollback'],
      ['restart', 'rollback'],
      ['health', 'upgrade'],
    ] as const) {
      await using upgrading = await installed.host.start(['tljh-ts', 'upgrade'])
      for await (const line of createInterface({ input: upgrading.stdout })) {
        if (line.startsWith(`${phase}:`)) break
      }
      upgrading.kill('SIGKILL')
      await upgrading.ended
      const { code, stdout, stderr } = await tljhTs(next)
      assert.equal(code, 0, `${phase}: ${stdout}${stderr}`)
      await isWell(next === 'upgrade' ? '0.2.0' : '0.1.0')
      if (next === 'upgrade') assert.equal((await tljhTs('rollback')).code, 0)
    }
    await isWell('0.1.0')
  })

  test('that changes the database can be gone back from, and says what that loses', async () => {
    await publish(migrating)
    const up = await tljhTs('upgrade')
    assert.equal(up.code, 0, up.stderr)
    await isWell('0.2.0')
    assert.equal((await visit(installed.url).logIn('bob', studentPassword)).status, 302)

    const refused = await tljhTs('rollback')
    assert.equal(refused.code, 1)
    assert.match(refused.stdout, /is lost.*Passwords that were chosen/s)
    await isWell('0.2.0')

    // A hub that was taken over has left a way out of its folder, and its database is none any more.
    const { host } = installed
    await host.run(['ln', '-s', '/etc/profile.d', '/opt/tljh/state/hub.sqlite.restored.part'])
    await host.run(['sh', '-c', 'cd /opt/tljh/state; rm -f hub.sqlite-wal hub.sqlite-shm; echo broken >hub.sqlite'])

    const back = await tljhTs('rollback', '--yes')
    assert.equal(back.code, 0, back.stderr)
    await isWell('0.1.0')
    assert.equal((await host.run(['find', '/etc/profile.d', '-user', 'tljh-hub'])).stdout, '')
    const copies = await host.run(['find', '/opt/tljh/hub', '-maxdepth', '1', '-name', '*state*', '-perm', '/077'])
    assert.equal(copies.stdout, '', 'copies are for root alone')
  })

  test('to a version with one socket for all addresses, and back, keeps each of them, and port 80 open on the way back', async () => {
    const { host, url } = installed
    const onlyOne = replaced(
      'systemd/hub-sockets.ts',
      'furtherSockets = [httpsSocket, visitSocket]',
      'furtherSockets: string[] = []',
    )
    const units = ['https', 'visit'].map(name => `installer/units/tljh-hub-${name}.socket`)
    await publish(all(onlyOne, async folder => void (await Promise.all(units.map(unit => rm(join(folder, unit)))))))
    // On that port the hub has no pages of its own.
    const answers = async (port: number) => (await fetch(`${url}:${port}/hub/health`)).status
    const change = await tljhTs('config', 'set', 'admins.visit_port', '8081')
    assert.equal(change.code, 0, change.stderr)

    const up = await tljhTs('upgrade')
    assert.equal(up.code, 0, up.stdout + up.stderr)
    await isWell('0.2.0')
    assert.equal(await answers(8081), 404)
    const { stdout } = await host.run(['systemctl', 'show', '--property=Listen', 'tljh-hub.socket'])
    assert.match(stdout, /:80 [\s\S]*:8081 /)

    const opened = () => host.run(['systemctl', 'show', '--property=ActiveEnterTimestampMonotonic', 'tljh-hub.socket'])
    const { stdout: before } = await opened()
    assert.equal((await tljhTs('rollback')).code, 0)
    await isWell('0.1.0')
    assert.equal(await answers(8081), 404)
    assert.equal((await tljhTs('config', 'set', 'admins.visit_port', '8082')).code, 0)
    assert.equal(await answers(8082), 404)
    assert.equal((await opened()).stdout, before)
    assert.equal((await tljhTs('config', 'unset', 'admins.visit_port')).code, 0)
  })

  test('from too far back is refused with the version to go to first', async () => {
    const { site } = installed
    const list = join(site.folder, 'releases')
    await appendFile(list, '0.3.0\n0.4.0\n')
    await sign(list, { keyFile: site.keyFile, environment: process.env })
    const { code, stderr } = await tljhTs('upgrade')
    assert.equal(code, 1)
    assert.match(stderr, /0\.1\.0 cannot be upgraded to 0\.4\.0.*upgrade 0\.2\.0, and then/s)
  })

  test('believes no list that is not signed', async t => {
    t.after(() => publish())
    await appendFile(join(installed.site.folder, 'releases'), '0.2.1\n')
    const { code, stderr } = await tljhTs('upgrade', '0.2.0')
    assert.equal(code, 1)
    assert.match(stderr, /releases was not used.*not signed/s)
  })

  test('takes no archive that was damaged, and goes on where a download was cut', async () => {
    const { site } = installed
    const archive = /0\.2\.0\/.*gz$/
    site.fault(archive, { kind: 'corrupt', at: 1e6 }, 9)
    const damaged = await tljhTs('upgrade', '0.2.0')
    assert.equal(damaged.code, 1)
    assert.match(damaged.stderr, /not the file whose checksum was signed/)
    site.heal()

    site.requests.length = 0
    for (const after of [4e6, 8e6]) site.fault(archive, { kind: 'cut', after })
    const { code, stderr } = await tljhTs('upgrade', '0.2.0')
    assert.equal(code, 0, stderr)
    await isWell('0.2.0')
    const resumed = site.requests.filter(({ range }) => range !== undefined && range !== 'bytes=0-')
    assert.ok(resumed.length > 0, 'a part of the file was asked for')
  })

  test('keeps the version before, and nothing older', async () => {
    assert.deepEqual(await installed.versions(), ['0.1.0', '0.2.0'])
    const left = await installed.host.run(['find', '/var/cache/tljh-ts', '-type', 'f'], { check: false })
    assert.equal(left.stdout, '')
  })

  test('is for root alone', async () => {
    const asked = await installed.host.run(['tljh-ts', 'upgrade'], { user: 'jupyter-ann', check: false })
    assert.equal(asked.code, 1)
    assert.match(asked.stderr, /sudo tljh-ts upgrade/)
  })
})
