import assert from 'node:assert/strict'
import { request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { journalEnd, said } from '../../harness/host/journal.ts'
import { type ProgressEvent, type Visitor, visit } from '../../harness/people/visitor.ts'
import { type Classroom, claiming, openClassroom, studentPassword } from '../../harness/product/classroom.ts'
import { bootProduct, TLJH_TS } from '../../harness/product/product.ts'

let classroom: Classroom

before(async () => {
  classroom = await openClassroom(undefined)
})
after(() => classroom[Symbol.asyncDispose]())

/** Logged in, with no server. */
async function enter(name: string): Promise<Visitor> {
  const visitor = visit(classroom.url)
  assert.equal((await visitor.logIn(name, studentPassword)).status, 302)
  await stopServer(visitor, name)
  return visitor
}

async function stopServer(visitor: Visitor, name: string): Promise<void> {
  await visitor.post('/hub/stop')
  await lastEvent(visitor, name)
}

async function lastEvent(visitor: Visitor, name: string): Promise<ProgressEvent> {
  let last: ProgressEvent | undefined
  for await (const event of visitor.progress(name)) last = event
  assert.ok(last)
  return last
}

async function mainPid(name: string): Promise<string> {
  const property = ['systemctl', 'show', '--value', '--property=MainPID', `tljh-user-${name}`]
  return (await classroom.host.run(property)).stdout.trim()
}

test('the front door leads to login, then to a server that starts, then to the server', async () => {
  const ann = visit(classroom.url)
  assert.equal((await ann.request('/')).location, '/hub/login')
  assert.equal((await ann.request('/hub/home')).location, '/hub/login?next=%2Fhub%2Fhome')
  assert.equal((await ann.logIn('ann', studentPassword)).location, '/hub/')
  assert.equal((await ann.request('/hub/')).location, '/hub/spawn')
  assert.equal((await ann.request('/hub/spawn')).location, '/hub/spawn-pending/ann')
  assert.equal((await lastEvent(ann, 'ann')).url, '/user/ann/lab')
  assert.equal((await ann.request('/hub/spawn-pending/ann')).location, '/user/ann/lab')
  assert.equal((await ann.request('/')).location, '/user/ann/lab')
  assert.equal((await ann.request('/user/ann')).location, '/user/ann/')
  assert.equal((await ann.request('/user/ann/logout')).location, '/hub/logout')
  await stopServer(ann, 'ann')
})

test('a script that logs in as with JupyterHub gets in', async () => {
  const page = await fetch(`${classroom.url}/hub/login`)
  const xsrf = /_xsrf=([^;]+)/.exec(page.headers.get('set-cookie') ?? '')?.[1] ?? ''
  const answer = await fetch(`${classroom.url}/hub/login`, {
    method: 'POST',
    headers: { cookie: `_xsrf=${xsrf}` },
    body: new URLSearchParams({ username: 'ann', password: studentPassword, _xsrf: xsrf }),
    redirect: 'manual',
  })
  assert.equal(answer.status, 302)
  const cookie = answer.headers.getSetCookie().find(text => text.startsWith('tljh-session='))
  assert.match(cookie ?? '', /HttpOnly; SameSite=Lax/)
})

test('the home page leads where a server opens', async () => {
  const ann = await enter('ann')
  await ann.startServer()
  const link = async () =>
    /<a class="button primary" href="([^"]+)">Open my server/.exec((await ann.request('/hub/home')).body)?.[1]
  assert.equal(await link(), '/user/ann/lab')
  await classroom.host.run([...TLJH_TS, 'config', 'set', 'user_environment.default_app', 'classic'])
  assert.equal(await link(), '/user/ann/tree')
  await classroom.host.run([...TLJH_TS, 'config', 'unset', 'user_environment.default_app'])
})

test('two starts at once are one start', async () => {
  const ann = await enter('ann')
  const other = visit(classroom.url)
  await other.logIn('ann', studentPassword)
  const starts = await Promise.all([ann.post('/hub/spawn'), other.post('/hub/spawn'), ann.request('/hub/spawn')])
  assert.deepEqual(new Set(starts.map(({ status }) => status)), new Set([302]))
  await lastEvent(ann, 'ann')
  const pid = await mainPid('ann')
  await ann.post('/hub/spawn')
  assert.equal((await lastEvent(ann, 'ann')).ready, true)
  assert.equal(await mainPid('ann'), pid, 'and one that runs is not started again')
})

