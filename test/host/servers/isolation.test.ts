import assert from 'node:assert/strict'
import { once } from 'node:events'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { makeGate, onStart } from '../../harness/people/held-starts.ts'
import { type Kernel, startKernel } from '../../harness/people/kernel.ts'
import { type Visitor, visit } from '../../harness/people/visitor.ts'
import { type Classroom, openClassroom } from '../../harness/product/classroom.ts'

/** Two students in one class. What bob tries, he tries with code of his own, in his own server. */
let classroom: Classroom
let ann: Visitor
let bob: Visitor
let kernel: Kernel

before(async () => {
  classroom = await openClassroom(undefined)
  ann = await classroom.student('ann')
  bob = await classroom.student('bob')
  kernel = await startKernel(bob, 'bob')
})
after(async () => {
  kernel[Symbol.dispose]()
  await classroom[Symbol.asyncDispose]()
})

/** The error that the code ends with, or what it printed. */
async function tryIt(code: string): Promise<string> {
  const { error, text } = await kernel.run(code)
  return error || text
}

test('a student sees no other home, and cannot read what is in one', async () => {
  assert.equal(await tryIt('import os; os.listdir("/home")'), "['jupyter-bob']")
  assert.equal(await tryIt('os.listdir("/home/jupyter-ann")'), 'FileNotFoundError')
  // Nor without the sandbox, as a plain process of that user.
  const { code } = await classroom.host.run(['ls', '/home/jupyter-ann'], { user: 'jupyter-bob', check: false })
  assert.notEqual(code, 0)
})

test('a student cannot reach the socket of another server, nor the spawner’s', async () => {
  const connect = (path: string) =>
    tryIt(`import socket; socket.socket(socket.AF_UNIX).connect(${JSON.stringify(path)})`)
  assert.equal(await connect('/run/tljh/users/ann/socket'), 'PermissionError')
  assert.equal(await connect('/run/tljh/spawner.sock'), 'PermissionError')
  assert.equal(await tryIt('os.listdir("/run/tljh/users")'), 'PermissionError')
  assert.equal(await connect('/run/tljh/users/bob/socket'), '', 'while the own one opens')
})

test('a student sees no process of others, and cannot signal one', async () => {
  const { stdout } = await classroom.host.run(['systemctl', 'show', '--value', '--property=MainPID', 'tljh-user-ann'])
  const owners = '{os.stat(f"/proc/{pid}").st_uid == os.getuid() for pid in os.listdir("/proc") if pid.isdigit()}'
  assert.equal(await tryIt(owners), '{True}')
  assert.match(await tryIt(`os.kill(${stdout.trim()}, 9)`), /PermissionError|ProcessLookupError/)
})

test('a student sees of the control groups only the own part, where names of users are', async () => {
  const listing =
    'import subprocess; print(subprocess.run(["find", "/sys/fs/cgroup"], capture_output=True, text=True).stdout)'
  const seen = await tryIt(listing)
  assert.match(seen, /tljh-user-bob\.service/)
  assert.doesNotMatch(seen, /tljh-user-ann/)
  assert.doesNotMatch(seen, /system\.slice/)
})

test('a student cannot read the configuration, the state or a password', async () => {
  for (const path of ['/opt/tljh/config/config.yaml', '/opt/tljh/state/hub.sqlite', '/etc/shadow']) {
    assert.equal(await tryIt(`open(${JSON.stringify(path)})`), 'PermissionError')
  }
})

test('a student cannot change the class environment, the hub’s code or the limits', async () => {
  for (const path of ['/opt/tljh/user/bin/python', '/opt/tljh/hub/current/tljh-ts.ts', '/etc/passwd']) {
    assert.match(await tryIt(`open(${JSON.stringify(path)}, "a")`), /PermissionError|OSError/)
  }
  assert.match(
    await tryIt('subprocess.run(["sudo", "-n", "true"], check=True)'),
    /CalledProcessError|FileNotFoundError/,
  )
})

