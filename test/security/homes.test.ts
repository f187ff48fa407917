/**
 * What a student prepares in the own home, or does at the right moment, for root to stumble over: root makes, closes, renames, archives
 * and removes homes (spawner/accounts). Nothing outside of the home may change or be read by that. More of
 * it, for archives: test/host/accounts/archive.test.ts.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, afterEach, before, test } from 'node:test'
import { type Visitor, visit } from '../harness/people/visitor.ts'
import { bootProduct, choosePassword, type Product, TLJH_TS } from '../harness/product/product.ts'

let product: Product
let untouched: string
const password = 'correct horse battery'

before(async () => {
  product = await bootProduct({ config: 'users:\n  allowed: []\n' })
  const { host } = product
  await student('ann')
  await host.writeFile('/srv/precious/file.txt', 'of root alone\n', { mode: 0o600 })
  await host.writeFile('/srv/precious/folder/file.txt', 'of root alone\n', { mode: 0o600 })
  await host.writeFile('/home/jupyter-ann/thesis.txt', 'of ann\n', { owner: 'jupyter-ann', mode: 0o600 })
  untouched = await outside()
})
after(() => product?.[Symbol.asyncDispose]())
afterEach(async () => assert.equal(await outside(), untouched, 'nothing outside has changed'))

/** Everything that is not the attacker's: modes, owners, contents. */
async function outside(): Promise<string> {
  const script = `
    stat --format='%n %U %G %a' / /etc /etc/passwd /etc/shadow /etc/group /root /home /srv /opt/tljh /opt/tljh/* /run/tljh /run/tljh/users /tmp
    ls -lAR --time-style=+ /srv/precious /home/jupyter-ann/thesis.txt
    stat --format='%n %U %G %a' /home/jupyter-ann /etc/skel; find /etc -perm -4000; find /etc /srv ! -user root
    cat /srv/precious/file.txt /srv/precious/folder/file.txt /home/jupyter-ann/thesis.txt`
  return (await product.host.run(['sh', '-c', script])).stdout
}

function run(...argv: string[]) {
  return product.host.run(argv, { check: false })
}

function as(name: string, script: string) {
  return product.host.run(['sh', '-c', script], { user: `jupyter-${name}`, check: false })
}

const user = (...args: string[]) => run(...TLJH_TS, 'user', ...args)

/** Somebody who has been here, and whose server does not run. */
async function student(name: string): Promise<Visitor> {
  const { stdout } = await product.host.run([...TLJH_TS, 'user', 'add', '--json', name])
  const code = (JSON.parse(stdout) as { code: string }[])[0]?.code ?? ''
  await choosePassword(product.url, name, code, password)
  const visitor = visit(product.url)
  assert.equal((await visitor.logIn(name, password)).status, 302)
  await visitor.startServer()
  await stop(visitor, name)
  return visitor
}

async function stop(visitor: Visitor, name: string): Promise<void> {
  await visitor.post('/hub/stop')
  for await (const _event of visitor.progress(name));
}

test('a student puts nothing in the way where root makes, renames and removes homes', async () => {
  await student('bob')
  for (const attempt of [
    ...[
      'mkdir /home/.tljh-new-jupyter-zoe',
      'ln -s /etc /home/.tljh-new-jupyter-zoe',
      'mkdir /home/.tljh-removed-jupyter-bob',
    ],
    ...[
      'ln -s /etc /home/jupyter-zoe',
      'mv /home/jupyter-bob /home/x',
      'ln -s /etc /home/.tljh-removed-jupyter-ann',
      'rmdir /home/jupyter-bob',
    ],
    ...[
      'touch /opt/tljh/archives/x',
      'ls /opt/tljh/archives',
      'ln -s /etc/shadow /opt/tljh/archives/.bob.part',
      'touch /run/tljh/accounts.lock',
    ],
    ...[
      'ls /run/tljh/users',
      'mkdir /run/tljh/users/zoe',
      'ln /etc/shadow /home/jupyter-bob/shadow',
      'ln /home/jupyter-ann/thesis.txt /home/jupyter-bob/x',
    ],
    ...[
      'ln /srv/precious/file.txt /home/jupyter-bob/x',
      'ln /usr/bin/passwd /home/jupyter-bob/passwd',
      'touch /opt/tljh/config/renaming.json',
    ],
    ...['flock --nonblock /run/tljh/accounts.lock true', 'mount --bind /etc /home/jupyter-bob'],
  ]) {
    assert.notEqual((await as('bob', attempt)).code, 0, attempt)
  }
})

test('a home full of links to elsewhere starts a server or does not, and touches nothing they lead to', async () => {
  const bob = visit(product.url)
  await bob.logIn('bob', password)
  for (const target of [
    '/srv/precious',
    '/etc',
    '/home/jupyter-ann',
    '/root',
    '/opt/tljh/state',
    '/dev/null',
    '/nonexistent',
  ]) {
    await as(
      'bob',
      `cd; rm -rf .jupyter .local .cache .config .ipython; for name in .jupyter .local .cache .config .ipython; do ln -s ${target} $name; done; chmod 777 .`,
    )
    await bob.post('/hub/spawn')
    for await (const _event of bob.progress('bob'));
    const { stdout } = await run('stat', '--format=%U %a', '/home/jupyter-bob')
    assert.equal(stdout.trim(), 'jupyter-bob 770', 'the home itself is closed, as at every start')
    await stop(bob, 'bob')
  }
  await as('bob', 'cd; rm -rf .jupyter .local .cache .config .ipython')
})

