/** Accounts of the machine as a way in: real accounts, real PAM, and their own homes. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { startKernel } from '../../harness/people/kernel.ts'
import { type Visitor, visit } from '../../harness/people/visitor.ts'
import { bootProduct, type Product } from '../../harness/product/product.ts'

const password = 'correct horse battery'
const named = [
  'gil',
  'ann',
  'bob',
  'lock',
  'old',
  'must',
  'robot',
  'shut',
  'none',
  'empty',
  'zoe',
  'root',
  'jupyter-eve',
]
const configFile = '/opt/tljh/config/config.yaml'

let product: Product

function config(auth: string): string {
  return `users:\n  admin: [admin]\n  allowed: [${named}]\n  banned: [bad]\nauth:\n${auth}`
}
const both = '  type: [pam, firstuse]\n  FirstUseAuthenticator: {claim_named_users: true}\n'

before(async () => {
  product = await bootProduct({ config: config(both) })
  for (const name of ['ann', 'bob', 'lock', 'old', 'must', 'shut', 'bad', 'stranger', 'jupyter-eve'])
    await addAccount(name)
  await addAccount('robot', ['--system'])
  await product.host.run(['mkdir', '--parents', '/srv/homes'])
  await addAccount('gil', ['--home-dir=/srv/homes/gil'])
  const { host } = product
  await host.run(['useradd', '--create-home', '--shell=/bin/bash', 'empty'])
  await host.run(['passwd', '--delete', 'empty'])
  await host.run(['useradd', '--create-home', '--shell=/bin/bash', 'none'])
  await host.run(['usermod', '--lock', 'lock'])
  await host.run(['chage', '--expiredate', '2020-01-01', 'old'])
  await host.run(['chage', '--lastday', '0', 'must'])
  await host.run(['usermod', '--shell=/usr/sbin/nologin', 'shut'])
  await host.run(['chpasswd'], { input: `root:${password}\n` })
})
after(() => product[Symbol.asyncDispose]())

async function addAccount(name: string, more: readonly string[] = []): Promise<void> {
  await product.host.run(['useradd', '--create-home', '--shell=/bin/bash', ...more, name])
  await product.host.run(['chpasswd'], { input: `${name}:${password}\n` })
}

async function enter(name: string, typed = password): Promise<Visitor> {
  const visitor = visit(product.url)
  const { status, body } = await visitor.logIn(name, typed)
  assert.equal(status, 302, body)
  return visitor
}

/** What the hub says to a login that fails: the whole page, but for the name that was typed and the token of the form. */
async function refusal(name: string, typed: string): Promise<string> {
  const { status, body } = await visit(product.url).logIn(name, typed)
  assert.equal(status, 403, `${name} with ${JSON.stringify(typed)}: ${status}`)
  return body.replace(/ value="[^"]*"/g, '')
}

/** What root's program answers to such bytes, and after how many milliseconds. */
async function asked(bytes: string): Promise<{ answer: string; ms: number }> {
  const code = `
import socket, sys, time
start = time.monotonic()
door = socket.socket(socket.AF_UNIX)
door.connect('/run/tljh/pam.sock')
try:
    door.sendall(sys.stdin.buffer.read())
    door.shutdown(socket.SHUT_WR)
except OSError:
    pass
try:
    answer = door.recv(64).decode()
except ConnectionError:
    answer = ''
print(answer.strip() or 'nothing', int((time.monotonic() - start) * 1000))
`
  const { stdout } = await product.host.run(['python3', '-c', code], { user: 'tljh-hub', input: bytes })
  const [answer = '', ms = ''] = stdout.trim().split(' ')
  return { answer, ms: Number(ms) }
}

async function stop(visitor: Visitor, name: string): Promise<void> {
  await visitor.post('/hub/stop')
  for await (const event of visitor.progress(name)) if (event.failed) break
}

async function setConfig(text: string): Promise<void> {
  await product.host.writeFile(configFile, text, { mode: 0o640, group: 'tljh-hub' })
  await product.host.run(['tljh-ts', 'config', 'reload'])
}

