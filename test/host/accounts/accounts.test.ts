import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { type UserName, unixName } from '../../../config/users/names.ts'
import type { Host } from '../../harness/host/host.ts'
import { type Visitor, visit } from '../../harness/people/visitor.ts'
import { claiming } from '../../harness/product/classroom.ts'
import { bootProduct, type Product } from '../../harness/product/product.ts'

const longName = 'maximiliane.von-und-zu-hohenstein' as UserName
const configFile = '/opt/tljh/config/config.yaml'

let product: Product

function config({ admins = ['admin'], more = [] }: { admins?: string[]; more?: string[] } = {}): string {
  const allowed = ['ann', 'bob', 'cat', 'dan', 'eve', longName, ...more]
  return `users:\n  admin: [${admins}]\n  allowed: [${allowed}]\n${claiming}`
}

before(async () => {
  product = await bootProduct({ config: config() })
})
after(() => product[Symbol.asyncDispose]())

async function enter(name: string): Promise<Visitor> {
  const visitor = visit(product.url)
  assert.equal((await visitor.logIn(name, 'correct horse battery')).status, 302)
  return visitor
}

async function start(name: string): Promise<Visitor> {
  const visitor = await enter(name)
  await visitor.startServer()
  return visitor
}

async function groupsOf(account: string): Promise<string[]> {
  return (await product.host.run(['id', '--name', '--groups', account])).stdout.trim().split(' ').toSorted()
}

/** What the page says of a start that fails. */
async function failure(name: string): Promise<{ what: string; why: string; fix: string }> {
  const visitor = await enter(name)
  await visitor.post('/hub/spawn')
  for await (const event of visitor.progress(name)) if (event.failed && event.end) return event.end
  throw new Error('it did not fail')
}

test('the first start makes an account, with a private home from /etc/skel', async () => {
  const { host } = product
  await host.writeFile('/etc/skel/welcome.txt', 'hello\n')
  await start('ann')
  assert.match(
    (await host.run(['stat', '--format=%U %G %a', '/home/jupyter-ann'])).stdout,
    /^jupyter-ann jupyter-ann 700$/m,
  )
  assert.match((await host.run(['stat', '--format=%U', '/home/jupyter-ann/welcome.txt'])).stdout, /^jupyter-ann$/m)
  assert.deepEqual(await groupsOf('jupyter-ann'), ['jupyter-ann', 'jupyterhub-users'])
  assert.notEqual((await host.run(['sudo', '-n', 'true'], { user: 'jupyter-ann', check: false })).code, 0)
})

test('a home that others could read is closed at the next start', async () => {
  const { host } = product
  const ann = await enter('ann')
  await ann.post('/hub/stop')
  for await (const event of ann.progress('ann')) if (event.failed) break
  await host.run(['chmod', '755', '/home/jupyter-ann'])
  await ann.startServer()
  assert.equal((await host.run(['stat', '--format=%a', '/home/jupyter-ann'])).stdout.trim(), '750')
})

test('a name over 26 characters is cut, and given five digits of its hash, as TLJH does', async () => {
  await start(longName)
  const account = unixName(longName)
  assert.equal(account, 'jupyter-maximiliane.von-un-0d5b9'.slice(0, 27) + account.slice(27))
  assert.equal(account.length, 32)
  const { stdout } = await product.host.run(['getent', 'passwd', account])
  assert.match(stdout, new RegExp(`JupyterHub user ${longName}`))
})

test('an account that TLJH left is opened to its own name alone, and to none where a name is cut', async () => {
  const { host } = product
  // As TLJH makes them. The two long names were looked for, and are cut to one account.
  const [owner, other] = ['firstname.lastname@uni.example', 'firstname.lastname.88o4'] as [UserName, UserName]
  const account = unixName(owner)
  assert.equal(unixName(other), account)
  await host.run(['useradd', '--badname', '--create-home', account])
  await host.writeFile(`/home/${account}/secret.txt`, 'hers\n', { owner: account, mode: 0o600 })
  await host.run(['useradd', '--create-home', 'jupyter-fay'])
  await host.writeFile(configFile, config({ more: [owner, 'fay'] }), { mode: 0o640, group: 'tljh-hub' })

  const refused = await failure(owner)
  assert.match(refused.why, /does not say whose it is, and other long names are cut to the same 32 characters/)
  const mend = /sudo (usermod --comment '([^']+)' (\S+))$/.exec(refused.fix)
  await host.run(['usermod', '--comment', mend?.[2] ?? '', mend?.[3] ?? ''])
  const owning = await start(owner)
  assert.equal((await owning.jupyter('GET', 'api/contents/secret.txt')).status, 200)
  await start('fay')

  // Whoever may choose a name; the file cannot name both.
  await host.writeFile('/root/both.yaml', config({ more: [owner, other] }))
  const both = await host.run(['tljh-ts', 'config', 'apply', '/root/both.yaml', '--dry-run'], { check: false })
  assert.match(both.stdout + both.stderr, /that name and firstname\.lastname@uni\.example are cut to the same account/)
  const open = config({ more: [owner] }).replace(
    'claim_named_users: true',
    'claim_named_users: true, create_users: true',
  )
  await host.writeFile(configFile, open, { mode: 0o640, group: 'tljh-hub' })
  const end = await failure(other)
  assert.match(end.why, /belongs to firstname\.lastname@uni\.example/)
  const intruder = await enter(other)
  await intruder.post('/hub/stop')
  for await (const event of intruder.progress(other)) if (event.failed) break
  assert.equal((await owning.jupyter('GET', 'api/contents/secret.txt')).status, 200, 'nor can it end that server')
  const archived = await host.run(['tljh-ts', 'user', 'archive', other, '--yes'], { check: false })
  assert.notEqual(archived.code, 0)
  assert.equal((await owning.jupyter('GET', 'api/contents/secret.txt')).status, 200)

  // A home that is left without its account is not handed to whoever has such a name, either.
  await owning.post('/hub/stop')
  for await (const event of owning.progress(owner)) if (event.failed) break
  await host.run(['userdel', account])
  assert.match((await failure(other)).why, /is there without an account/)
  await host.writeFile(configFile, config(), { mode: 0o640, group: 'tljh-hub' })
})

