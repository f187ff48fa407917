/**
 * What a hub that was taken over can say to the spawner, which is root: beside test/host/servers/spawner.test.ts (names, verbs, bodies, a
 * hundred silent connections), the shapes of requests that parsers disagree about, and the verbs that delete.
 */
import assert from 'node:assert/strict'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { after, afterEach, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import fc from 'fast-check'
import { statusesIn } from '../harness/peers/raw-http.ts'
import { bootProduct, type Product } from '../harness/product/product.ts'

let product: Product
let socketPath: string
let untouched: string

before(async () => {
  product = await bootProduct({ config: 'users:\n  allowed: [ann]\n  banned: [eve]\n' })
  socketPath = join(product.host.rootPath, 'run/tljh/spawner.sock')
  for (const name of ['ann', 'eve']) {
    await product.host.run(['useradd', '--create-home', `--comment=JupyterHub user ${name}`, `jupyter-${name}`])
  }
  untouched = await traces()
})
after(() => product?.[Symbol.asyncDispose]())
afterEach(async () => {
  assert.deepEqual(statusesIn(await say('GET /servers HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')), [200])
  const { stdout } = await product.host.run(['systemctl', 'show', '--value', '--property=NRestarts', 'tljh-spawner'])
  assert.equal(stdout.trim(), '0')
  assert.equal(await traces(), untouched, 'no trace')
})

/** Everything that an order could leave on the machine. */
async function traces(): Promise<string> {
  const { host } = product
  const script =
    'cat /etc/passwd /etc/group /etc/shadow /opt/tljh/config/config.yaml; ls -lAR --time-style=+ /home /run/tljh/users /opt/tljh/archives 2>&1'
  const { stdout } = await host.run(['sh', '-c', script])
  const units = await host.run([
    'systemctl',
    'list-units',
    '--all',
    '--plain',
    '--no-legend',
    'tljh-user-*',
    'tljh-home-*',
    '*tljh-users-*',
  ])
  return stdout + units.stdout
}

function open(): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath, () => resolve(socket))
    socket.on('error', reject)
  })
}

/** What is answered until the connection is closed. */
async function say(...pieces: (string | Buffer)[]): Promise<string> {
  const socket = await open()
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  socket.on('error', () => undefined)
  for (const piece of pieces) socket.write(typeof piece === 'string' ? Buffer.from(piece, 'latin1') : piece)
  await new Promise(resolve => socket.on('close', resolve))
  return Buffer.concat(chunks).toString('latin1')
}

const order = (path: string, head: readonly string[] = [], body = '', method = 'POST') =>
  say(`${[`${method} ${path} HTTP/1.1`, 'Host: x', 'Connection: close', ...head].join('\r\n')}\r\n\r\n${body}`)

test('nobody is archived or forgotten whom the configuration lets in, nor anybody who is none of the hub’s', async () => {
  for (const path of [
    '/users/ann/archive',
    `/users/${product.admin}/archive`,
    '/users/ann/forget',
    '/users/eve/forget',
  ]) {
    assert.deepEqual(statusesIn(await order(path)), [403], path)
  }
  for (const name of ['root', 'daemon', 'nobody', 'tljh-hub', 'jupyter-ann']) {
    assert.deepEqual(
      statusesIn(await order(`/users/${name}/archive`)),
      [200],
      'there is no account of ours by that name',
    )
  }
})

test('no spelling of a name is a name', async () => {
  const names = [
    '..',
    '.',
    '%2e%2e',
    '..%2f..%2fetc',
    'ann%2f..%2froot',
    'ann;',
    'ann%00',
    'ANN',
    'ann%20',
    '-rf',
    '--',
    '*',
    '$(id)',
    '`id`',
    '%61nn',
    'ann\\',
    'a'.repeat(65),
    '\xe4nn',
    '__proto__',
  ]
  for (const name of names) {
    for (const path of [
      `/users/${name}/archive`,
      `/users/${name}/forget`,
      `/servers/${name}/start`,
      `/servers/${name}/stop`,
      `/config/propose/${name}`,
      `/config/in-force/${name}`,
    ]) {
      const [status] = statusesIn(await order(path))
      assert.ok([400, 403, 404, 422].includes(status ?? 0), `${path}: ${status}`)
    }
  }
})

