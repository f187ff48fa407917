import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { hashSync } from 'bcryptjs'
import { type UserName, unixName } from '../../../config/users/names.ts'
import { bootHost, type Host } from '../../harness/host/host.ts'
import { visit } from '../../harness/people/visitor.ts'
import { TLJH_TS } from '../../harness/product/product.ts'
import { commandAtEachWrite } from '../../harness/product/refusals.ts'

const [node = '', program = ''] = TLJH_TS
const password = 'old but gold'
/** TLJH cuts it to an account, as we do. */
const longName = 'firstname.lastname@uni.example' as UserName

/** As tljh-config leaves it. */
const config = `# our class
users:
  admin: [Lehrer]
  banned:
    - mallory
limits:
  memory: 600M
  cpu: 2
  gpu: 1
auth:
  type: firstuseauthenticator.FirstUseAuthenticator
  FirstUseAuthenticator:
    create_users: false
services:
  cull:
    timeout: 3600
traefik_api:
  port: 8099
`

/** Written by the machine's Python, as FirstUseAuthenticator writes it. */
const writeStore = `
import dbm, json, sys
with dbm.open('/opt/tljh/state/passwords.dbm', 'c', 0o600) as store:
    for name, value in json.load(sys.stdin).items():
        store[name] = value.encode()
    store[bytes([255, 254])] = b'junk'
`

let host: Host
before(async () => {
  host = await bootHost()
  await layTljh()
})
after(() => host.close())

async function layTljh(): Promise<void> {
  await host.run([
    'sh',
    '-euc',
    'mkdir -p /opt/tljh/hub/bin /opt/tljh/config/jupyterhub_config.d; install -d -m 700 /opt/tljh/state',
  ])
  await host.run(['ln', '-s', '/usr/bin/python3', '/opt/tljh/hub/bin/python3'])
  await host.writeFile('/opt/tljh/hub/pyvenv.cfg', 'home = /usr/bin\n')
  await host.writeFile('/opt/tljh/config/config.yaml', config, { mode: 0o600 })
  await host.writeFile('/opt/tljh/config/jupyterhub_config.d/extra.py', 'c.Spawner.debug = True\n')
  const unit = '[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n'
  for (const name of ['jupyterhub', 'traefik']) await host.writeFile(`/etc/systemd/system/${name}.service`, unit)
  await host.run(['systemctl', 'enable', '--now', '--quiet', 'jupyterhub', 'traefik'])
  await host.writeFile('/etc/sudoers.d/jupyterhub-admins', '%jupyterhub-admins ALL = (ALL) NOPASSWD: ALL\n', {
    mode: 0o440,
  })
  await host.run(['ln', '-s', '/opt/tljh/hub/bin/tljh-config', '/usr/bin/tljh-config'])
  const hash = hashSync(password, 10)
  const store = {
    lehrer: hash,
    ann: hashSync('not old enough', 4),
    bob: 'not a hash',
    mallory: hash,
    Ann: 'another',
    'a b': hash,
    [longName]: hash,
  }
  await host.run(['python3', '-c', writeStore], { input: JSON.stringify(store) })
  await host.writeFile('/opt/tljh/state/jupyterhub.sqlite', await database(), { mode: 0o600 })
  for (const [name, account] of [
    ['lehrer', 'jupyter-lehrer'],
    ['ann', 'jupyter-ann'],
    [longName, unixName(longName)],
  ] as const) {
    await host.run(['useradd', '--badname', '--create-home', account])
    await host.run(['chmod', 'o-rwx', `/home/${account}`])
    await host.writeFile(`/home/${account}/homework.txt`, `of ${name}\n`, { owner: account, mode: 0o600 })
  }
}

async function database(): Promise<Uint8Array> {
  const folder = await mkdtemp(join(tmpdir(), 'tljh-'))
  try {
    const file = join(folder, 'jupyterhub.sqlite')
    {
      using db = new DatabaseSync(file)
      db.exec('CREATE TABLE users (id INTEGER PRIMARY KEY, name VARCHAR(255), admin BOOLEAN, created DATETIME)')
      const add = db.prepare('INSERT INTO users (name, admin) VALUES (?, ?)')
      for (const name of ['lehrer', 'ann', 'bob', 'mallory', longName]) add.run(name, name === 'lehrer' ? 1 : 0)
    }
    return await readFile(file)
  } finally {
    await rm(folder, { recursive: true })
  }
}

