import assert from 'node:assert/strict'
import { request } from 'node:http'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { type Visitor, visit } from '../../harness/people/visitor.ts'
import { bootProduct, choosePassword, type Product, TLJH_TS } from '../../harness/product/product.ts'

let product: Product
const password = 'correct horse battery'
const configFile = '/opt/tljh/config/config.yaml'
const archives = '/opt/tljh/archives'

before(async () => {
  product = await bootProduct({ config: 'users:\n  allowed: []\n' })
})
after(() => product[Symbol.asyncDispose]())

function run(...argv: string[]) {
  return product.host.run(argv, { check: false })
}

function user(...args: string[]) {
  return run(...TLJH_TS, 'user', ...args)
}

async function done(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await user(...args)
  assert.equal(code, 0, stdout + stderr)
  return stdout
}

async function refused(...args: string[]): Promise<string> {
  const { code, stderr } = await user(...args)
  assert.equal(code, 1)
  return stderr
}

async function isThere(path: string): Promise<boolean> {
  return (await run('test', '-e', path)).code === 0
}

async function hasAccount(name: string): Promise<boolean> {
  const found = await Promise.all(['passwd', 'group'].map(table => run('getent', table, `jupyter-${name}`)))
  return found.some(({ code }) => code === 0)
}

async function comeIn(name: string): Promise<Visitor> {
  const visitor = visit(product.url)
  assert.equal((await visitor.logIn(name, password)).status, 302)
  return visitor
}

/** Somebody who has worked here: with a server that runs, and a file. */
async function student(...names: string[]): Promise<void> {
  const added = JSON.parse(await done('add', '--json', ...names)) as { user: string; code: string }[]
  for (const { user: name, code } of added) {
    await choosePassword(product.url, name, code, password)
    await (await comeIn(name)).startServer()
    await product.host.writeFile(`/home/jupyter-${name}/thesis.txt`, `of ${name}\n`, { owner: `jupyter-${name}` })
    await run('chmod', '600', `/home/jupyter-${name}/thesis.txt`)
  }
}

/** What a hub that was taken over can say. */
function say(path: string): Promise<{ status: number; body: { code?: string; archive?: string; wasThere?: boolean } }> {
  const socketPath = join(product.host.rootPath, 'run/tljh/spawner.sock')
  return new Promise((resolve, reject) => {
    const call = request({ socketPath, method: 'POST', path, agent: false }, async response => {
      const chunks: Buffer[] = []
      for await (const chunk of response) chunks.push(chunk as Buffer)
      resolve({ status: response.statusCode ?? 0, body: JSON.parse(String(Buffer.concat(chunks))) })
    })
    call.on('error', reject)
    call.end()
  })
}

/** The names in an archive, by programs that are not ours. */
async function contentOf(archive: string): Promise<string> {
  const node = TLJH_TS[0] ?? ''
  const script = `process.stdout.write(require('zlib').zstdDecompressSync(require('fs').readFileSync(process.argv[1])))`
  const { stdout } = await product.host.run([
    'sh',
    '-c',
    '"$0" -e "$1" "$2" | tar --list --verbose --file=-',
    node,
    script,
    archive,
  ])
  return stdout
}

async function archiveOf(name: string): Promise<string> {
  const { stdout } = await run('sh', '-c', `ls -A ${archives} | grep '^${name}-'`)
  return join(archives, stdout.trim().split('\n').at(-1) ?? '')
}

test('somebody who is deleted is gone everywhere, and the home is an archive that root alone can read', async () => {
  await student('ann')
  const shown = await done('delete', 'ann', '--dry-run')
  assert.match(shown, /^ann +jupyter-ann +.* +ready +archived$/m)
  assert.ok(await hasAccount('ann'))
  assert.match(await refused('delete', 'ann'), /--yes/)
  assert.match(
    await done('delete', 'ann', '--yes'),
    /ann is deleted; the home is \/opt\/tljh\/archives\/ann-20\d\d-\d\d-\d\d\.tar\.zst/,
  )
  assert.equal(await hasAccount('ann'), false)
  assert.equal((await run('sh', '-c', 'ls -A /home')).stdout.trim(), '')
  assert.doesNotMatch(await product.host.readFile(configFile), /ann/)
  assert.equal((await run('systemctl', 'is-active', 'tljh-user-ann.service')).stdout.trim(), 'inactive')
  assert.equal((await visit(product.url).logIn('ann', password)).status, 403)
  assert.doesNotMatch(await done('list', '--json'), /"ann"/)
  const archive = await archiveOf('ann')
  assert.equal((await run('stat', '--format=%U %G %a', archive)).stdout.trim(), 'root root 600')
  assert.match(await contentOf(archive), /jupyter-ann\/thesis\.txt/)
  assert.equal((await run('sh', '-c', `ls -A ${archives}`)).stdout.trim().split('\n').length, 1, 'nothing else is left')
  assert.match(await refused('delete', 'ann', '--yes'), /nobody here is called ann/)
})

