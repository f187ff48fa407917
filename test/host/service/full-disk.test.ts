/**
 * The hub's own disk is full: state and configuration lie on small file systems of their own, which are filled to the last byte, or to the last
 * but some kilobytes.
 */
import assert from 'node:assert/strict'
import { after, before, beforeEach, test } from 'node:test'
import { said } from '../../harness/host/journal.ts'
import { type Visitor, visit } from '../../harness/people/visitor.ts'
import { claiming, studentPassword } from '../../harness/product/classroom.ts'
import { bootProduct, type Product, TLJH_TS } from '../../harness/product/product.ts'
import { commandAtEachWrite, type Refused } from '../../harness/product/refusals.ts'

const state = '/opt/tljh/state'
const config = '/opt/tljh/config'
const newcomers = Array.from({ length: 8 }, (_, number) => `new${number}`)

let product: Product

before(async () => {
  product = await bootProduct({ config: `users:\n  allowed: [ann, bob, ${newcomers.join(', ')}]\n${claiming}` })
  const ann = await logIn('ann')
  await ann.startServer()
  await logIn('bob')
  for (const [folder, size] of [
    [state, '16m'],
    [config, '2m'],
  ] as const) {
    await sh(`systemctl stop tljh-hub tljh-spawner
      cp --archive ${folder} /srv/kept
      mount -t tmpfs -o size=${size},mode=$(stat -c %a ${folder}),uid=$(stat -c %u ${folder}),gid=$(stat -c %g ${folder}) none ${folder}
      cp --archive /srv/kept/. ${folder}
      rm -r /srv/kept`)
  }
})
after(() => product[Symbol.asyncDispose]())

/** There is room again. */
beforeEach(async () => {
  await sh(
    `rm -f ${state}/fill ${config}/fill; mount -o remount,nr_inodes=10000 ${state}; systemctl start tljh-spawner tljh-hub`,
  )
  assert.equal((await visit(product.url).request('/hub/health')).status, 200)
})

function sh(script: string): Promise<unknown> {
  return product.host.run(['sh', '-euc', script])
}

/** To the last byte, but for so many kilobytes. */
function fill(folder: string, kilobytesLeft = 0): Promise<unknown> {
  return sh(`rm -f ${folder}/fill ${folder}/left
    ${kilobytesLeft ? `head -c ${kilobytesLeft}K /dev/zero >${folder}/left` : ''}
    cat /dev/zero >${folder}/fill 2>/dev/null || true
    rm -f ${folder}/left`)
}

async function logIn(name: string): Promise<Visitor> {
  const visitor = visit(product.url)
  const { status, body } = await visitor.logIn(name, studentPassword)
  assert.equal(status, 302, body)
  return visitor
}

async function isIn(visitor: Visitor): Promise<boolean> {
  return (await visitor.request('/hub/home')).status === 200
}

function tljhTs(...args: string[]) {
  return product.host.run([...TLJH_TS, ...args], { check: false })
}

/** Also over a restart of the hub. */
async function logsOutForGood(visitor: Visitor): Promise<void> {
  const stolen = new Map(visitor.cookies)
  assert.equal((await visitor.post('/hub/logout')).status, 302)
  await sh('systemctl restart tljh-hub')
  for (const [key, value] of stolen) visitor.cookies.set(key, value)
  assert.equal(await isIn(visitor), false, 'what was ended on the full disk stays ended')
}

test('the page People says beforehand that the disk is nearly full', async () => {
  const admin = visit(product.url)
  await admin.logIn(product.admin, product.adminPassword)
  assert.match(
    (await admin.request('/hub/admin')).body,
    /disk is nearly full[\s\S]*\d+ MB are free[\s\S]*tljh-ts status/,
  )
})