test('a student cannot ask systemd for anything, nor see what it runs', async () => {
  assert.equal(
    await tryIt('import socket; socket.socket(socket.AF_UNIX).connect("/run/dbus/system_bus_socket")'),
    'PermissionError',
  )
  assert.match(await tryIt('print(subprocess.run(["systemctl", "list-units"], capture_output=True).returncode)'), /^1/)
})

test('what a server kept in shared memory goes with it', async () => {
  await tryIt('open("/dev/shm/kept", "wb").write(b"x" * 1024**2)')
  assert.equal((await classroom.host.run(['ls', '/dev/shm'])).stdout.includes('kept'), false)
})

test('a student cannot fill /run, where the sockets of all are', async () => {
  const fill = `
try:
    with open("/run/tljh/users/bob/filler", "wb") as file:
        for _ in range(1024): file.write(b"x" * 1024)
    print("written")
except OSError as error:
    print(error.strerror)
os.remove("/run/tljh/users/bob/filler")`
  assert.equal(await tryIt(fill), 'No space left on device\n')
})

test('a student’s server cannot lead the hub to another socket', async t => {
  // A WebSocket has a connection of its own; a request may travel on one that was opened before.
  const knock = async () => {
    const socket = bob.webSocket('/user/bob/api/kernels/none/channels')
    const [, response] = await once(socket, 'unexpected-response')
    return response.statusCode
  }
  assert.equal(await knock(), 404, 'the own server answers that there is no such kernel')
  t.after(() =>
    tryIt(
      'if os.path.exists("/run/tljh/users/bob/kept"): os.rename("/run/tljh/users/bob/kept", "/run/tljh/users/bob/socket")',
    ),
  )
  assert.equal(await tryIt('os.rename("/run/tljh/users/bob/socket", "/run/tljh/users/bob/kept")'), '')
  assert.equal(await tryIt('os.symlink("/run/tljh/users/ann/socket", "/run/tljh/users/bob/socket")'), '')
  assert.equal(await knock(), 503)
  assert.equal(await tryIt('os.rename("/run/tljh/users/bob/kept", "/run/tljh/users/bob/socket")'), '')
  assert.equal(await knock(), 404)
  assert.equal(await tryIt('os.link("/run/tljh/users/ann/socket", "/run/tljh/users/bob/x")'), 'PermissionError')
})

test('environment and command line of a server hold no secret', async () => {
  const { host } = classroom
  const { stdout: pid } = await host.run(['systemctl', 'show', '--value', '--property=MainPID', 'tljh-user-bob'])
  const environment = await host.readFile(join('/proc', pid.trim(), 'environ'))
  assert.doesNotMatch(environment, /token|secret|password/i)
  assert.doesNotMatch(await host.readFile(join('/proc', pid.trim(), 'cmdline')), /token=\S|password/i)
})

test('the page of another’s server is refused, in the same words as that of nobody’s', async () => {
  for (const path of ['lab', 'api/contents', 'files/x', 'api/kernels', '']) {
    const anns = await bob.request(`/user/ann/${path}`)
    const nobodys = await bob.request(`/user/zoe/${path}`)
    assert.equal(anns.status, 403)
    assert.equal(nobodys.status, 403)
    assert.equal(anns.body, nobodys.body)
  }
  for (const method of ['HEAD', 'OPTIONS', 'PUT', 'DELETE', 'PATCH', 'POST']) {
    assert.equal((await bob.request('/user/ann/api/contents', { method })).status, 403, method)
  }
  const progress = await bob.request('/hub/api/users/ann/server/progress')
  assert.equal(progress.status, 403)
})