function takeOver(...args: string[]) {
  return host.run([node, program, 'import-tljh', ...args], { check: false, timeoutMs: 300_000 })
}

async function storedHash(user: string): Promise<string> {
  const query = `const { DatabaseSync } = require('node:sqlite')
    const db = new DatabaseSync('/opt/tljh/state/hub.sqlite', { readOnly: true })
    console.log(db.prepare('SELECT hash FROM passwords WHERE user = ?').get(process.argv[1])?.hash)`
  return (await host.run([node, '--disable-warning=ExperimentalWarning', '-e', query, user])).stdout.trim()
}

test('the plan says what becomes of everybody and of every key, and changes nothing', async () => {
  const { code, stdout, stderr } = await takeOver('--dry-run')
  assert.equal(code, 0, stderr)
  assert.match(stdout, /^lehrer +administrator +keeps the password +\/home\/jupyter-lehrer$/m)
  assert.match(stdout, /^ann +may enter +keeps the password +\/home\/jupyter-ann$/m)
  assert.match(stdout, /^bob +may enter +no password +no home yet$/m)
  assert.match(stdout, /^mallory +banned /m)
  assert.match(stdout, /limits\.memory: as it is/)
  assert.match(stdout, /users\.admin\.0: "Lehrer" is written lehrer now/)
  assert.match(stdout, /limits\.gpu: left out: limits\.gpu is set; there is no such key/)
  assert.match(stdout, /traefik_api: .*no effect|traefik_api\.port: .*no effect/)
  assert.match(stdout, /extra\.py \(it configures JupyterHub or traefik\)/)
  assert.match(stdout, /a name that is no text \(fffe\)/)
  assert.match(stdout, /the password of bob is not kept as a bcrypt hash/)
  assert.match(stdout, /"a b" cannot be a user name here/)
  assert.match(stdout, /a second password for ann, under "Ann"/)
  assert.equal((await host.run(['systemctl', 'is-active', 'jupyterhub'])).stdout.trim(), 'active')
  assert.equal((await takeOver()).code, 1, 'nobody was there to say yes')
  const nowhere = await takeOver('--yes', '--requirements', '/root/nowhere.txt')
  assert.match(nowhere.stderr, /there is no file \/root\/nowhere\.txt, which --requirements names/)
  assert.equal((await host.run(['systemctl', 'is-active', 'jupyterhub'])).stdout.trim(), 'active')
})

test('sign-ups of NativeAuthenticator and the plainest kind of dbm are read as well, from any folder', async () => {
  const lay = `
import dbm.dumb, os, sqlite3, sys
os.makedirs('/srv/tljh/hub'); os.makedirs('/srv/tljh/state')
open('/srv/tljh/hub/pyvenv.cfg', 'w').close()
with dbm.dumb.open('/srv/tljh/state/passwords.dbm', 'c') as store:
    store['carl'] = sys.argv[1].encode()
with sqlite3.connect('/srv/tljh/state/jupyterhub.sqlite') as db:
    db.execute('CREATE TABLE users (name, admin)')
    db.execute('CREATE TABLE users_info (username, password BLOB, is_authorized)')
    db.execute('INSERT INTO users_info VALUES (?, ?, 1)', ('dora', sys.argv[1].encode()))
    db.execute('INSERT INTO users_info VALUES (?, ?, 0)', ('emil', sys.argv[1].encode()))
`
  await host.run(['python3', '-c', lay, hashSync(password, 4)])
  const { stdout, stderr } = await takeOver('--dry-run', '--from', '/srv/tljh', '--admin', 'dora')
  assert.match(stdout, /^carl +may not enter +keeps the password/m, stderr)
  assert.match(stdout, /^dora +administrator +keeps the password/m)
  assert.match(stdout, /"emil" has signed up and was not approved/)
  assert.match((await takeOver('--dry-run', '--from', '/srv/tljh')).stderr, /names an administrator/)
})