test('a name that comes back begins anew, and its second archive takes nothing from the first', async () => {
  await student('ann')
  await done('delete', 'ann', '--yes')
  assert.match(await archiveOf('ann'), /ann-20.*\.tar\.zst$/)
  assert.equal((await run('sh', '-c', `ls ${archives} | grep -c ^ann-`)).stdout.trim(), '2')
})

test('a home without an archive is removed only when that is said', async () => {
  await student('bob')
  assert.match(await done('delete', 'bob', '--remove-home', '--yes'), /with all files/)
  assert.equal(await hasAccount('bob'), false)
  assert.equal(await isThere('/home/jupyter-bob'), false)
  assert.equal((await run('sh', '-c', `ls ${archives} | grep -c ^bob-`)).stdout.trim(), '0')
})

test('nothing outside is touched by the links, long paths, odd names and foreign files of a home', async () => {
  const { host } = product
  await student('eve')
  await host.writeFile('/srv/precious/file.txt', 'not hers\n')
  const trap = `
    cd /home/jupyter-eve
    ln -s /srv/precious linked; ln -s /etc/passwd passwd; ln -s / root
    touch -- -rf '--checkpoint-action=exec=sh' "$(printf 'line\\nbreak')" "$(printf '\\377')"
    mkfifo pipe
    truncate --size=1T huge
    mkdir wide && cd wide && seq 20000 | xargs touch
  `
  await host.run(['sh', '-c', trap], { user: 'jupyter-eve' })
  // Five times deeper than a path can be long (PATH_MAX).
  const deep = 'import os\nos.chdir("/home/jupyter-eve")\nfor _ in range(100): os.mkdir("a" * 200); os.chdir("a" * 200)'
  await host.run(['python3', '-c', deep], { user: 'jupyter-eve' })
  await host.writeFile('/home/jupyter-eve/by-root.txt', 'from sudo\n', { mode: 0o644 })
  await done('delete', 'eve', '--yes')
  assert.equal(await isThere('/home/jupyter-eve'), false)
  assert.equal(await host.readFile('/srv/precious/file.txt'), 'not hers\n')
  assert.match(await host.readFile('/etc/passwd'), /^root:/)
  const content = await contentOf(await archiveOf('eve'))
  assert.match(content, /linked -> \/srv\/precious/)
  assert.doesNotMatch(content, /precious\/file\.txt/)
})

test('what its owner cannot read keeps the account, and the message says how it can be', async () => {
  await student('hal')
  await product.host.writeFile('/home/jupyter-hal/secret.txt', 'of root\n', { mode: 0o600 })
  const message = await refused('delete', 'hal', '--yes')
  assert.match(message, /secret\.txt/)
  assert.ok(await hasAccount('hal'))
  assert.equal((await visit(product.url).logIn('hal', password)).status, 403, 'but nobody is in')
  const mend = /sudo (chown --recursive \S+ \S+ \S+) && sudo (chmod \S+ \S+ \S+)/.exec(message)
  await product.host.run(['sh', '-c', `${mend?.[1]} && ${mend?.[2]}`])
  await done('delete', 'hal', '--yes')
  assert.match(await contentOf(await archiveOf('hal')), /secret\.txt/)
})

test('processes outside of the server, and what is mounted in a home, keep the account', async () => {
  const { host } = product
  await student('kim')
  {
    await using _left = await host.start(['sleep', '1000'], { user: 'jupyter-kim' })
    // It begins as root, and as a shell.
    await host.run(['sh', '-c', 'until pgrep --uid jupyter-kim --exact sleep; do sleep 0.1; done'])
    assert.match(await refused('delete', 'kim', '--yes'), /still has processes outside of the server: \d+ sleep/)
    assert.match(await refused('delete', 'kim', '--remove-home', '--yes'), /\d+ sleep/)
  }
  await host.run(['sh', '-c', 'mkdir /home/jupyter-kim/disk && mount -t tmpfs none /home/jupyter-kim/disk'])
  assert.match(await refused('delete', 'kim', '--remove-home', '--yes'), /mounted at \/home\/jupyter-kim\/disk/)
  assert.ok(await isThere('/home/jupyter-kim/thesis.txt'))
  await host.run(['umount', '/home/jupyter-kim/disk'])
  await done('delete', 'kim', '--yes')
})