test('no spelling of an address leads into another’s server', async () => {
  for (const path of [
    '/user/bob/../ann/api/contents',
    '/user/bob/%2e%2e/ann/api/contents',
    '/user/bob/..%2fann/api/contents',
    '/user/bob\\..\\ann/api/contents',
    '/user//ann/api/contents',
    '//user/ann/api/contents',
    '/user/./ann/api/contents',
    '/user/ANN/api/contents',
    '/USER/ann/api/contents',
    '/user/%61nn/api/contents',
    '/user%2Fann/api/contents',
    '/user/ann;x/api/contents',
    '/user/bob/%ff/../../ann/api/contents',
  ]) {
    const { status } = await bob.request(path)
    assert.ok([400, 403, 404].includes(status), `${path}: ${status}`)
  }
})

test('headers with which a visitor claims to be somebody else do not get through', async () => {
  const claims = { 'x-tljh-user': 'ann', 'X-Forwarded-User': 'ann', 'remote-user': 'ann', connection: 'x-tljh-user' }
  const { body } = await bob.request('/user/bob/api/me', { headers: claims })
  assert.equal((JSON.parse(body) as { identity: { username: string } }).identity.username, 'bob')
})

test('a WebSocket to another’s kernel is refused', async () => {
  const anns = await startKernel(ann, 'ann')
  const socket = bob.webSocket(`/user/ann/api/kernels/${anns.id}/channels`)
  const [, response] = await once(socket, 'unexpected-response')
  assert.equal(response.statusCode, 403)
  anns[Symbol.dispose]()
})

test('an open WebSocket ends with the session that opened it', async () => {
  const other = visit(classroom.url)
  await other.logIn('ann', 'correct horse battery')
  await other.request('/user/ann/lab')
  using open = await startKernel(other, 'ann')
  const closed = once(open.socket, 'close')
  const menu = { headers: { referer: `${classroom.url}/user/ann/lab` } }
  assert.equal((await other.request('/hub/logout', menu)).status, 302)
  await closed
  assert.equal((await other.request('/hub/home')).status, 302)
  assert.equal((await ann.request('/hub/home')).status, 200, 'and another session of the same student does not')
})

test('the progress of a start ends with the session that watches it, and nobody watches without end', async () => {
  const { host } = classroom
  const held = await makeGate(host, 'ann')
  await onStart(host, 'ann', held.wait)
  await ann.post('/hub/stop')
  for await (const _event of ann.progress('ann'));
  const other = visit(classroom.url)
  await other.logIn('ann', 'correct horse battery')
  await other.post('/hub/spawn')
  const events = other.progress('ann')
  await events.next()
  assert.equal((await other.post('/hub/logout')).status, 302)
  await assert.rejects(async () => {
    for await (const _event of events);
  })

  const all = Array.from({ length: 32 }, () => ann.progress('ann'))
  for (const one of all) await one.next()
  await assert.rejects(ann.progress('ann').next(), /429/)
  await held.open()
  await onStart(host, 'ann', '')
  for (const one of all) for await (const _event of one);
  await ann.startServer()
})

test('a new password ends every session of that user', async () => {
  using open = await startKernel(ann, 'ann')
  const closed = once(open.socket, 'close')
  await classroom.host.run(['tljh-ts', 'user', 'passwd', 'ann'], { input: 'another password\n' })
  await closed
  assert.equal((await ann.request('/hub/home')).status, 302)
  assert.equal((await visit(classroom.url).logIn('ann', 'correct horse battery')).status, 403)
  assert.equal((await visit(classroom.url).logIn('ann', 'another password')).status, 302)
})

test('the services are as little exposed as they say', async () => {
  const exposure = async (unit: string) => {
    const { stdout } = await classroom.host.run(['systemd-analyze', 'security', '--no-pager', unit], { check: false })
    return Number(/Overall exposure level for \S+: ([\d.]+)/.exec(stdout)?.[1])
  }
  assert.ok((await exposure('tljh-hub.service')) < 2.0)
  assert.ok((await exposure('tljh-spawner.service')) < 5.5)
  const { stdout } = await classroom.host.run(['ps', '-o', 'user=', '-C', 'node,node-MainThread'])
  assert.deepEqual(stdout.trim().split('\n').toSorted(), ['root', 'tljh-hub'])
})