test('a configuration is the one before or the new one, whole, whatever room is left; and it is said which', async () => {
  const read = async () => (await product.host.run(['cat', `${config}/config.yaml`])).stdout
  const history = async () => (await product.host.run(['ls', `${config}/history`])).stdout
  let isFull = false
  for (const [index, room] of [0, 4, 8, 12, 16, 64].entries()) {
    const [before, versionsBefore] = [await read(), await history()]
    await fill(config, room)
    const { code, stderr } = await tljhTs('config', 'set', 'limits.memory', `${500 + index}M`)
    assert.equal(/^config\.yaml\n/m.test((await product.host.run(['ls', config])).stdout), true)
    await sh(`test ! -e ${config}/config.yaml.new`)
    if (code === 0) {
      assert.match(await read(), new RegExp(`memory: ${500 + index}M`))
    } else {
      isFull = true
      assert.match(stderr, /no room left on the disk of \/opt\/tljh\/config[\s\S]*Make room/)
      assert.equal(await read(), before)
      assert.equal(await history(), versionsBefore, 'what never was in force is not in the history')
    }
    assert.equal((await visit(product.url).request('/hub/login')).status, 200)
  }
  assert.ok(isFull)
})

test('people are added whole, or it is said that there is no room', async () => {
  for (const [index, room] of [0, 8, 16, 256].entries()) {
    await fill(state, room)
    await fill(config, room)
    const name = `late${index}`
    const { code, stdout, stderr } = await tljhTs('user', 'add', name)
    const { stdout: yaml } = await product.host.run(['cat', `${config}/config.yaml`])
    if (code === 0) assert.match(stdout, /code: +\S+/)
    else assert.match(stderr, /no room|disk is full/)
    assert.equal(yaml.includes(name), code === 0, `${room} KB: ${stdout}${stderr}`)
    assert.doesNotMatch(stderr, /\n {4}at /, 'no stack trace')
  }

  await sh(`rm ${state}/fill ${config}/fill; echo 'username\neve' >/srv/class.csv
    mkdir /srv/full; mount -t tmpfs -o size=4k none /srv/full; head -c 4096 /dev/zero >/srv/full/fill`)
  const { stdout, stderr } = await tljhTs(
    'user',
    'import',
    '/srv/class.csv',
    '--yes',
    '--sheet',
    '/srv/full/sheet.html',
  )
  assert.match(stdout, /^eve +eve +\w+-\w+-\w+$/m, 'a code is shown though there is no room for the sheet')
  assert.match(stderr, /could be written\n +why: there is no room/)
  await sh('test ! -e /srv/full/sheet.html; umount /srv/full')
})

test('an account for somebody new is made whole or not at all, and the page says why not', async () => {
  const cases = [
    { place: '/home', size: '32k' },
    { place: '/etc', size: '32m' },
  ]
  for (const [index, { place, size }] of cases.entries()) {
    const name = `new${index + 4}`
    const passwords = await product.host.run(['cat', '/etc/passwd'])
    await sh(`mkdir -p /srv/copy; mount -t tmpfs -o size=${size} none /srv/copy
      ${place === '/etc' ? 'cp --archive /etc/. /srv/copy' : ''}
      cat /dev/zero >/srv/copy/fill 2>/dev/null || true
      mount --bind /srv/copy ${place}; umount /srv/copy`)
    const newcomer = await logIn(name)
    await assert.rejects(newcomer.startServer(), /disk is full[\s\S]*Ask your teacher/)
    assert.equal((await product.host.run(['sh', '-c', `ls -a /home | grep tljh-new || true`])).stdout, '')
    const after = await product.host.run(['cat', '/etc/passwd'])
    assert.ok(after.stdout.startsWith(passwords.stdout), 'nobody else’s account is lost')
    await sh(`rm ${place}/fill`)
    await newcomer.startServer()
    await sh(`systemctl stop tljh-user-${name}.service; umount --lazy ${place}`)
  }
})

test('with no byte left hub and spawner start, people log in, start servers, delete files and log out', async () => {
  await fill(state)
  await fill(config)
  const bob = await logIn('bob')

  await sh('systemctl kill --signal=KILL tljh-hub tljh-spawner')

  assert.ok(await isIn(bob), 'a session that was begun on the full disk outlives the hub')
  const ann = await logIn('ann')
  await ann.post('/hub/stop')
  for await (const event of ann.progress('ann')) if (event.failed) break
  await ann.startServer()
  await product.host.run(['sh', '-c', 'echo big >/home/jupyter-ann/big'])
  assert.equal((await ann.jupyter('DELETE', 'api/contents/big')).status, 204)
  await logsOutForGood(bob)
})