/** What somebody could put into a folder that is handed over. */
const handedOver = String.raw`
mkdir -p /srv/old/hub/bin /srv/old/config/jupyterhub_config.d /srv/old/state /srv/old/user/bin
printf '#!/bin/sh\nid >>/tmp/owned\necho "[]"\n' >/srv/old/hub/bin/python3
chmod 755 /srv/old/hub/bin/python3
for name in python python3 pip; do cp /srv/old/hub/bin/python3 /srv/old/user/bin/$name; done
printf 'users:\n  admin: [eve]\n' >/srv/old/config/config.yaml
touch /srv/old/config/jupyterhub_config.d/"$(printf 'a\033[2Jb.py')"
touch /srv/old/state/passwords.dbm /srv/old/hub/pyvenv.cfg
`

test('nothing of a folder that somebody handed over is run, and no link, pipe or giant in it is followed', async t => {
  t.after(() => host.run(['rm', '-rf', '/srv/old', '/tmp/owned']))
  await host.run(['bash', '-euc', handedOver])
  const from = ['--dry-run', '--from', '/srv/old']
  const empty = await takeOver(...from)
  assert.equal(empty.code, 1)
  assert.match(empty.stderr, /passwords\.dbm of TLJH could not be read/, 'a program of the machine has looked at it')
  await host.run(['rm', '/srv/old/state/passwords.dbm'])
  const { code, stdout, stderr } = await takeOver(...from)
  assert.equal(code, 0, stderr)
  assert.match(stdout, /^eve +administrator/m)
  assert.ok(stdout.includes('a?[2Jb.py'), 'a name moves no cursor')

  const config = '/srv/old/config/config.yaml'
  const asBefore = `rm ${config}; printf 'users: {admin: [eve]}' >${config}`
  for (const [what, make, undo, why] of [
    ['a link', `ln -sf /etc/shadow ${config}`, asBefore, /it is a link/],
    ['a pipe', `rm ${config}; mkfifo ${config}`, asBefore, /it is not a file/],
    ['a giant', `rm ${config}; truncate -s 1T ${config}`, asBefore, /more than 1 MB/],
    ['a pipe of passwords', 'mkfifo /srv/old/state/passwords.dbm', 'rm /srv/old/state/*', /it is not a file/],
    ['a folder elsewhere', 'mv /srv/old/state /srv/old/s; ln -s s /srv/old/state', 'rm /srv/old/state', /is a link/],
  ] as const) {
    await host.run(['bash', '-euc', make])
    const refused = await takeOver(...from)
    assert.equal(refused.code, 1, what)
    assert.match(refused.stderr, why, what)
    await host.run(['bash', '-euc', undo])
  }
  assert.notEqual((await host.run(['test', '-e', '/tmp/owned'], { check: false })).code, 0, 'a program of it ran')
})

test('a TLJH that cannot be stopped stays where it is, and what it changes meanwhile counts', async t => {
  const dropIn = '/etc/systemd/system/jupyterhub.service.d/no-stop.conf'
  t.after(async () => {
    await host.run(['rm', '-r', dropIn.replace(/\/[^/]*$/, '')])
    await host.run(['systemctl', 'daemon-reload'])
    await host.run(['python3', '-c', writeStore], { input: JSON.stringify({ ann: hashSync(password, 10) }) })
  })
  await host.writeFile(dropIn, '[Unit]\nRefuseManualStop=yes\n')
  await host.run(['systemctl', 'daemon-reload'])
  const { code, stderr } = await takeOver('--yes')
  assert.equal(code, 1)
  assert.match(stderr, /jupyterhub\.service cannot be stopped[\s\S]*sudo systemctl stop jupyterhub\.service/)
  await host.run(['test', '-e', '/opt/tljh/state/jupyterhub.sqlite'])
})

