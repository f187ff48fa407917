import assert from 'node:assert/strict'
import { cp, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { startKernel } from '../../harness/people/kernel.ts'
import { visit } from '../../harness/people/visitor.ts'
import { type Classroom, openClassroom, studentPassword } from '../../harness/product/classroom.ts'
import { bootProduct, type Product, TLJH_TS } from '../../harness/product/product.ts'

const backups = '/opt/tljh/backups'
const [node = '', program = ''] = TLJH_TS

let classroom: Classroom
before(async () => {
  classroom = await openClassroom(undefined, '  memory: 600M\n')
})
after(() => classroom[Symbol.asyncDispose]())

interface Made {
  file: string
  homes: { account: string; parents: { file: string }[]; problem?: string; leftOut: string[] }[] | null
  removed: string[]
}

async function backup(product: Product, ...args: string[]): Promise<Made> {
  const { stdout } = await product.host.run([node, program, 'backup', '--json', ...args])
  return JSON.parse(stdout) as Made
}

function tljh(product: Product, ...args: string[]) {
  return product.host.run([node, program, ...args], { check: false })
}

async function listing(product: Product, folder: string): Promise<string[]> {
  const { stdout } = await product.host.run(['ls', '-A', folder])
  return stdout.split('\n').filter(Boolean)
}

async function passNight(): Promise<void> {
  const { code } = await classroom.host.run(['systemctl', 'start', 'tljh-backup.service'], { check: false })
  const journal = ['journalctl', '--unit=tljh-backup', '--output=cat', '--no-pager']
  assert.equal(code, 0, code === 0 ? '' : (await classroom.host.run(journal)).stdout)
}

/** What a student can do to a backup of the home. */
const trap = `
  cd /home/jupyter-bob
  echo hers >'of ann'; ln -s /etc/shadow shadow; ln -s / root; ln 'of ann' again
  touch -- -rf '--checkpoint-action=exec=sh' "$(printf 'line\\nbreak')" "$(printf '\\377')"
  mkfifo pipe; truncate --size=1T huge
  mkdir closed; echo secret >closed/file; chmod 0 closed
`

test('a backup makes the same hub on another machine: passwords, files, limits, history', async t => {
  const ann = await classroom.student('ann')
  await classroom.student('bob')
  await classroom.host.writeFile('/home/jupyter-ann/thesis.txt', 'first\n', { owner: 'jupyter-ann', mode: 0o600 })
  await classroom.host.writeFile('/home/jupyter-ann/draft.txt', 'to be removed\n', { owner: 'jupyter-ann' })
  await classroom.host.run(['sh', '-c', trap], { user: 'jupyter-bob' })
  await classroom.host.writeFile('/home/jupyter-bob/by-root.txt', 'of root\n', { mode: 0o600 })
  await tljh(classroom, 'config', 'set', 'branding.title', 'Statistics')

  await classroom.host.run(['mkdir', '/opt/tljh/state/keys'], { user: 'tljh-hub' })
  await classroom.host.writeFile('/opt/tljh/state/keys/one.pem', 'a key\n', { owner: 'tljh-hub', mode: 0o600 })
  await classroom.host.run(['ln', '-s', '/etc/shadow', '/opt/tljh/state/keys/two.pem'])

  const whole = await backup(classroom, '--include-homes')
  assert.deepEqual(whole.homes?.map(({ account, parents }) => [account, parents.length]).toSorted(), [
    ['jupyter-ann', 0],
    ['jupyter-bob', 0],
  ])
  assert.match(whole.homes?.find(({ account }) => account === 'jupyter-bob')?.leftOut.join() ?? '', /by-root\.txt/)
  assert.match(whole.homes?.find(({ account }) => account === 'jupyter-bob')?.leftOut.join() ?? '', /closed/)
  await classroom.host.run(['rm', '/home/jupyter-ann/draft.txt'], { user: 'jupyter-ann' })
  await classroom.host.writeFile('/home/jupyter-ann/thesis.txt', 'second\n', { owner: 'jupyter-ann', mode: 0o600 })
  const later = await backup(classroom, '--include-homes')
  assert.deepEqual(
    later.homes?.[0]?.parents.map(({ file }) => join(backups, file)),
    [whole.file],
  )
  assert.equal((await classroom.host.run(['stat', '-c', '%U %a', later.file])).stdout.trim(), 'root 600')
  assert.ok((await ann.request('/user/ann/lab')).status === 200, 'her server runs on')

  await using other = await bootProduct({ admin: 'somebody' })
  await other.host.run(['useradd', '--uid=1000', '--create-home', 'teacher'])
  const there = join(other.host.rootPath, backups)
  await cp(join(classroom.host.rootPath, backups), there, { recursive: true })
  const configThere = await other.host.readFile('/opt/tljh/config/config.yaml')

  await t.test('which is refused, with nothing changed, where a byte of it is another', async () => {
    const bad = join(backups, 'bad.tar.zst')
    const content = await readFile(join(other.host.rootPath, later.file))
    content[3000] = (content[3000] ?? 0) ^ 0xff
    await other.host.writeFile(bad, content)
    const { code, stderr } = await tljh(other, 'restore', bad, '--yes')
    assert.equal(code, 1)
    assert.match(stderr, /bad\.tar\.zst is not a whole backup/)
    await other.host.run(['rm', bad])
  })

  await t.test('and without the one that it builds on', async () => {
    await other.host.run(['mv', whole.file, '/root/'])
    const { stderr } = await tljh(other, 'restore', later.file, '--yes')
    assert.match(stderr, /it holds only what has changed since tljh-ts-.*Copy tljh-ts-/s)
    await other.host.run(['mv', join('/root', whole.file.split('/').at(-1) ?? ''), backups])
  })

  await t.test('shown first', async () => {
    const { code, stdout } = await tljh(other, 'restore', later.file, '--dry-run')
    assert.equal(code, 0)
    assert.match(stdout, /Accounts that are made: jupyter-ann, jupyter-bob/)
    assert.match(stdout, /had the number 1000, which is not free here/)
    assert.match(stdout, /Home of jupyter-ann: put back/)
    assert.equal(await other.host.readFile('/opt/tljh/config/config.yaml'), configThere)
    assert.deepEqual(await listing(other, '/home'), ['teacher'])
  })

  await t.test('completed by the same command where it was killed', async () => {
    // It waits for a spawner that has stopped, so it is not over before it is killed.
    await other.host.run(['systemctl', 'kill', '--kill-who=main', '--signal=STOP', 'tljh-spawner'])
    const child = await other.host.start([node, program, 'restore', later.file, '--yes'])
    let said = ''
    for await (const chunk of child.stderr) {
      said += chunk
      if (/^configuration$/m.test(said)) child.kill('SIGKILL')
    }
    assert.equal(await child.ended, 137, said)
    await other.host.run(['systemctl', 'restart', 'tljh-spawner'])
    const { code, stdout, stderr } = await tljh(other, 'restore', later.file, '--yes')
    assert.equal(code, 0, stderr)
    assert.match(stdout, /A restore of it was cut off/)
  })

  const again = visit(other.url)
  assert.equal((await again.logIn('ann', studentPassword)).status, 302)
  assert.equal((await visit(other.url).logIn(classroom.admin, classroom.adminPassword)).status, 302)
  assert.equal((await visit(other.url).logIn('somebody', other.adminPassword)).status, 403)
  await again.startServer()
  assert.equal((await again.jupyter('GET', 'api/contents/thesis.txt')).status, 200)
  assert.deepEqual(
    (await listing(other, '/home/jupyter-ann')).filter(name => /txt/.test(name)),
    ['thesis.txt'],
  )
  assert.equal(await other.host.readFile('/home/jupyter-ann/thesis.txt'), 'second\n')
  const { stdout: unit } = await other.host.run(['systemctl', 'show', '-P', 'MemoryMax', 'tljh-user-ann.service'])
  assert.equal(Number(unit), 600 * 1024 ** 2)
  const { stdout: key } = await other.host.run(['sh', '-c', 'cd /opt/tljh/state/keys; stat -c "%n %U %a" *; cat *'])
  assert.equal(key, 'one.pem tljh-hub 600\na key\n')
  assert.match((await tljh(other, 'config', 'log')).stdout, /set branding\.title/)

  const look = 'cd /home/jupyter-bob; find . -printf "%y %l %U %P\\n" | LC_ALL=C sort; stat -c "%s %b" huge'
  const bob = (await other.host.run(['sh', '-c', look])).stdout
  assert.match(bob, /^l \/etc\/shadow \d+ shadow$/m)
  assert.match(bob, /^p {2}\d+ pipe$/m)
  assert.match(bob, /^break$|line$/m)
  assert.match(bob, /^1099511627776 0$/m)
  assert.doesNotMatch(bob, /by-root/)
  const owners = await other.host.run(['sh', '-c', 'find /home/jupyter-bob ! -user jupyter-bob'])
  assert.equal(owners.stdout, '')
})

test('a home that is there is kept beside, and one that belongs to somebody else is not read', async () => {
  const { host } = classroom
  const { file } = await backup(classroom, '--include-homes')
  await host.writeFile('/home/jupyter-ann/since.txt', 'new\n', { owner: 'jupyter-ann' })
  const { code, stdout, stderr } = await tljh(classroom, 'restore', file, '--yes')
  assert.equal(code, 0, stderr)
  const kept = /replaced; the one here is kept as (\/home\/jupyter-ann\.before-restore-\S+)/.exec(stdout)?.[1] ?? ''
  assert.equal(await host.readFile(`${kept}/since.txt`), 'new\n')
  assert.ok(!(await listing(classroom, '/home/jupyter-ann')).includes('since.txt'))
  await host.run(['chown', 'root:', '/home/jupyter-bob'])
  const refused = await tljh(classroom, 'backup', '--include-homes')
  await host.run(['chown', 'jupyter-bob:', '/home/jupyter-bob'])
  assert.equal(refused.code, 1)
  assert.match(refused.stderr, /the home of bob is not in it: \/home\/jupyter-bob belongs to user id 0/)
})

test('nightly ones are made by a timer, and as many are kept as the configuration says', async () => {
  const { host } = classroom
  assert.equal((await host.run(['systemctl', 'is-active', 'tljh-backup.timer'])).stdout.trim(), 'active')
  // From here on the nights are ours, whatever the time of day.
  await host.run(['systemctl', 'stop', 'tljh-backup.timer'])
  await host.run(['rm', '-r', backups])
  await tljh(classroom, 'config', 'set', 'backup.keep', '2')
  await tljh(classroom, 'config', 'set', 'backup.include_homes', 'true')
  for (let night = 0; night < 3; night++) await passNight()
  const made = (await readdir(join(host.rootPath, backups))).filter(name => name.endsWith('.tar.zst'))
  assert.equal(made.length, 3, 'two, and the one that they build on')
  await tljh(classroom, 'config', 'set', 'backup.include_homes', 'false')
  for (let night = 0; night < 2; night++) await passNight()
  const kept = (await readdir(join(host.rootPath, backups))).filter(name => name.endsWith('.tar.zst'))
  assert.equal(kept.length, 2)
  assert.ok(kept.every(name => !made.includes(name)))
})

test('a list of last time that is huge or spoilt only makes that home whole again', async () => {
  const { host } = classroom
  await backup(classroom, '--include-homes')
  const lists = join(backups, 'homes')
  await host.run(['truncate', '--size=1T', join(lists, 'jupyter-ann.snapshot')])
  await host.writeFile(join(lists, 'jupyter-bob.snapshot'), 'GNU tar-1.34-2\nrubbish', { mode: 0o600 })
  const { homes } = await backup(classroom, '--include-homes')
  assert.deepEqual(
    homes?.map(({ parents, problem }) => [parents.length, problem]),
    [
      [0, undefined],
      [0, undefined],
    ],
  )
  const { stdout } = await host.run(['sh', '-c', `cd ${lists}; stat -c '%U %a' *; find . -size +1M; ls -A ..`])
  assert.match(stdout, /^(?:root 600\n){4}(?!\.\/)/)
  assert.doesNotMatch(stdout, /\.new-/)
})

test('a restore that was cut off passes over the home that was just put in place, and not a day later', async () => {
  const { host } = classroom
  const { file } = await backup(classroom, '--include-homes')
  const chain = JSON.parse(await host.readFile(join(backups, 'homes/jupyter-ann.json'))) as { id: string }[]
  const folder = (await host.run(['stat', '-c', '%d:%i', '/home/jupyter-ann'])).stdout.trim()
  const dryRunAfter = async (hours: number) => {
    const placing = { account: 'jupyter-ann', folder }
    const about = { id: chain.at(-1)?.id, time: Date.now() - hours * 3600_000, stamp: 'then', homes: [], accounts: [] }
    await host.writeFile('/opt/tljh/restoring/progress.json', JSON.stringify({ ...about, placing }), { mode: 0o600 })
    return (await tljh(classroom, 'restore', file, '--dry-run')).stdout
  }
  await host.run(['mkdir', '--parents', '--mode=700', '/opt/tljh/restoring'])
  await host.run(['mkdir', '/home/jupyter-bob.before-restore-then'])

  const soon = await dryRunAfter(1)
  assert.match(soon, /Home of jupyter-ann: is in place since the restore that was cut off/)
  assert.match(soon, /Home of jupyter-bob: replaced; .*before-restore-then-2/)
  assert.match(await dryRunAfter(30), /Home of jupyter-ann: replaced; .*before-restore-\d/)

  await host.run(['rm', '-r', '/opt/tljh/restoring', '/home/jupyter-bob.before-restore-then'])
})

test('a student who takes over what reads the home for a backup has won nothing', async t => {
  const { host } = classroom
  const visitor = visit(classroom.url)
  assert.equal((await visitor.logIn('ann', studentPassword)).status, 302)
  await visitor.startServer()
  using kernel = await startKernel(visitor, 'ann')
  // Whoever may look at all of this of a process may write to its memory as well (ptrace(2), PTRACE_MODE_ATTACH and _READ).
  const watch = `
import json, os, signal, threading, time
own = open("/proc/self/cgroup").read()
def find():
    while True:
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.stat("/proc/" + pid).st_uid != os.getuid() or open(f"/proc/{pid}/cgroup").read() == own: continue
                if open(f"/proc/{pid}/comm").read() != "tar\\n": continue
                os.kill(int(pid), signal.SIGSTOP)
                return pid
            except OSError: pass
        time.sleep(0.005)
def look(pid):
    at = f"/proc/{pid}/"
    seen = lambda path: sorted(os.listdir(at + "root" + path)) if os.path.isdir(at + "root" + path) else []
    bus = os.access(at + "root/run/dbus/system_bus_socket", os.F_OK)
    return {"pid": pid, "cgroup": open(at + "cgroup").read(), "homes": seen("/home"), "bus": bus, "status": open(at + "status").read(),
      "network": seen("/sys/class/net"), "files": sorted(os.readlink(at + "fd/" + fd) for fd in os.listdir(at + "fd")),
      "canWrite": [path for path in ("/home/jupyter-ann", "/run", "/opt", "/var/tmp") if os.access(at + "root" + path, os.W_OK)]}
`
  // So much that it takes a while, however fast the disk is.
  await host.run(['sh', '-c', 'head -c 300M /dev/urandom >/home/jupyter-ann/data'], { user: 'jupyter-ann' })
  t.after(() => host.run(['rm', '/home/jupyter-ann/data']))
  await kernel.run(watch)
  const found = kernel.run('pid = find(); print(json.dumps(look(pid)))')
  const making = backup(classroom, '--include-homes')
  t.after(() => host.run(['pkill', '--signal', 'CONT', '--uid', 'jupyter-ann', '--exact', 'tar'], { check: false }))
  const seen = JSON.parse((await found).text)

  assert.match(
    seen.cgroup,
    /name=systemd:\/tljh\.slice\/tljh-users\.slice\/tljh-home-backup-ann\.service$|^0::.*tljh-users\.slice\/tljh-home-backup-ann/m,
  )
  const limits = ['systemctl', 'show', '--property=MemoryMax,TasksMax', 'tljh-home-backup-ann']
  assert.equal((await host.run(limits)).stdout, `MemoryMax=${600 * 1024 ** 2}\nTasksMax=64\n`)
  assert.deepEqual(seen.homes, ['jupyter-ann'])
  assert.equal(seen.bus, false)
  assert.match(seen.status, /^NoNewPrivs:\s*1$/m)
  assert.deepEqual(
    seen.canWrite.filter((path: string) => path !== '/var/tmp'),
    [],
    'not even the home',
  )
  for (const file of seen.files)
    assert.match(
      file,
      /^(?:\/dev\/null|socket:\[\d+\]|\/mnt\/lent|\/home\/jupyter-ann.*|\/etc\/ld\.so\.cache|\/usr\/lib\/.*)$/,
    )

  await kernel.run('os.kill(int(pid), signal.SIGCONT)')
  const made = await making
  assert.equal(made.homes?.find(({ account }) => account === 'jupyter-ann')?.problem, undefined)
  const { stdout } = await host.run(['systemctl', 'list-units', '--all', '--plain', '--no-legend', 'tljh-home-*'])
  assert.equal(stdout, '', 'nothing of it is left')
})

test('a disk without room for a home still gets the passwords, and says whose home is not there', async () => {
  const { host } = classroom
  await host.run(['sh', '-c', 'head -c 20M /dev/urandom >/home/jupyter-ann/data'], { user: 'jupyter-ann' })
  await host.run(['sh', '-c', 'mkdir /mnt/small && mount -t tmpfs -o size=8m,mode=755 none /mnt/small'])
  const { code, stderr } = await tljh(classroom, 'backup', '--include-homes', '--output', '/mnt/small')
  assert.equal(code, 1)
  assert.match(stderr, /the home of ann is not in it: it may take \d+ MB, and \/mnt\/small has \d+ MB for it/)
  assert.match((await listing(classroom, '/mnt/small')).join(), /^homes,tljh-ts-[^,]+\.tar\.zst$/)
})

test('a folder that others can change is no place for a backup', async () => {
  const { host } = classroom
  await host.run(['mkdir', '--mode=700', '/tmp/mine'])
  for (const folder of ['/tmp', '/tmp/mine']) {
    const { code, stderr } = await tljh(classroom, 'backup', '--output', folder)
    assert.equal(code, 1)
    assert.match(stderr, /\/tmp can be written to by others/)
  }
})
