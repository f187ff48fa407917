import assert from 'node:assert/strict'
import { request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { versionOf } from '../../../config/meaning/config.ts'
import { type Classroom, openClassroom } from '../../harness/product/classroom.ts'

/** What a hub that was taken over could do: it may open the spawner's socket, and say what it likes. */
let classroom: Classroom
let socketPath: string

before(async () => {
  classroom = await openClassroom(undefined)
  socketPath = join(classroom.host.rootPath, 'run/tljh/spawner.sock')
})
after(() => classroom[Symbol.asyncDispose]())

interface Said {
  status: number
  body: { code?: string; what?: string; why?: string; fix?: string }
}

function say(method: string, path: string, body?: Buffer, headers: Record<string, string> = {}): Promise<Said> {
  return new Promise((resolve, reject) => {
    const call = request({ socketPath, method, path, headers, agent: false }, response => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, body: JSON.parse(String(Buffer.concat(chunks))) }),
      )
    })
    call.on('error', reject)
    call.end(body)
  })
}

/** Everything that a start could leave on the machine. */
async function traces(): Promise<string> {
  const { host } = classroom
  const files = await Promise.all(['/etc/passwd', '/etc/group', '/etc/shadow'].map(file => host.readFile(file)))
  const homes = await host.run(['ls', '-la', '/home', '/run/tljh/users'])
  const units = await host.run([
    'systemctl',
    'list-units',
    '--all',
    '--plain',
    '--no-legend',
    'tljh-user-*',
    '*tljh-users-*',
  ])
  return [...files, homes.stdout, units.stdout].join('\n')
}

const hostileNames = [
  ['root', 403],
  ['nobody', 403],
  ['tljh-hub', 403],
  ['../x', 404],
  ['..', 400],
  ['..%2Fx', 400],
  ['%2e%2e', 400],
  ['a%20b', 400],
  ['a%00b', 400],
  ['a%0Ab', 400],
  ['-x', 400],
  ['Ann', 400],
  ['ann;id', 400],
  ['$(id)', 400],
  ['ann%ff', 400],
  ['a'.repeat(300), 400],
  ['', 404],
] as const

for (const [name, wanted] of hostileNames) {
  test(`a start for the user ${JSON.stringify(name.slice(0, 20))} is refused and has no effect`, async () => {
    const before = await traces()
    const { status, body } = await say('POST', `/servers/${name}/start`)
    assert.equal(status, wanted)
    assert.ok(body.code && body.what && body.why && body.fix, 'it says what, why and what to do')
    assert.equal(await traces(), before)
  })
}

test('a name with a space never gets as far as a verb', async () => {
  const answer = await raw('POST /servers/a b/start HTTP/1.1\r\nHost: x\r\n\r\n')
  assert.match(answer, /^HTTP\/1\.1 400 /)
})

for (const [method, path] of [
  ['POST', '/servers/ann/run'],
  ['POST', '/servers/ann/start/now'],
  ['POST', '/servers/ann/start?limit=none'],
  ['DELETE', '/servers/ann'],
  ['PUT', '/servers/ann/start'],
  ['GET', '/servers/ann/start'],
  ['POST', '/exec'],
  ['GET', '/'],
] as const) {
  test(`there is no verb ${method} ${path}`, async () => {
    const before = await traces()
    const { status, body } = await say(method, path)
    assert.equal(status, 404)
    assert.equal(body.code, 'VERB')
    assert.equal(await traces(), before)
  })
}

test('a body is refused, however big, and not read', async () => {
  const before = await traces()
  const { status, body } = await say('POST', '/servers/ann/start', Buffer.alloc(10)).catch(broken)
  assert.deepEqual([status, body.code], [413, 'BODY'])
  const big = await say('POST', '/servers/ann/start', Buffer.alloc(10 * 1024 ** 2)).catch(broken)
  assert.deepEqual([big.status, big.body.code], [413, 'BODY'])
  assert.equal(await traces(), before)
  await isAlive()
})