test('an account of the machine logs in with its own password, and works in its own home', async () => {
  const { host } = product
  await host.run(['chmod', '755', '/home/ann'])
  const ann = await enter('ann')
  await ann.startServer()
  using kernel = await startKernel(ann, 'ann')
  const { text } = await kernel.run(
    'import os; open("made.txt", "w").write("hers"); print(os.getcwd(), os.environ["HOME"])',
  )
  assert.match(text, /^\/home\/ann \/home\/ann\b/)
  assert.match((await host.run(['stat', '--format=%U %G', '/home/ann/made.txt'])).stdout, /^ann ann$/m)
  assert.match(
    (await host.run(['stat', '--format=%a', '/home/ann'])).stdout,
    /^755$/m,
    'the home is as its owner wants it',
  )
  assert.match((await host.run(['id', '--name', '--groups', 'ann'])).stdout, /^ann$/m, 'in no group of the hub’s')
  assert.notEqual((await host.run(['getent', 'passwd', 'jupyter-ann'], { check: false })).code, 0)
  const inSandbox = await kernel.run('print(os.listdir("/home"), os.path.exists("/run/tljh/pam.sock"))')
  assert.match(inSandbox.text, /^\['ann'\]/, 'and sees no other home')
  const door = await kernel.run('import socket; socket.socket(socket.AF_UNIX).connect("/run/tljh/pam.sock")')
  assert.equal(door.error, 'PermissionError')
  await stop(ann, 'ann')
})

test('a home that is elsewhere is as good, and as hidden from others', async () => {
  const { host } = product
  await host.run(['chmod', '755', '/srv/homes/gil'])
  const gil = await enter('gil')
  await gil.startServer()
  using gils = await startKernel(gil, 'gil')
  assert.equal((await gils.run('open("made.txt", "w").write("his")')).error, '')
  assert.match((await host.run(['stat', '--format=%U', '/srv/homes/gil/made.txt'])).stdout, /^gil$/m)
  assert.match((await gils.run('import os; print(os.listdir("/home"))')).text, /^\[\]/)
  const ann = await enter('ann')
  await ann.startServer()
  using anns = await startKernel(ann, 'ann')
  assert.equal((await anns.run('open("/srv/homes/gil/made.txt").read()')).error, 'PermissionError')
  await stop(ann, 'ann')
  await stop(gil, 'gil')
})

test('whoever cannot log in there is refused in the same words, whatever the reason', async t => {
  const attempts: [string, string][] = [
    ['bob', 'wrong password'],
    ['lock', password],
    ['old', password],
    ['must', password],
    ['none', password],
    ['robot', password],
    ['shut', password],
    ['root', password],
    ['stranger', password],
    ['bad', password],
    ['nobody', password],
    ['ghost', password],
    ['bob', ''],
    ['jupyter-eve', 'short but long enough'],
  ]
  t.after(() => setConfig(config(both)))
  // Some of them have no account there, so another way would let them choose a password.
  await setConfig(config('  type: pam\n'))
  const pages = new Set<string>()
  for (const [name, typed] of attempts) pages.add(await refusal(name, typed))
  pages.add(await refusal('empty', ''))
  pages.add(await refusal('empty', 'anything'))
  assert.equal(pages.size, 1)
})

test('each refusal takes a second, and only one whole question is answered', async () => {
  for (const name of ['bob', 'lock', 'old', 'robot', 'root', 'ghost', 'stranger']) {
    const { answer, ms } = await asked(`${name}\0wrong\0`)
    assert.equal(answer, 'no', name)
    assert.ok(ms >= 1000, `${name}: ${ms} ms`)
  }
  assert.equal((await asked(`bob\0${password}\0`)).answer, 'yes')
  for (const bytes of [
    '',
    'bob',
    `bob\0${password}`,
    `bob\0${password}\0more`,
    `bob\n\0${password}\0`,
    `../bob\0${password}\0`,
    `root\0${password}\0`,
    `jupyter-eve\0${password}\0`,
    'empty\0\0',
    `empty\0${'x'.repeat(511)}\0`,
    `bob\0${'x'.repeat(100_000)}\0`,
  ]) {
    assert.notEqual((await asked(bytes)).answer, 'yes', JSON.stringify(bytes.slice(0, 40)))
  }
})