test('a disk without room for the archive loses nothing', async () => {
  const { host } = product
  await student('lea')
  await host.run(['sh', '-c', `mount -t tmpfs -o size=4m,mode=0700 none ${archives}`])
  try {
    await host.run(['sh', '-c', 'head -c 20M /dev/urandom >/home/jupyter-lea/data'], { user: 'jupyter-lea' })
    const message = await refused('delete', 'lea', '--yes')
    assert.match(message, /no room for the archive: the files take \d+ MB, and \/opt\/tljh\/archives has \d MB left/)
    assert.equal((await run('sh', '-c', `ls -A ${archives}`)).stdout, '')
    assert.ok(await isThere('/home/jupyter-lea/data'))
  } finally {
    await host.run(['umount', archives])
  }
  await done('delete', 'lea', '--yes')
})

test('an account that the hub has not made is left alone', async () => {
  const { host } = product
  await done('add', 'mia', 'ned')
  await host.run(['useradd', '--create-home', '--home-dir=/srv/mia', 'jupyter-mia'])
  await host.run(['useradd', '--system', 'jupyter-ned'])
  assert.match(await refused('delete', 'mia', '--yes'), /its home is \/srv\/mia/)
  assert.match(await refused('delete', 'ned', '--yes'), /system account/)
  assert.ok(await hasAccount('mia'))
  await host.run(['useradd', '--create-home', 'olga'])
  await done('add', 'olga')
  assert.match(await done('delete', 'olga', '--yes'), /no account of the machine/)
  assert.ok(await isThere('/home/olga'))
})

test('a deletion that is killed at any moment is completed by the same command', async () => {
  const { host } = product
  for (let round = 0; round < 8; round++) {
    const name = `k${round}`
    await student(name)
    const command = [...TLJH_TS, 'user', 'delete', name, '--yes']
    await run('timeout', '--signal=KILL', `${0.35 + round * 0.12}`, ...command)
    const again = await run(...command)
    if (again.code !== 0) assert.match(again.stderr, /nobody here is called/)
    assert.equal(await hasAccount(name), false)
    assert.equal((await run('sh', '-c', `ls -A /home | grep -c ${name}`)).stdout.trim(), '0')
    assert.match(await contentOf(await archiveOf(name)), /thesis\.txt/)
  }
  assert.doesNotMatch((await host.run(['ls', '-A', archives])).stdout, /part/)
  // As it is when the account is gone and the tree is not.
  await host.run(['install', '-D', '--owner=4711', '/dev/null', '/home/.tljh-removed-jupyter-zed/big/file'])
  await done('delete', 'zed', '--yes')
  assert.equal(await isThere('/home/.tljh-removed-jupyter-zed'), false)
})

test('a semester is cleaned up by one command, which spares administrators and says first what it will do', async () => {
  await done('add', 'sem1', 'sem2', '--group', 'autumn')
  await student('sem3')
  await done('add', 'sem3', product.admin, '--group', 'autumn')
  const shown = await done('archive', '--group', 'autumn', '--dry-run')
  assert.match(shown, /^sem1[\s\S]*^sem2[\s\S]*^sem3/m)
  assert.doesNotMatch(shown, /admin/)
  await done('archive', '--group', 'autumn', '--yes')
  assert.equal(await hasAccount('sem3'), false)
  assert.match(await contentOf(await archiveOf('sem3')), /thesis\.txt/)
  assert.match(await product.host.readFile(configFile), /members:\s+- admin\n|members: \[ ?admin ?\]/)
  assert.match(await refused('archive'), /--group GROUP, --idle DAYS, --all/)
  assert.match(await refused('delete', product.admin, '--yes'), /no administrator/)
  assert.match(await done('archive', '--idle', '30', '--dry-run'), /nobody is meant/)
})