test('a head that does not end, and one that is too long, are cut off', async () => {
  // The connection may be broken before the answer is read, because more was sent than it reads.
  assert.match(
    await raw(`GET /servers HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(100_000)}\r\n\r\n`),
    /^(HTTP\/1\.1 431 |$)/,
  )
  assert.match(await raw('GET /servers HTTP/1.1\r\nHost: x\r\n'), /^HTTP\/1\.1 408 /)
  await isAlive()
})

test('a hundred connections that send nothing keep nobody out', async () => {
  const silent = await Promise.all(Array.from({ length: 100 }, () => open()))
  await isAlive()
  for (const socket of silent) socket.destroy()
})

test('more connections than a hub can honestly use are turned away, and it lives on', async () => {
  const silent = await Promise.all(Array.from({ length: 700 }, () => open().catch(() => undefined)))
  for (const socket of silent) socket?.destroy()
  // Until it has heard that they are gone, there is no room.
  while (!(await say('GET', '/servers').catch(() => undefined))) await delay(50)
  await isAlive()
})

test('only root and the hub may open the socket', async () => {
  const { host } = classroom
  const ask = ['curl', '--silent', '--show-error', '--unix-socket', '/run/tljh/spawner.sock', 'http://spawner/servers']
  assert.equal((await host.run(ask, { user: 'tljh-hub' })).stdout, '[]')
  await host.run(['useradd', '--create-home', 'eve'])
  const eve = await host.run(ask, { user: 'eve', check: false })
  assert.notEqual(eve.code, 0)
  assert.match(eve.stderr, /connect|denied/i)
})

async function isAlive(): Promise<void> {
  assert.equal((await say('GET', '/servers')).status, 200)
  const { stdout } = await classroom.host.run(['systemctl', 'show', '--value', '--property=NRestarts', 'tljh-spawner'])
  assert.equal(stdout.trim(), '0', 'it never had to be started again')
}

function open(): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath, () => resolve(socket))
    // Of a connection that was there and broke, the `close` tells.
    socket.on('error', reject)
  })
}

async function raw(text: string): Promise<string> {
  const socket = await open()
  socket.write(text)
  let answer = ''
  socket.on('data', chunk => {
    answer += chunk
  })
  await new Promise(resolve => socket.on('close', resolve))
  return answer
}

/** The refusal may come while the rest is still being sent, and the connection be closed. */
function broken(error: NodeJS.ErrnoException): Said {
  assert.ok(error.code === 'EPIPE' || error.code === 'ECONNRESET', error.message)
  return { status: 413, body: { code: 'BODY' } }
}

test('a proposal of a configuration is checked as if nobody had', async () => {
  const before = await classroom.host.readFile('/opt/tljh/config/config.yaml')
  const base = versionOf(before)
  const propose = (admin: string, proposal: object | string) =>
    say(
      'POST',
      `/config/propose/${admin}`,
      Buffer.from(typeof proposal === 'string' ? proposal : JSON.stringify(proposal)),
    )
  const good = { text: `${before}\n# proposed\n`, baseVersion: base, isAtOnce: false }
  for (const [admin, proposal, status, code] of [
    ['ann', good, 403, 'USER_NOT_ALLOWED'],
    ['root', good, 403, 'USER_NOT_ALLOWED'],
    ['admin', { ...good, text: 'limits: {memory: lots}' }, 422, 'CONFIG_INVALID'],
    ['admin', { ...good, baseVersion: 'x' }, 409, 'CONFIG_CHANGED'],
    ['admin', { text: 7 }, 422, 'PROPOSAL'],
    ['admin', 'not JSON', 422, 'PROPOSAL'],
  ] as const) {
    const answer = await propose(admin, proposal)
    assert.deepEqual([answer.status, answer.body.code], [status, code])
    assert.equal(await classroom.host.readFile('/opt/tljh/config/config.yaml'), before)
  }
  assert.equal((await propose('admin', good)).status, 200)
  assert.equal(await classroom.host.readFile('/opt/tljh/config/config.yaml'), good.text)
})
