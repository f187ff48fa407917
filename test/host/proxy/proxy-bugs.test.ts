/** What users of other hubs have met in their proxies: docs/proxy-bugs.md has the list. Most of it is held by tests of the subjects. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { journalEnd } from '../../harness/host/journal.ts'
import { openStandIn, type StandIn } from '../../harness/peers/fake-jupyter.ts'
import { lines, say, statusesIn } from '../../harness/peers/raw-http.ts'
import { visit } from '../../harness/people/visitor.ts'

let standIn: StandIn
before(async () => {
  standIn = await openStandIn()
})
after(() => standIn?.[Symbol.asyncDispose]())

const handshake = (cookie: string, path: string) => [
  `GET ${path} HTTP/1.1`,
  `Host: ${new URL(standIn.classroom.url).host}`,
  `Origin: ${standIn.classroom.url}`,
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  ...(cookie ? [`Cookie: ${cookie}`] : []),
]

/** What the hub has open: files, sockets and all else. */
async function descriptors(): Promise<number> {
  const { host } = standIn.classroom
  const { stdout: pid } = await host.run(['systemctl', 'show', '--value', '--property=MainPID', 'tljh-hub'])
  const { stdout } = await host.run(['ls', `/proc/${pid.trim()}/fd`])
  return stdout.trim().split('\n').length
}

test('of thousands of connections that came and went, nothing stays open', async () => {
  const { cookie } = standIn
  const { hostname, host } = new URL(standIn.classroom.url)
  const many = async () => {
    for (let count = 0; count < 100; count++) {
      const head = [`Host: ${host}`, `Cookie: ${cookie}`, 'Connection: close']
      const asked = Array.from({ length: 8 }, () =>
        say(standIn.classroom.url, lines(['GET /user/ann/range HTTP/1.1', ...head])),
      )
      const opened = Array.from({ length: 4 }, async () => {
        const socket = connect(80, hostname)
        socket.on('error', () => undefined)
        socket.write(lines(handshake(cookie, '/user/ann/ws')))
        const [answer] = (await once(socket, 'data')) as [Buffer]
        assert.match(String(answer), /^HTTP\/1\.1 101 /)
        // Half of them break.
        if (count % 2) socket.resetAndDestroy()
        else socket.end()
        await once(socket, 'close')
      })
      for (const answer of await Promise.all(asked)) assert.deepEqual(statusesIn(answer), [200])
      await Promise.all(opened)
    }
  }
  await many()
  const before = await descriptors()

  await many()

  // The last of them may still be on the way out.
  while ((await descriptors()) > before + 8) await delay(50)
})

test('pages that go on asking for a server that does not run are refused, cut off, and leave no line each in the log', async () => {
  const { host, url } = standIn.classroom
  const bob = visit(url)
  await bob.logIn('bob', 'correct horse battery')
  const cookie = bob.headersFor('/user/bob/').cookie ?? ''
  const begin = await journalEnd(host)

  for (let count = 0; count < 50; count++) {
    const polled = await bob.request('/user/bob/api/metrics/v1', { headers: { accept: 'application/json' } })
    assert.equal(polled.status, 424)
    const refused = await say(url, lines(handshake(cookie, '/user/bob/api/kernels/x/channels')))
    assert.deepEqual(statusesIn(refused), [424], 'and the connection was closed')
  }

  const { stdout } = await host.run(['journalctl', '--unit=tljh-hub', '--output=cat', `--after-cursor=${begin}`])
  assert.ok(stdout.split('\n').length < 10, stdout)
})

test('below a server, every address is the server’s, whatever the hub calls its own', async () => {
  const { ann } = standIn
  for (const path of ['hub/login', 'user/ann/x', 'ann', 'hub', 'user', 'hub/static/style.css']) {
    const { status, body } = await ann.request(`/user/ann/${path}`)
    assert.equal(status, 200, path)
    assert.equal((JSON.parse(body) as { url: string }).url, `/user/ann/${path}`)
  }
  const bare = await ann.request('/user/ann')
  assert.equal(bare.status, 302)
  assert.equal(new URL(bare.location, standIn.classroom.url).pathname, '/user/ann/')
})

test('a form that was fetched from one address can be sent from another, as through several ways out of a network', async () => {
  const { hostname } = new URL(standIn.classroom.url)
  const { host } = standIn.classroom
  const page = visit(standIn.classroom.url)
  await page.request('/hub/login')
  const body = new URLSearchParams({
    username: 'bob',
    password: 'correct horse battery',
    _xsrf: page.cookies.get('_xsrf') ?? '',
  })
  const { cookie = '' } = page.headersFor('/hub/login')
  const form = ['--data', String(body), '--cookie', cookie, '--output', '/dev/null', '--write-out', '%{http_code}']

  const { stdout } = await host.run(['curl', '--silent', ...form, `http://${hostname}/hub/login`])

  assert.equal(stdout, '302')
})