test('no method, verb or address but those that are written down does anything', async () => {
  const names = fc.constantFrom(
    'servers',
    'users',
    'config',
    'ann',
    'eve',
    'start',
    'archive',
    'forget',
    'reload',
    'propose',
    '',
    '.',
    '..',
    '%2e',
    '?',
    '#',
    ';',
    '\\',
    'http:',
    '__proto__',
    'constructor',
  )
  const methods = fc.constantFrom('GET', 'HEAD', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE', 'POST', 'PROPFIND')
  const paths = fc.array(names, { minLength: 1, maxLength: 5 }).map(parts => `/${parts.join('/')}`)
  // These are orders, and are looked at elsewhere.
  const isOrder = (method: string, path: string) =>
    (method === 'POST' &&
      /^\/(servers\/(ann|eve)\/(start|stop)|users\/(?!ann\/)[a-z]+\/archive|config\/reload(-at-once)?)$/.test(path)) ||
    (method === 'GET' &&
      /^\/(servers(\/(ann|eve|users|config|servers|start|archive|forget|reload|propose|constructor))?|config|events)$/.test(
        path,
      ))
  await fc.assert(
    fc.asyncProperty(methods, paths, async (method, path) => {
      fc.pre(!isOrder(method, path))
      const [status] = statusesIn(await order(path, [], '', method))
      assert.ok(status && status >= 400 && status < 500, `${method} ${path}: ${status}`)
    }),
    { numRuns: 400 },
  )
})

test('a request that can be read in two ways is refused, and what follows it is not read', async () => {
  const inner = 'POST /users/eve/archive HTTP/1.1\r\nHost: x\r\n\r\n'
  for (const [head, body] of [
    [['Content-Length: 6', 'Transfer-Encoding: chunked'], `0\r\n\r\n${inner}`],
    [['Transfer-Encoding: chunked'], `0\r\n\r\n${inner}`],
    [['Transfer-Encoding: chunked', 'Transfer-Encoding: identity'], `0\r\n\r\n${inner}`],
    [['Transfer-Encoding : chunked'], `0\r\n\r\n${inner}`],
    [[`Content-Length: ${inner.length}`], inner],
    [['Content-Length: 0', `Content-Length: ${inner.length}`], inner],
    [['Content-Length: 1e3'], inner],
    [['X: 1\nContent-Length: 4'], inner],
    [['Expect: 100-continue', `Content-Length: ${inner.length}`], inner],
    [['Expect: something', 'Connection: close'], ''],
    [['Upgrade: websocket', 'Connection: Upgrade'], ''],
  ] as const) {
    const text = `POST /servers/root/start HTTP/1.1\r\nHost: x\r\n${head.join('\r\n')}\r\n\r\n${body}`
    const statuses = statusesIn(await say(text)).filter(status => status !== 100)
    // Whoever sends more before the answer is there is cut off.
    assert.ok(['400', '403', '413', '417', ''].includes(statuses.join()), `${head}: ${statuses}`)
  }
})

test('heads that are huge or have very many lines, and bodies that never end, are cut off', async () => {
  const many = Array.from({ length: 5000 }, (_, index) => `X-${index}: 1`)
  assert.ok(['431', ''].includes(statusesIn(await order('/servers', many, '', 'GET')).join()))
  assert.ok(['431', ''].includes(statusesIn(await order(`/${'a'.repeat(100_000)}`)).join()))
  assert.ok(
    ['413', ''].includes(
      statusesIn(await order(`/config/propose/${product.admin}`, ['Content-Length: 9999999999'], 'x')).join(),
    ),
  )
  const slow = await order(`/config/propose/${product.admin}`, ['Content-Length: 1000000'], 'half of it')
  assert.ok(['408', ''].includes(statusesIn(slow).join()), slow)
})

test('a proposal in the name of nobody who may, or of what is no configuration, changes nothing', async () => {
  const bodies = [
    '',
    '{}',
    'null',
    '[]',
    '{"text":1}',
    '{"__proto__":{"text":"x"}}',
    `{"text":"${'&a '.repeat(1000)}"}`,
    '['.repeat(100_000),
    '\xff\xfe',
  ]
  for (const body of bodies) {
    const answer = await order(`/config/propose/${product.admin}`, [`Content-Length: ${body.length}`], body)
    assert.ok([400, 409, 422].includes(statusesIn(answer)[0] ?? 0), `${body.slice(0, 30)}: ${answer.slice(0, 200)}`)
  }
})

test('thousands of connections, silent, half said or at the stream of events, leave it standing', async () => {
  const begun = await Promise.all(Array.from({ length: 3000 }, () => open().catch(() => undefined)))
  for (const [index, socket] of begun.entries()) {
    socket?.on('error', () => undefined)
    if (index % 3 === 1) socket?.write('GET /servers HTTP/1.1\r\nX:')
    if (index % 3 === 2) socket?.write('GET /events HTTP/1.1\r\nHost: x\r\n\r\n')
  }
  for (const socket of begun) socket?.destroy()
  // Until it has taken note of all of these ends, it drops whoever comes, or its queue is full.
  const question = 'GET /servers HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'
  while (statusesIn(await say(question).catch(() => '')).join() !== '200') await delay(50)
})