test('a database without any room keeps sessions in memory, and says of a password that it was not saved', async () => {
  const { stdout } = await tljhTs('user', 'invite', 'new0')
  const code = /code: +(\S+)/.exec(stdout)?.[1] ?? ''
  assert.notEqual(code, '', stdout)
  // Its room is gone, as where a file system writes each block to a new place.
  await sh(`systemctl stop tljh-hub; tljh-ts user invite new1 >/dev/null; test ! -e ${state}/hub.sqlite-wal`)
  await fill(state)
  await sh('systemctl start tljh-hub')
  await said(product.host, 'tljh-hub', /no room to set aside/)

  assert.ok(await isIn(await logIn('bob')))
  const newcomer = visit(product.url)
  await newcomer.request(`/hub/welcome?${new URLSearchParams({ user: 'new0', code })}`)
  const typed = { username: 'new0', code, password: studentPassword, repeated: studentPassword }
  const refused = await newcomer.post('/hub/welcome', typed)
  assert.equal(refused.status, 503)
  assert.match(refused.body, /Your password was not saved[\s\S]*disk is full[\s\S]*Ask your teacher[\s\S]*still works/)
  const first = visit(product.url)
  const claim = await first.logIn('new2', studentPassword)
  assert.match(claim.body, /could not be saved[\s\S]*disk is full[\s\S]*ask your teacher/)

  await sh(`rm ${state}/fill`)
  assert.equal((await newcomer.post('/hub/welcome', typed)).status, 302)
  await logIn('new2')
})

test('with no room for what SQLite shares with other processes, nor for another file, likewise', async () => {
  await sh(`systemctl stop tljh-hub; rm ${state}/hub.sqlite-shm`)
  await fill(state)
  await sh(`mount -o remount,nr_inodes=$(find ${state} | wc -l) ${state}; ! touch ${state}/one-more 2>/dev/null`)
  await sh('systemctl start tljh-hub')

  await logsOutForGood(await logIn('bob'))
  const { stderr } = await tljhTs('user', 'passwd', 'ann')
  assert.match(stderr, /on a full disk the hub keeps it for itself/)
})

test('a database that is damaged is a page that says so, for people, programs and status, until it is mended', async () => {
  await sh(`systemctl stop tljh-hub; cp --archive ${state}/hub.sqlite /root; rm -f ${state}/hub.sqlite-*
    head -c 65536 /dev/urandom | dd of=${state}/hub.sqlite conv=notrunc 2>/dev/null; systemctl start tljh-hub`)

  const page = await visit(product.url).request('/user/ann/lab')
  assert.equal(page.status, 503)
  assert.match(page.body, /out of service[\s\S]*database[\s\S]*Tell your teacher/)
  assert.doesNotMatch(page.body, /sudo|hub\.sqlite/)
  const health = await visit(product.url).request('/hub/health', { headers: { accept: '*/*' } })
  assert.deepEqual([health.status, JSON.parse(health.body).code], [503, 'OUT_OF_SERVICE'])
  const { code, stdout } = await tljhTs('status')
  assert.equal(code, 1)
  assert.match(stdout, /(✖|!) \d+ MB of 16 MB are free on the disk of \/opt\/tljh\/state/)
  assert.match(
    stdout,
    /✖ the hub at \S+ lets nobody in\n +why: its database can’t be used.*\n.*hub\.sqlite.*\n.*not a database/,
  )

  await sh(`cp --archive /root/hub.sqlite ${state}/hub.sqlite.whole; mv ${state}/hub.sqlite.whole ${state}/hub.sqlite`)
  await said(product.host, 'tljh-hub', /^ready/, { after: await lastDamage() })
  await logIn('bob')
})

/** Where the journal stood when the hub found the damage. */
async function lastDamage(): Promise<string> {
  const { stdout } = await product.host.run([
    'journalctl',
    '-u',
    'tljh-hub',
    '-g',
    'not a database',
    '-n',
    '1',
    '--show-cursor',
    '-q',
  ])
  return /-- cursor: (.*)/.exec(stdout)?.[1] ?? ''
}

