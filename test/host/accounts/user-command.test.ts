import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { type Visitor, visit } from '../../harness/people/visitor.ts'
import { bootProduct, choosePassword, INSTALL, type Product, TLJH_TS } from '../../harness/product/product.ts'

let product: Product
const password = 'correct horse battery'

before(async () => {
  product = await bootProduct({ config: '# The class\nusers:\n  allowed: []\n' })
})
after(() => product[Symbol.asyncDispose]())

async function user(...args: string[]): Promise<string> {
  const { stdout } = await product.host.run([...TLJH_TS, 'user', ...args])
  return stdout
}

async function refused(...args: string[]): Promise<string> {
  const { code, stderr } = await product.host.run([...TLJH_TS, 'user', ...args], { check: false })
  assert.equal(code, 1)
  return stderr
}

function codeIn(text: string): string {
  const code = /one-time code: (\S+)/.exec(text)?.[1]
  assert.ok(code, text)
  return code
}

async function mayLogIn(name: string, word = password): Promise<boolean> {
  return (await visit(product.url).logIn(name, word)).status === 302
}

async function comeIn(name: string): Promise<Visitor> {
  const visitor = visit(product.url)
  assert.equal((await visitor.logIn(name, password)).status, 302)
  return visitor
}

async function config(): Promise<string> {
  return product.host.readFile('/opt/tljh/config/config.yaml')
}

/** Somebody who was added and has chosen a password. */
async function welcome(...names: string[]): Promise<void> {
  const added = JSON.parse(await user('add', '--json', ...names)) as { user: string; code: string }[]
  for (const { user: name, code } of added) await choosePassword(product.url, name, code, password)
}

test('the installer gives the administrator a code that was used up, and no password', async () => {
  const again = await product.host.run([...INSTALL, '--admin', product.admin])
  assert.match(again.stdout, /password: \(as it was before\)/)
  assert.equal((await product.host.run(['stat', '--format=%U %a', '/opt/tljh/archives'])).stdout.trim(), 'root 700')
})

