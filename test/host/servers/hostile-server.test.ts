import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { impostor } from '../../harness/peers/stolen-socket.ts'
import { startKernel } from '../../harness/people/kernel.ts'
import type { Visitor } from '../../harness/people/visitor.ts'
import { type Classroom, openClassroom } from '../../harness/product/classroom.ts'

/** A student who puts a server of their own in the place of Jupyter's: it may answer what it likes. */
let classroom: Classroom
let bob: Visitor

/** In bob's home: the Python that answers a `client`, and what the last ones asked for. */
const answerFile = '/home/jupyter-bob/answer.py'
const requestsFile = '/home/jupyter-bob/requests'

const server = impostor(`
kept = []
def serve(client):
    try:
        request = client.recv(65536)
        with open("${requestsFile}", "ab") as file: file.write(request)
        exec(open("${answerFile}").read(), {"client": client, "kept": kept})
    except OSError: pass
`)

before(async () => {
  classroom = await openClassroom(undefined)
  const { host } = classroom
  bob = await classroom.student('bob')
  await host.writeFile('/home/jupyter-bob/server.py', server, { owner: 'jupyter-bob' })
  using kernel = await startKernel(bob, 'bob')
  await kernel.run('import subprocess; subprocess.Popen(["python3", "server.py"])')
  while ((await host.run(['test', '-S', '/run/tljh/users/bob/socket.kept'], { check: false })).code !== 0)
    await delay(50)
  // Connections to the server before are kept open, and would be used.
  await host.run(['systemctl', 'restart', 'tljh-hub'])
})
after(() => classroom[Symbol.asyncDispose]())

async function answer(python: string): Promise<void> {
  await classroom.host.writeFile(answerFile, python, { owner: 'jupyter-bob' })
  await classroom.host.writeFile(requestsFile, '', { owner: 'jupyter-bob' })
}

const say = (bytes: string) => answer(`client.sendall(${bytes})\nclient.close()`)

async function hubDescriptors(): Promise<number> {
  const { host } = classroom
  const { stdout: pid } = await host.run(['systemctl', 'show', '--value', '--property=MainPID', 'tljh-hub'])
  return (await host.run(['ls', `/proc/${pid.trim()}/fd`])).stdout.trim().split('\n').length
}

async function isWell(): Promise<void> {
  assert.equal((await fetch(`${classroom.url}/hub/health`)).status, 200)
  const { stdout } = await classroom.host.run(['systemctl', 'show', '--value', '--property=NRestarts', 'tljh-hub'])
  assert.equal(stdout.trim(), '0')
}

test('a change of protocol that nobody asked for costs the hub nothing', async () => {
  const upgrade = 'HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: x\\r\\n\\r\\n'
  // The connection stays open on the server's side.
  await answer(`client.sendall(b"${upgrade}")\nkept.append(client)`)
  const before = await hubDescriptors()
  for (let round = 0; round < 60; round++) assert.equal((await bob.request('/user/bob/x')).status, 503)
  assert.ok((await hubDescriptors()) < before + 20)
  await isWell()
})

test('an endless row of interim answers is cut off', async () => {
  await answer('while True: client.sendall(b"HTTP/1.1 103 Early Hints\\r\\nLink: </x>\\r\\n\\r\\n" * 100)')
  const answers = await Promise.all(Array.from({ length: 20 }, () => bob.request('/user/bob/x')))
  for (const { status } of answers) assert.equal(status, 503)
  await isWell()
})

for (const [what, bytes] of [
  ['huge headers', `b"HTTP/1.1 200 OK\\r\\nX: " + b"x" * 1000000 + b"\\r\\n\\r\\n"`],
  ['no HTTP at all', 'bytes(range(256)) * 40'],
  ['a header that would break the answer', `b"HTTP/1.1 200 OK\\r\\nX: a\\x00b\\r\\n\\r\\n"`],
  ['nothing', 'b""'],
] as const) {
  test(`a server that answers with ${what} gives a page that says so`, async () => {
    await say(bytes)
    const { status, body } = await bob.request('/user/bob/x')
    assert.equal(status, 503)
    assert.match(body, /bob’s server does not answer/)
    await isWell()
  })
}

test('half an answer is passed on as half an answer', async () => {
  await say('b"HTTP/1.1 200 OK\\r\\nContent-Length: 1000\\r\\n\\r\\nhalf"')
  await assert.rejects(bob.request('/user/bob/x'))
  await isWell()
})

test('what a server sets for others does not get through', async () => {
  await say(
    'b"HTTP/1.1 200 OK\\r\\nSet-Cookie: tljh-session=stolen; Path=/\\r\\nClear-Site-Data: \\"*\\"\\r\\nContent-Length: 2\\r\\n\\r\\nok"',
  )
  const { headers, body } = await bob.request('/user/bob/x')
  assert.equal(body, 'ok')
  assert.deepEqual(headers['set-cookie'], ['tljh-session=stolen; Path=/user/bob/'])
  assert.equal(headers['clear-site-data'], undefined)
})

test('a request cannot be cut in two by naming its length as the connection’s', async () => {
  await say('b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok"')
  const inner = 'GET /user/bob/inner HTTP/1.1\r\nX-Tljh-User: admin\r\n\r\n'
  const headers = { connection: 'content-length, host, cookie', 'content-length': String(inner.length) }
  await bob.request('/user/bob/x', { method: 'OPTIONS', headers, body: inner })
  const text = await classroom.host.readFile(requestsFile)
  assert.match(
    text,
    new RegExp(`^OPTIONS /user/bob/x HTTP/1\\.1\\r\\n(.+\\r\\n)*content-length: ${inner.length}\\r\\n`, 'i'),
  )
})

test('the hub’s session never reaches a server', async () => {
  await say('b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok"')
  await bob.request('/user/bob/x')
  const text = await classroom.host.readFile(requestsFile)
  assert.match(text, /X-Tljh-User: bob/)
  assert.doesNotMatch(text, /tljh-session/)
})

test('an administrator does not open another’s server, unless the configuration says so', async () => {
  const { host } = classroom
  const admin = await classroom.administrator()
  await say('b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok"')
  const refused = await admin.request('/user/bob/x')
  assert.equal(refused.status, 403)
  assert.match(refused.body, /admins\.open_servers/)

  const file = '/opt/tljh/config/config.yaml'
  await host.writeFile(file, `${await host.readFile(file)}\nadmins:\n  open_servers: true\n`)
  assert.match((await admin.request('/user/bob/x')).location, /^\/hub\/visit\/bob/)
  await admin.post('/hub/visit/bob')
  assert.equal((await admin.request('/user/bob/x')).status, 200)
})