test('a stop in the middle of a start, and a start in the middle of a stop, end as the last word was', async () => {
  const ann = await enter('ann')
  for (let round = 0; round < 3; round++) {
    await ann.post('/hub/spawn')
    await ann.post('/hub/stop')
    assert.equal((await lastEvent(ann, 'ann')).failed, true)
    assert.equal(await mainPid('ann'), '0')
    await ann.post('/hub/spawn')
    assert.equal((await lastEvent(ann, 'ann')).ready, true)
    await ann.post('/hub/stop')
    await ann.post('/hub/spawn')
    assert.equal((await lastEvent(ann, 'ann')).ready, true)
    assert.equal((await ann.request('/user/ann/api')).status, 200)
  }
})

test('a server that dies at the start says so, with what it wrote last', async () => {
  const { host } = classroom
  const ann = await enter('ann')
  const broken = '/home/jupyter-ann/.jupyter/jupyter_server_config.py'
  await host.run(['install', '--directory', '--owner=jupyter-ann', '/home/jupyter-ann/.jupyter'])
  await host.writeFile(broken, 'import sys\nprint("the disk of dreams is full")\nsys.exit(3)\n', {
    owner: 'jupyter-ann',
  })
  try {
    await ann.post('/hub/spawn')
    const { end } = await lastEvent(ann, 'ann')
    assert.match(end?.what ?? '', /exit status 3/)
    assert.match(end?.log.join('\n') ?? '', /the disk of dreams is full/)
    assert.ok(end?.fix)
    const home = await ann.request('/hub/home')
    assert.match(home.body, /the disk of dreams is full/, 'and the home page knows it, too')
    assert.doesNotMatch(home.body, /journalctl/, 'which names no command to a student')
    const { stdout: all } = await host.run(['sh', '-c', end?.journal?.replace('sudo', '') ?? ''])
    assert.match(all, /the disk of dreams is full/, 'and to an administrator one that shows her lines')
    assert.match(all, /Main process exited, code=exited, status=3/, 'beside those of systemd')
    const after = await journalEnd(host)
    await host.run(['systemctl', 'restart', 'tljh-spawner'])
    // Until then the hub shows what the one before has told.
    await said(host, 'tljh-hub', /the spawner answers/, { after })
    assert.match((await ann.request('/hub/home')).body, /the disk of dreams is full/, 'after a restart, too')
  } finally {
    await host.run(['rm', broken])
  }
  await ann.startServer()
})

test('a class environment that is not there is named', async () => {
  const { host } = classroom
  const ann = await enter('ann')
  await host.run(['mv', '/opt/tljh/user/bin/python', '/opt/tljh/user/bin/kept'])
  try {
    await ann.post('/hub/spawn')
    const { end } = await lastEvent(ann, 'ann')
    assert.match(`${end?.why} ${end?.log.join(' ')}`, /opt\/tljh\/user|203|program/)
  } finally {
    await host.run(['mv', '/opt/tljh/user/bin/kept', '/opt/tljh/user/bin/python'])
  }
  await ann.startServer()
})

test('a server that stopped gives a page with a button, and JSON to programs', async () => {
  const ann = await enter('ann')
  const page = await ann.request('/user/ann/lab/tree/a.ipynb?x=1')
  assert.equal(page.status, 424)
  assert.match(page.body, /not running/)
  assert.match(page.body, /name="next" value="\/user\/ann\/lab\/tree\/a\.ipynb\?x=1"/)
  const program = await ann.request('/user/ann/api/status', { headers: { accept: '*/*' } })
  assert.equal(program.status, 424)
  assert.match(JSON.parse(program.body).message, /not running/)
  const started = await ann.post('/hub/spawn', { next: '/user/ann/lab/tree/a.ipynb?x=1' })
  await lastEvent(ann, 'ann')
  assert.equal((await ann.request(started.location)).location, '/user/ann/lab/tree/a.ipynb?x=1')
})

test('a server whose process is killed is seen as stopped at once, with the reason', async () => {
  const ann = await enter('ann')
  await ann.startServer()
  await classroom.host.run(['systemctl', 'kill', '--signal=SEGV', 'tljh-user-ann'])
  while ((await ann.request('/user/ann/lab')).status !== 424) await delay(50)
  const event = await lastEvent(ann, 'ann')
  assert.match(event.end?.why ?? '', /SEGV/)
})

test('who is banned in the file has no session from that moment on', async () => {
  const { host } = classroom
  const bob = await enter('bob')
  const old = await host.readFile('/opt/tljh/config/config.yaml')
  await host.writeFile('/opt/tljh/config/config.yaml', `${old}\n`.replace('users:\n', 'users:\n  banned: [bob]\n'))
  try {
    assert.equal((await bob.request('/hub/home')).status, 302)
    assert.equal((await visit(classroom.url).logIn('bob', studentPassword)).status, 403)
  } finally {
    await host.writeFile('/opt/tljh/config/config.yaml', old)
  }
  assert.equal((await bob.logIn('bob', studentPassword)).status, 302)
})