test('an administrator may use sudo in the server, and no longer when the list says so', async () => {
  const { host } = product
  await host.run(['tljh-ts', 'user', 'passwd', 'bob'], { input: 'correct horse battery\n' })
  await host.writeFile(configFile, config({ admins: ['admin', 'bob'] }), { mode: 0o640, group: 'tljh-hub' })
  const bob = await start('bob')
  assert.ok((await groupsOf('jupyter-bob')).includes('jupyterhub-admins'))
  assert.equal((await host.run(['sudo', '-n', 'id', '-un'], { user: 'jupyter-bob' })).stdout.trim(), 'root')

  await host.writeFile(configFile, config(), { mode: 0o640, group: 'tljh-hub' })
  // The server has rights that bob has no more, so it is stopped.
  await host.run(['sh', '-c', 'while systemctl is-active --quiet tljh-user-bob; do sleep 0.1; done'])
  await bob.startServer()
  assert.deepEqual(await groupsOf('jupyter-bob'), ['jupyter-bob', 'jupyterhub-users'])
  assert.notEqual((await host.run(['sudo', '-n', 'true'], { user: 'jupyter-bob', check: false })).code, 0)
})

test('a home that an earlier installation left is taken up, with its owner', async () => {
  const { host } = product
  await host.run(['mkdir', '/home/jupyter-cat'])
  await host.run(['chown', '4711:4711', '/home/jupyter-cat'])
  await host.writeFile('/home/jupyter-cat/thesis.txt', 'years of work\n', { owner: '4711' })
  await start('cat')
  assert.equal((await host.run(['id', '-u', 'jupyter-cat'])).stdout.trim(), '4711')
  assert.equal(
    (await host.run(['cat', '/home/jupyter-cat/thesis.txt'], { user: 'jupyter-cat' })).stdout,
    'years of work\n',
  )
})

test('a home that is somebody else’s is not handed over', async () => {
  const { host } = product
  await host.run(['install', '--directory', '--owner=root', '--mode=0700', '/home/jupyter-dan'])
  const end = await failure('dan')
  assert.match(end.why, /\/home\/jupyter-dan exists and belongs to root/)
  assert.match(end.fix, /sudo mv \/home\/jupyter-dan/)
  assert.notEqual((await host.run(['getent', 'passwd', 'jupyter-dan'], { check: false })).code, 0)
})

test('an account of the system that happens to have the name is not used', async () => {
  const { host } = product
  await host.run(['useradd', '--system', '--no-create-home', 'jupyter-eve'])
  const end = await failure('eve')
  assert.match(end.why, /system account/)
  assert.match(end.fix, /userdel jupyter-eve/)
})

/** Which of its runs it is: the one that was killed counts as active until systemd has heard of its end. */
async function spawnerRun(host: Host): Promise<string> {
  return (await host.run(['systemctl', 'show', '--value', '--property=InvocationID', 'tljh-spawner'])).stdout.trim()
}

test('a spawner that is killed while it makes accounts leaves none that cannot be made whole', async () => {
  const names = Array.from({ length: 20 }, (_, index) => `k${index}`)
  await using other = await bootProduct({ config: `users:\n  allowed: [${names}]\n${claiming}` })
  const { host, url } = other
  const students = await Promise.all(
    names.map(async name => {
      const student = visit(url)
      assert.equal((await student.logIn(name, 'correct horse battery')).status, 302)
      return student
    }),
  )
  for (const [index, student] of students.entries()) {
    await student.post('/hub/spawn')
    // At another moment of the work each time.
    await delay(index * 8)
    const killed = await spawnerRun(host)
    await host.run(['systemctl', 'kill', '--signal=KILL', 'tljh-spawner'])
    while (
      (await spawnerRun(host)) === killed ||
      (await host.run(['systemctl', 'is-active', 'tljh-spawner'], { check: false })).code !== 0 ||
      (await student.request('/hub/home')).status !== 200
    )
      await delay(50)
  }
  for (const [index, student] of students.entries()) {
    await student.startServer()
    const account = `jupyter-k${index}`
    assert.equal(
      (await host.run(['stat', '--format=%U %G %a', `/home/${account}`])).stdout.trim(),
      `${account} ${account} 700`,
    )
    await student.post('/hub/stop')
  }
})