test('somebody who was added comes in with the code, once, and chooses a password', async () => {
  const text = await user('add', 'ann', '--group', 'ml')
  assert.match(text, /link|hub\/welcome\?user=ann&code=/)
  assert.match(await config(), /^# The class\n/)
  assert.match(await config(), /groups:\n {2}ml:\n {4}members:\n {6}- ann\n/)
  assert.match((await product.host.run([...TLJH_TS, 'config', 'log'])).stdout, /user add ann --group ml/)
  const code = codeIn(text)
  assert.equal(await mayLogIn('ann'), false)
  await choosePassword(product.url, 'ann', code, password)
  assert.equal(await mayLogIn('ann'), true)
  await assert.rejects(choosePassword(product.url, 'ann', code, 'another password'), /403/)
  assert.match(await user('add', 'ann'), /has a password/)
})

test('the database stays the hub’s', async () => {
  const { stdout } = await product.host.run(['sh', '-c', 'stat --format="%U %G" /opt/tljh/state/*'])
  assert.deepEqual([...new Set(stdout.trim().split('\n'))], ['tljh-hub tljh-hub'])
})

test('whoever has forgotten the password gets a new code, which makes the one before void', async () => {
  const first = codeIn(await user('invite', 'ann'))
  const second = codeIn(await user('invite', 'ann'))
  await assert.rejects(choosePassword(product.url, 'ann', first, 'another password'), /403/)
  assert.equal(await mayLogIn('ann'), true, 'the old password counts until then')
  await choosePassword(product.url, 'ann', second, password)
  assert.match(await refused('invite', 'nobody-we-know'), /may not enter[\s\S]*user add nobody-we-know/)
})

test('a password can be made at once, or given', async () => {
  const made = /password: (\S+)/.exec(await user('add', 'pia', '--password'))?.[1] ?? ''
  assert.equal(await mayLogIn('pia', made), true)
  await product.host.run([...TLJH_TS, 'user', 'passwd', 'pia'], { input: `${password}\n` })
  assert.equal(await mayLogIn('pia', made), false)
  assert.equal(await mayLogIn('pia'), true)
  const short = await product.host.run([...TLJH_TS, 'user', 'passwd', 'pia'], { input: 'short\n', check: false })
  assert.equal(short.code, 1)
  assert.match(short.stderr, /has 5 characters/)
})

test('the list says who there is', async () => {
  const people = JSON.parse(await user('list', '--json')) as { user: string; isAdmin: boolean; password: string }[]
  assert.deepEqual(
    people.map(({ user: name, isAdmin, password: has }) => [name, isAdmin, has]),
    [
      ['admin', true, 'set'],
      ['ann', false, 'set'],
      ['pia', false, 'set'],
    ],
  )
  assert.match(await user('list'), /^ann +yes, ml +password/m)
})

test('somebody who is shut out is out at once, and can be let in again', async () => {
  const ann = await comeIn('ann')
  await user('disable', 'ann')
  assert.equal((await ann.request('/hub/home')).status, 302)
  assert.equal(await mayLogIn('ann'), false)
  assert.match(await refused('add', 'ann'), /users.banned/)
  await user('enable', 'ann')
  assert.equal(await mayLogIn('ann'), true)
  assert.match(await refused('disable', 'admin'), /no administrator/)
})

test('a renamed person keeps password, files, user id, groups and limits', async () => {
  const { host } = product
  await welcome('old.name')
  await host.run([...TLJH_TS, 'config', 'set', 'limits.users."old.name".memory', '1G'])
  await (await comeIn('old.name')).startServer()
  await host.writeFile('/home/jupyter-old.name/work.txt', 'hours of it\n', { owner: 'jupyter-old.name' })
  const uid = (await host.run(['id', '-u', 'jupyter-old.name'])).stdout
  assert.match(await refused('rename', 'old.name', 'ann'), /taken/)
  assert.match(await user('rename', 'old.name', 'new.name'), /new\.name now/)
  assert.equal(await mayLogIn('old.name'), false)
  assert.equal((await host.run(['id', '-u', 'jupyter-new.name'])).stdout, uid)
  assert.notEqual((await host.run(['getent', 'passwd', 'jupyter-old.name'], { check: false })).code, 0)
  assert.match(await config(), /new\.name: \{memory: 1G\}/)
  assert.doesNotMatch(await config(), /old\.name/)
  await (await comeIn('new.name')).startServer()
  const owner = await host.run(['stat', '--format=%U %G', '/home/jupyter-new.name/work.txt'])
  assert.equal(owner.stdout.trim(), 'jupyter-new.name root')
  assert.match(await refused('rename', 'old.name', 'third'), /nobody here is called old\.name/)
})

test('a renaming that is killed at any moment is completed by the same command, and by no other', async () => {
  const { host } = product
  await welcome('r0')
  await (await comeIn('r0')).startServer()
  for (let round = 0; round < 6; round++) {
    const [from, to] = [`r${round}`, `r${round + 1}`]
    const killed = `timeout --signal=KILL 0.${3 + round * 1} ${TLJH_TS.join(' ')} user rename ${from} ${to}`
    await host.run(['sh', '-c', killed], { check: false })
    if ((await host.run(['test', '-e', '/opt/tljh/config/renaming.json'], { check: false })).code === 0) {
      assert.match(await refused('rename', 'pia', 'mia'), new RegExp(`user rename ${from} ${to}`))
    }
    const again = await host.run([...TLJH_TS, 'user', 'rename', from, to], { check: false })
    // The one before may have come to its end.
    if (again.code !== 0) assert.match(again.stderr, /nobody here is called/)
    assert.equal(await mayLogIn(to), true)
    assert.equal((await host.run(['stat', '--format=%U', `/home/jupyter-${to}`])).stdout.trim(), `jupyter-${to}`)
    assert.equal((await host.run(['id', '-gn', `jupyter-${to}`])).stdout.trim(), `jupyter-${to}`)
  }
  await (await comeIn('r6')).startServer()
})

test('only root may do it', async () => {
  await product.host.run(['useradd', 'eve'])
  const eve = await product.host.run([...TLJH_TS, 'user', 'list'], { user: 'eve', check: false })
  assert.equal(eve.code, 1)
  assert.match(eve.stderr, /sudo tljh-ts user list/)
})

test('what was done is in the audit log, with who did it', async () => {
  const { stdout } = await product.host.run(['journalctl', '--output=json', 'SYSLOG_IDENTIFIER=tljh-audit'])
  const entries = stdout
    .trim()
    .split('\n')
    .map(line => JSON.parse(line) as Record<string, string>)
  const has = (event: string, whom: string) =>
    entries.some(entry => entry.TLJH_EVENT === event && entry.TLJH_WHOM === whom && entry.TLJH_WHO === 'root')
  for (const [event, whom] of [
    ['account', 'ann'],
    ['code', 'ann'],
    ['password', 'pia'],
    ['account', 'new.name'],
  ] as const) {
    assert.ok(has(event, whom), `${event} ${whom}`)
  }
})

test('the page of people has the same people as the command, whatever they are known by', async () => {
  const { host } = product
  // One whom the file has forgotten, and whose account and password are there.
  await user('add', 'gone')
  await welcome('left')
  await (await comeIn('left')).startServer()
  await host.run([...TLJH_TS, 'config', 'remove-item', 'users.allowed', 'left'])
  const listed = (JSON.parse(await user('list', '--json')) as { user: string }[]).map(one => one.user)
  assert.ok(listed.includes('left') && listed.includes('gone'))
  const admin = visit(product.url)
  await admin.logIn(product.admin, product.adminPassword)
  const { body } = await admin.request('/hub/admin')
  const everybody = body.slice(body.indexOf('Everybody'))
  assert.deepEqual(
    [...everybody.matchAll(/<th scope="row">([^<]+)</g)].map(([, name]) => name),
    listed,
  )
  await host.run([...TLJH_TS, 'config', 'set', 'admins.open_servers', 'true'])
  await host.run([...TLJH_TS, 'config', 'set', 'admins.visit_port', '8081'])
  assert.equal((await admin.request('/hub/visit/left')).status, 200)
  assert.equal((await admin.request('/hub/visit/nobody-at-all')).status, 404)
})