/** What happened, why, and what to do, with a place on the disk. */
function isSaid({ call, place, code, stderr }: Refused): void {
  assert.equal(code, 1, `${call} at ${place}`)
  assert.match(stderr, /^.+\n {2}why: .*(no room|ENOSPC).*\n {2}what to do: .*[Mm]ake room/m, `${call} at ${place}`)
  assert.match(stderr, /(^|[\s('])\/\w+/m)
}

test('somebody is deleted whole, with one archive, whichever write is refused', async () => {
  const name = newcomers[7] ?? ''
  const archiveNames = async () => (await product.host.run(['ls', '-A', '/opt/tljh/archives'])).stdout
  await (await logIn(name)).startServer()
  await sh(`echo thesis >/home/jupyter-${name}/thesis.txt`)
  const refusals = await commandAtEachWrite(
    product.host,
    ['user', 'delete', name, '--yes'],
    async refused => {
      isSaid(refused)
      const { stdout: inRun } = await product.host.run(['ls', '/run/tljh'])
      assert.doesNotMatch(inRun, /owner-/)
      assert.equal(await archiveNames(), '')
      await sh(`getent passwd jupyter-${name}; cat /home/jupyter-${name}/thesis.txt`)
    },
    { except: /config\/change\/lock\.ts/ },
  )
  assert.ok(refusals.length > 5, JSON.stringify(refusals))
  assert.match(await archiveNames(), new RegExp(`^${name}-[\\d-]+\\.tar\\.zst\\n$`))
  await sh(`! getent passwd jupyter-${name}; ! test -e /home/jupyter-${name}`)
})

test('a backup is there whole or not at all, whichever write is refused, and the ones before it are as they were', async () => {
  const backups = '/opt/tljh/backups'
  const listing = async () =>
    (await product.host.run(['sh', '-c', `cd ${backups}; find . -type f | sort | xargs -r sha256sum`])).stdout
  await sh(`${TLJH_TS.join(' ')} backup --include-homes`)
  let before = await listing()
  let last = ''
  const refusals = await commandAtEachWrite(product.host, ['backup', '--include-homes', '--json'], async refused => {
    const now = await listing()
    if (refused.stdout === '') {
      isSaid(refused)
      assert.notEqual(refused.code, 0)
      assert.equal(now, before)
    } else {
      const { file, homes } = JSON.parse(refused.stdout) as { file: string; homes: { problem?: string }[] }
      last = file
      if (homes.some(({ problem }) => problem !== undefined))
        assert.match(refused.stderr, /is not in it: .*ENOSPC|no homes are in it: the disk became full/)
      else assert.match(refused.stderr, /the next backup has whole homes/)
    }
    before = now
    assert.equal(
      (await product.host.run(['sh', '-c', `ls -A ${backups} /opt/tljh/hub`])).stdout.match(/\.new|\.state|part/),
      null,
    )
  })
  assert.ok(refusals.length > 10, JSON.stringify(refusals))
  const readBack = await tljhTs('restore', last, '--dry-run')
  assert.equal(readBack.code, 0, readBack.stderr)
})

test('a restore that is refused one write after the other ends where one ends that is not', async () => {
  const { stdout } = await product.host.run([...TLJH_TS, 'backup', '--include-homes', '--json'])
  const { file } = JSON.parse(stdout) as { file: string }
  const read = async () => (await product.host.run(['cat', `${config}/config.yaml`])).stdout
  const configBefore = await read()
  await sh(`${TLJH_TS.join(' ')} config set branding.title Changed; echo changed >/home/jupyter-ann/changed.txt`)
  const refusals = await commandAtEachWrite(
    product.host,
    ['restore', file, '--yes'],
    async refused => {
      isSaid(refused)
      const { stdout: litter } = await product.host.run([
        'sh',
        '-c',
        `find /opt/tljh -name '*.new' -o -name '*.part' -o -name '.new-*'`,
      ])
      assert.equal(litter, '')
      assert.match(await read(), /^users:/m)
      await sh('getent passwd jupyter-ann; test -d /home/jupyter-ann')
    },
    { except: /config\/change\/lock\.ts|backup\/(backup|bounded-copy|archive\.ts:56)|state-copy|one-at-a-time/ },
  )
  assert.ok(refusals.length > 8, JSON.stringify(refusals))
  assert.equal(await read(), configBefore)
  await sh(
    '! test -e /home/jupyter-ann/changed.txt; ! test -e /opt/tljh/restoring; ls -d /home/jupyter-ann.before-restore-*',
  )
  await logIn('ann')
})