test('a home that becomes a link, a file or another’s between two starts is not taken for one', async () => {
  const bob = visit(product.url)
  await bob.logIn('bob', password)
  await stop(bob, 'bob')
  await run('mv', '/home/jupyter-bob', '/home/kept')
  for (const [make, undo] of [
    [
      ['ln', '-s', '/srv/precious', '/home/jupyter-bob'],
      ['rm', '/home/jupyter-bob'],
    ],
    [
      ['ln', '-s', '/home/jupyter-ann', '/home/jupyter-bob'],
      ['rm', '/home/jupyter-bob'],
    ],
    [
      ['ln', '-s', '/nonexistent', '/home/jupyter-bob'],
      ['rm', '/home/jupyter-bob'],
    ],
    [
      ['touch', '/home/jupyter-bob'],
      ['rm', '/home/jupyter-bob'],
    ],
    [
      ['mkfifo', '/home/jupyter-bob'],
      ['rm', '/home/jupyter-bob'],
    ],
    [
      ['mkdir', '--mode=0707', '/home/jupyter-bob'],
      ['rmdir', '/home/jupyter-bob'],
    ],
  ] as const) {
    assert.equal((await run(...make)).code, 0)
    const before = (await run('ls', '-ld', '--time-style=+', '/home/jupyter-bob')).stdout
    await bob.post('/hub/spawn')
    let end: string | undefined
    for await (const event of bob.progress('bob')) end = event.end?.why ?? (event.ready ? 'it runs' : end)
    assert.match(end ?? '', /home|folder|is not|does not exist/, make.join(' '))
    assert.equal((await run('ls', '-ld', '--time-style=+', '/home/jupyter-bob')).stdout, before)
    const left = await user('delete', 'bob', '--remove-home', '--yes', '--dry-run')
    assert.equal(left.code, 0)
    assert.equal((await run(...undo)).code, 0)
  }
  await run('mv', '/home/kept', '/home/jupyter-bob')
})

test('links that are exchanged while root renames a home lead nowhere', async () => {
  await student('cat')
  await as('cat', 'cd; mkdir -p a/b c; ln -s /srv/precious link; chmod 770 .')
  const swapper =
    'cd /home/jupyter-cat; echo racing; while :; do mv a x 2>/dev/null; ln -sfn /srv/precious a; rm -f a; mv x a 2>/dev/null; done'
  await using racing = await product.host.start(['sh', '-c', swapper], { user: 'jupyter-cat' })
  await once(racing.stdout, 'data')
  const busy = await user('rename', 'cat', 'dog')
  assert.notEqual(busy.code, 0, 'while somebody else is at work in it, it stays')
  await racing[Symbol.asyncDispose]()
  // What it had started may live a moment longer.
  await run('sh', '-c', 'while pkill --signal KILL --uid jupyter-cat; do sleep 0.05; done')
  assert.equal((await user('rename', 'cat', 'dog')).code, 0)
  assert.equal((await run('stat', '--format=%U %F', '/home/jupyter-dog')).stdout.trim(), 'jupyter-dog directory')
})

test('links that are exchanged while root removes a home lead nowhere', async () => {
  const { host } = product
  await student('eve')
  // So many that it takes a while to remove them.
  const trap =
    'cd; mkdir -p $(seq --format=d%g/e/f 2000); touch $(seq --format=d%g/e/f/x 2000); ln -s /srv/precious precious'
  await as('eve', trap)
  // A program that comes in after the look for processes, as by a login at the console: as soon as the home has its last name.
  const { stdout: uid } = await run('id', '--user', 'jupyter-eve')
  const removed = '/home/.tljh-removed-jupyter-eve'
  const swapper = `
    cd ${removed} && for round in 1 2 3; do
      for i in $(seq 100); do [ -e ${removed} ] || exit; mv d$i/e d$i/y; ln -s /srv/precious d$i/e; ln -s /srv d$i/f; done
    done 2>/dev/null`
  // Should the home be gone between two looks, there is nothing to race for any more.
  const waiting = `while [ -e /home/jupyter-eve ] && ! [ -e ${removed} ]; do :; done; exec setpriv --reuid=${uid.trim()} --clear-groups sh -c "$0"`
  await using racing = await host.start(['sh', '-c', waiting, swapper])
  let last = await user('delete', 'eve', '--remove-home', '--yes')
  await racing.ended
  if (last.code !== 0) last = await user('delete', 'eve', '--remove-home', '--yes')
  assert.equal(last.code, 0, last.stderr)
  assert.equal((await run('sh', '-c', 'ls -A /home | grep -c eve')).stdout.trim(), '0')
})

test('an archive holds nothing that its owner could not read, and its owner cannot change or read it', async () => {
  const { host } = product
  await student('fox')
  await as(
    'fox',
    'cd; ln -s /etc/shadow shadow; ln -s /srv/precious precious; ln -s /home/jupyter-ann ann; mkfifo pipe; touch "$(printf \'a\\nb\')" -- "--to-command=sh"',
  )
  const { code, stderr } = await user('archive', 'fox', '--yes')
  const done = code === 0 ? code : (await user('delete', 'fox', '--yes')).code
  assert.equal(done, 0, stderr)
  const { stdout: list } = await run('sh', '-c', 'ls -l --time-style=+ /opt/tljh/archives | grep fox')
  assert.match(list, /^-rw------- 1 root root .* fox-\d{4}-\d\d-\d\d\.tar\.zst\n$/)
  const script = `const { zstdDecompressSync } = require('zlib'); process.stdout.write(zstdDecompressSync(require('fs').readFileSync(process.argv[1])))`
  const archive = `/opt/tljh/archives/${list.trim().split(' ').at(-1)}`
  const content = await host.run([
    'sh',
    '-c',
    '"$0" -e "$1" "$2" | tar --extract --to-stdout --file=-',
    TLJH_TS[0] ?? '',
    script,
    archive,
  ])
  assert.doesNotMatch(content.stdout, /of root alone|^of ann$|^root:/m)
})