test('the program that asks PAM can do nothing else, and leaves no password behind', async () => {
  const { host } = product
  assert.equal((await host.run(['stat', '--format=%U %G %a', '/run/tljh/pam.sock'])).stdout.trim(), 'root tljh-hub 660')
  const { stdout } = await host.run(['journalctl', '--no-pager', '--output=json'])
  assert.ok(!stdout.includes(password))
  assert.match(stdout, /"MESSAGE":"bob: yes"/)
  const { code } = await host.run(
    ['python3', '-c', 'import socket; socket.socket(socket.AF_UNIX).connect("/run/tljh/pam.sock")'],
    {
      user: 'stranger',
      check: false,
    },
  )
  assert.notEqual(code, 0)
})

test('no other way in leads to a name that is an account of the machine', async () => {
  const { host } = product
  // zoe has no account, and first use lets her choose a password; bob has one, and it does not.
  const zoe = await enter('zoe', 'chosen at first use')
  assert.match(await refusal('bob', 'chosen by a thief'), /not right/)
  const { stdout: code } = await host.run(['tljh-ts', 'user', 'passwd', 'bob'], {
    input: 'the hub’s own password\n',
    check: false,
  })
  assert.doesNotMatch(code, /Traceback/)
  assert.match(await refusal('bob', 'the hub’s own password'), /not right/)
  await enter('bob')
  // When zoe gets an account on the machine, what she came by before counts no more.
  assert.equal((await zoe.request('/hub/home')).status, 200)
  await addAccount('zoe')
  assert.notEqual((await zoe.request('/hub/home')).status, 200)
  assert.match(await refusal('zoe', 'chosen at first use'), /not right/)
  await enter('zoe')
})

test('an administrator of the file has sudo in the own account, and no longer when the list says so', async () => {
  const { host } = product
  const groups = async () => (await host.run(['id', '--name', '--groups', 'bob'])).stdout.trim()
  await setConfig(config(both).replace('[admin]', '[admin, bob]'))
  const bob = await enter('bob')
  await bob.startServer()
  assert.equal(await groups(), 'bob jupyterhub-admins')
  await setConfig(config(both))
  assert.equal(await groups(), 'bob')
})

test('with allow_all, every account of the machine that can log in may enter, and no other', async t => {
  t.after(() => setConfig(config(both)))
  await setConfig(config('  type: pam\n  PAMAuthenticator: {allow_all: true}\n'))
  await enter('stranger')
  for (const name of ['robot', 'root', 'shut', 'bad', 'nobody', 'jupyter-eve']) await refusal(name, password)
})

test('a PAM that hangs keeps out nobody who comes by another way, and the others are told', async t => {
  const { host } = product
  const original = await host.readFile('/etc/pam.d/tljh-ts')
  const mend = () => host.writeFile('/etc/pam.d/tljh-ts', original)
  t.after(mend)
  await host.writeFile('/etc/pam.d/tljh-ts', 'auth required pam_exec.so /bin/sleep 1000\n')
  const visitor = visit(product.url)
  const [answer] = await Promise.all([visitor.logIn('ann', password), enter('admin', product.adminPassword)])
  assert.equal(answer.status, 503)
  assert.match(answer.body, /PAM/)
  await mend()
  await enter('ann')
  // Nothing is left of it: the last one ends a moment after its answer.
  const left = ['systemctl', 'list-units', '--all', '--plain', '--no-legend', 'tljh-pam@*']
  while ((await host.run(left)).stdout.trim() !== '') await delay(50)
})

test('forty people log in at once, and each gets an answer', async () => {
  const answers = await Promise.all(
    Array.from({ length: 40 }, async (_, index) => {
      const visitor = visit(product.url)
      const isAnn = index % 2 === 0
      const { status } = await visitor.logIn(isAnn ? 'ann' : `ghost${index}`, password)
      return isAnn ? status === 302 || status === 429 : status === 403
    }),
  )
  assert.ok(answers.every(Boolean))
})

test('without pam in auth.type, the accounts of the machine mean nothing', async () => {
  const { host } = product
  await setConfig(config('  type: firstuse\n  FirstUseAuthenticator: {claim_named_users: true}\n'))
  assert.match(await refusal('ann', 'short'), /characters/)
  const ann = await enter('ann', 'chosen at first use')
  await ann.startServer()
  assert.match((await host.run(['getent', 'passwd', 'jupyter-ann'])).stdout, /\/home\/jupyter-ann/)
})