test('a form from elsewhere, or without its token, does nothing', async () => {
  const ann = await enter('ann')
  const forms: [string, Record<string, string>, Record<string, string>?][] = [
    ['/hub/spawn', { _xsrf: '' }],
    ['/hub/spawn', { _xsrf: 'x' }],
    ['/hub/stop', { _xsrf: '' }],
    ['/hub/logout', { _xsrf: '' }],
  ]
  for (const [path, fields] of forms) assert.equal((await ann.post(path, fields)).status, 403, path)
  const body = `_xsrf=${ann.cookies.get('_xsrf')}`
  const headers = { 'content-type': 'application/x-www-form-urlencoded', origin: 'http://evil.example' }
  assert.equal((await ann.request('/hub/spawn', { method: 'POST', headers, body })).status, 403)
  assert.match((await ann.request('/hub/home')).body, /Start my server/)
})

test('requests that are too big, malformed or of another kind are refused in words', async () => {
  const form = { 'content-type': 'application/x-www-form-urlencoded' }
  const post = (body: string, headers: Record<string, string> = form) =>
    visit(classroom.url).request('/hub/login', { method: 'POST', body, headers })
  assert.equal((await post(`username=${'a'.repeat(200_000)}`)).status, 413)
  assert.equal((await post('username=ann')).status, 400)
  assert.equal((await post('{"username":"ann"', { 'content-type': 'application/json' })).status, 400)
  assert.equal((await post('<a/>', { 'content-type': 'text/xml' })).status, 415)
  assert.equal((await visit(classroom.url).request('/hub/nothing')).status, 404)
  assert.equal((await visit(classroom.url).request('/hub/static/../login.ts')).status, 404)
  assert.equal((await visit(classroom.url).request('/hub/%')).status, 400)
  const { stdout } = await classroom.host.run(['systemctl', 'show', '--value', '--property=NRestarts', 'tljh-hub'])
  assert.equal(stdout.trim(), '0')
})

test('a request that says of what kind its body is, and has none, is answered', async () => {
  const { hostname, port } = new URL(classroom.url)
  const json = 'application/json'
  for (const [line, type, status] of [
    ['POST /hub/login', 'application/x-www-form-urlencoded', 400],
    ['POST /hub/login', json, 400],
    ['DELETE /hub/nothing', json, 400],
    ['OPTIONS /hub/nothing', 'text/plain', 404],
    ['GET /hub/login', json, 200],
  ] as const) {
    const socket = connect(Number(port) || 80, hostname)
    socket.write(`${line} HTTP/1.1\r\nHost: ${hostname}\r\nContent-Type: ${type}\r\nConnection: close\r\n\r\n`)
    assert.equal(Number((await text(socket)).split(' ')[1]), status, `${line}, ${type}`)
  }
})

test('an upload to a server streams, and one that breaks off harms nobody', async () => {
  const ann = await enter('ann')
  await ann.startServer()
  const content = 'x'.repeat(5 * 1024 ** 2)
  const saved = await ann.jupyter('PUT', 'api/contents/big.txt', { type: 'file', format: 'text', content })
  assert.equal(saved.status, 201)
  const { stdout } = await classroom.host.run(['stat', '--format=%s', '/home/jupyter-ann/big.txt'])
  assert.equal(stdout.trim(), String(content.length))

  const path = '/user/ann/api/contents/half.txt'
  const call = httpRequest(`${classroom.url}${path}`, {
    method: 'PUT',
    headers: { ...ann.headersFor(path), 'content-length': 1_000_000 },
  })
  const broken = new Promise(resolve => call.on('close', resolve))
  call.on('error', () => undefined)
  call.write('half of it', () => call.destroy())
  await broken
  assert.equal((await ann.jupyter('GET', 'api/status')).status, 200)
})

test('the whole hub works below a base URL', async () => {
  await using product = await bootProduct({ config: `base_url: /class/\nusers:\n  allowed: [ann]\n${claiming}` })
  assert.equal((await visit(product.url).request('/')).location, '/class/')
  const ann = visit(`${product.url}/class`)
  assert.equal((await ann.request('/')).location, '/class/hub/login')
  assert.equal((await ann.logIn('ann', studentPassword)).location, '/class/hub/')
  await ann.startServer()
  const me = await ann.jupyter('GET', 'api/me')
  assert.equal((JSON.parse(me.body) as { identity: { username: string } }).identity.username, 'ann')
  assert.equal((await ann.jupyter('POST', 'api/kernels', { name: 'python3' })).status, 201)
})