test('the spawner archives for the hub, but nobody whom the configuration lets in', async () => {
  await student('una')
  const early = await say('/users/una/archive')
  assert.deepEqual([early.status, early.body.code], [403, 'USER_STILL_ALLOWED'])
  await product.host.run([...TLJH_TS, 'config', 'remove-item', 'users.allowed', 'una'])
  const { status, body } = await say('/users/una/archive')
  assert.deepEqual([status, body.archive], [200, await archiveOf('una')], JSON.stringify(body))
  assert.match(await contentOf(body.archive ?? ''), /thesis\.txt/)
  assert.equal(await hasAccount('una'), false)
  assert.equal((await run('sh', '-c', 'ls -A /home | grep -c una')).stdout.trim(), '0')
  for (const name of ['root', 'tljh-hub', 'nobody']) {
    const answer = await say(`/users/${name}/archive`)
    assert.deepEqual([answer.status, answer.body.wasThere], [200, false], 'no account of ours')
  }
  assert.match(await product.host.readFile('/etc/passwd'), /^root:[\s\S]*^tljh-hub:/m)
  assert.equal((await say('/users/una/delete')).status, 404)
})

test('the spawner forgets temporary visitors and nobody else', async t => {
  await student('val')
  assert.equal((await say('/users/val/forget')).body.code, 'USER_NOT_TEMPORARY')
  await product.host.run([...TLJH_TS, 'config', 'add-item', 'users.allowed', 'tmp-abcd1234'])
  assert.equal(
    (await say('/users/tmp-abcd1234/forget')).body.code,
    'USER_NOT_TEMPORARY',
    'somebody whom the file names',
  )
  await product.host.run([...TLJH_TS, 'config', 'remove-item', 'users.allowed', 'tmp-abcd1234'])
  await product.host.run([...TLJH_TS, 'config', 'set', 'auth.type', '[firstuse, tmp]'])
  assert.equal((await say('/users/val/forget')).body.code, 'USER_NOT_TEMPORARY')
  const socket = join(product.host.rootPath, 'run/tljh/spawner.sock')
  const { connectSpawner } = await import('../../../spawner/client/client.ts')
  const spawner = connectSpawner(socket)
  t.after(() => spawner.close())
  const visitor = 'tmp-abcd1234' as Parameters<typeof spawner.start>[0]
  await spawner.start(visitor)
  assert.equal((await say(`/users/${visitor}/forget`)).body.code, 'SERVER_RUNS')
  const kind = async () => (await spawner.list()).find(server => server.user === visitor)?.kind
  while ((await kind()) === 'starting') await delay(50)
  assert.equal(await kind(), 'ready')
  await spawner.stop(visitor)
  while ((await kind()) === 'stopping') await delay(50)
  assert.equal(await kind(), undefined)
  const { status, body } = await say(`/users/${visitor}/forget`)
  assert.deepEqual([status, body.wasThere], [200, true], JSON.stringify(body))
  assert.equal(await hasAccount(visitor), false)
  assert.equal((await run('sh', '-c', `ls -A /home | grep -c tmp-`)).stdout.trim(), '0')
})

test('a server that refuses to stop is killed, keeps nobody else waiting, and no machine from a reboot', async () => {
  const { host } = product
  await student('rex')
  // In the main process: it takes no SIGTERM, and asks systemd for an hour more, again and again.
  const stubborn = `
import signal, socket, threading, time
def ask():
    while True:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            try: systemd.sendto(b"EXTEND_TIMEOUT_USEC=3600000000", "/run/systemd/notify")
            except OSError: pass
        time.sleep(0.5)
threading.Thread(target=ask, daemon=True).start()
install = signal.signal
signal.signal = lambda number, handler: install(number, signal.SIG_IGN if number in (signal.SIGTERM, signal.SIGINT) else handler)
`
  const state = async () => (await run('systemctl', 'is-active', 'tljh-user-rex')).stdout.trim()
  const makeStubborn = async (name: string) => {
    const write = ['sh', '-euc', 'umask 077; mkdir -p ~/.jupyter; cat >~/.jupyter/jupyter_server_config.py']
    await host.run(write, { user: `jupyter-${name}`, input: stubborn })
    const visitor = await comeIn(name)
    await visitor.post('/hub/stop')
    for await (const event of visitor.progress(name)) if (event.failed) break
    await visitor.startServer()
  }
  await makeStubborn('rex')

  const deletion = user('delete', 'rex', '--yes')
  while ((await state()) !== 'deactivating') await delay(20)
  assert.equal((await run('flock', '--nonblock', '/run/tljh/accounts.lock', 'true')).code, 0, 'others have their turn')
  const { code, stderr } = await deletion
  assert.equal(code, 0, stderr)
  assert.equal(await hasAccount('rex'), false)

  await student('sue')
  await makeStubborn('sue')
  // It has two minutes for that. The last test of this file, because it begins anew.
  await host.reboot()
})