test('whichever write is refused, nothing of TLJH is lost on the way, and the same command goes on', async () => {
  const files = ['state/jupyterhub.sqlite', 'state/passwords.dbm', 'config/config.yaml', 'hub/pyvenv.cfg']
  const isKept = files.map(file => `test -e /opt/tljh/${file} || test -e /opt/tljh/before-import/${file}`).join('\n')
  // With it, the take-over ends where the installation begins.
  await using _other = await host.start(['python3', '-m', 'http.server', '80'])
  await host.run(['sh', '-c', 'until ss --listening --tcp --no-header "sport = :80" | grep -q .; do sleep 0.1; done'])

  const refusals = await commandAtEachWrite(
    host,
    ['import-tljh', '--yes'],
    async ({ call, place, code, stderr }) => {
      assert.equal(code, 1)
      assert.match(stderr, /^.+\n {2}why: .*no room.*\n {2}what to do: .*[Mm]ake room/m, `${call} at ${place}`)
      await host.run(['sh', '-euc', isKept])
      const { stdout: litter } = await host.run(['find', '/opt/tljh', '-name', '*.new'])
      assert.equal(litter, '')
    },
    { end: ({ stderr }) => assert.match(stderr, /port 80[\s\S]*give the same command again/) },
  )

  assert.ok(refusals.length > 6, JSON.stringify(refusals))
})

test('everybody logs in with the old password and finds the files; what was killed is completed', async () => {
  const child = await host.start([node, program, 'import-tljh', '--yes'])
  let said = ''
  for await (const chunk of child.stderr) {
    said += chunk
    // The installation has begun.
    if (said.length > 0) child.kill('SIGKILL')
  }
  await child.ended
  const options = ['--yes', '--no-progress-page', '--installed-packages', 'procps']
  let last = await takeOver(...options)
  // The installation that was left alone ends by itself.
  while (/is under way/.test(last.stderr)) {
    await delay(50)
    last = await takeOver(...options)
  }
  const { code, stdout, stderr } = last
  assert.ok(code === 0 || /SELF_TEST|self-test/i.test(stderr), stdout + stderr)
  assert.match(stdout, /A take-over of TLJH was cut off/)
  assert.doesNotMatch(stdout, /^one-time code:|link above/m, 'the administrator has a password')

  assert.match(await host.readFile('/opt/tljh/hub/changes.jsonl'), /"procps"/)
  const url = `http://${host.address}`
  assert.match(await storedHash('ann'), /^\$2b\$/)
  assert.equal((await visit(url).logIn('ann', 'wrong password')).status, 403)
  assert.match(await storedHash('ann'), /^\$2b\$/)
  const ann = visit(url)
  assert.equal((await ann.logIn('ann', password)).status, 302)
  assert.match(await storedHash('ann'), /^\$argon2id\$/)
  assert.equal((await visit(url).logIn('ann', password)).status, 302)
  await ann.startServer()
  assert.equal((await ann.jupyter('GET', 'api/contents/homework.txt')).status, 200)

  assert.match(await host.readFile('/etc/passwd'), /^jupyter-ann:[^:]*:\d+:\d+:JupyterHub user ann:/m)
  const long = visit(url)
  assert.equal((await long.logIn(longName, password)).status, 302)
  await long.startServer()
  assert.equal((await long.jupyter('GET', 'api/contents/homework.txt')).status, 200)

  const teacher = visit(url)
  assert.equal((await teacher.logIn('lehrer', password)).status, 302)
  assert.equal((await teacher.request('/hub/admin')).status, 200)
  assert.equal((await visit(url).logIn('mallory', password)).status, 403)
  assert.equal((await visit(url).logIn('bob', password)).status, 403)

  const yaml = await host.readFile('/opt/tljh/config/config.yaml')
  assert.match(yaml, /# our class/)
  assert.match(yaml, /memory: 600M/)
  const kept = (await host.run(['find', '/opt/tljh/before-import'])).stdout
  for (const name of ['units/jupyterhub.service', 'state/jupyterhub.sqlite', 'config/config.yaml', 'hub/pyvenv.cfg']) {
    assert.ok(kept.includes(`/opt/tljh/before-import/${name}\n`), name)
  }
  assert.doesNotMatch(kept, /import\.json/)
  assert.match(
    (await host.run(['systemctl', 'list-unit-files', 'jupyterhub.service'], { check: false })).stdout,
    /^0 unit/m,
  )
})
