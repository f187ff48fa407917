/** The hub behind nginx, Caddy and Apache, as docs/behind-proxy.md sets them up; and who is believed, and who is not. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { selfSigned } from '../../../hub/tls/self-signed.ts'
import type { AuditRecord } from '../../../systemd/audit/read.ts'
import { defaultLayers } from '../../harness/host/host.ts'
import { said } from '../../harness/host/journal.ts'
import {
  type FrontProxy,
  frontProxies,
  frontProxyLayer,
  portOf,
  startFrontProxies,
} from '../../harness/peers/front-proxies.ts'
import { impostor } from '../../harness/peers/stolen-socket.ts'
import { joinKernel, type Kernel, startKernel } from '../../harness/people/kernel.ts'
import { type Answer, type Visitor, visit } from '../../harness/people/visitor.ts'
import { claiming, studentPassword } from '../../harness/product/classroom.ts'
import { bootProduct, type Product, TLJH_TS } from '../../harness/product/product.ts'

const name = 'hub.test'
const certificate = selfSigned([name])
const hubPort = 8080
const frontSocket = 'unix:/run/tljh/front.sock'
/** Whose server is used through which web server; eve's is a program that says what has arrived. */
const studentOf: Readonly<Record<FrontProxy, string>> = { nginx: 'ann', caddy: 'bob', apache: 'cat' }
/** What somebody writes who wants to be taken for another, from another place. */
const forged = {
  'x-forwarded-for': '203.0.113.9',
  'x-forwarded-proto': 'http',
  'x-forwarded-host': 'evil.test',
  forwarded: 'for=203.0.113.9;proto=http;host=evil.test',
  'x-real-ip': '203.0.113.9',
}

let product: Product
/** A kernel of eve's, reached without a web server in front. It was there before the mode was changed. */
let kernel: Kernel

before(async () => {
  const config = `users:\n  allowed: [ann, bob, cat, eve]\n${claiming}`
  product = await bootProduct({ config, layers: [...defaultLayers(), frontProxyLayer()] })
  await configure('http.port', String(hubPort))
  await startFrontProxies(product.host, name, certificate)
})
after(() => product[Symbol.asyncDispose]())

async function configure(key: string, value: string): Promise<string> {
  return (await product.host.run([...TLJH_TS, 'config', 'set', key, value])).stdout
}

const urlOf = (kind: FrontProxy) => `https://${name}:${portOf[kind]}`
const through = (kind: FrontProxy) => visit(urlOf(kind), { ca: certificate.chain, address: product.host.address })
/** From another machine, past the web servers. */
const directly = () => visit(`http://${product.host.address}:${hubPort}`)

async function logIn(visitor: Visitor, user: string, password = studentPassword): Promise<void> {
  const { status, body } = await visitor.logIn(user, password)
  assert.equal(status, 302, body)
}

/** Tries a login that must fail. The name is one that nobody has, and tells this attempt from others. */
async function guess(visitor: Visitor, username: string, headers: Record<string, string> = {}): Promise<Answer> {
  await visitor.request('/hub/login')
  const fields = { _xsrf: visitor.cookies.get('_xsrf') ?? '', username, password: 'not the password' }
  const type = { 'content-type': 'application/x-www-form-urlencoded' }
  const body = new URLSearchParams(fields).toString()
  return visitor.request('/hub/login', { method: 'POST', headers: { ...type, ...headers }, body })
}

/** Where that login came from, as the audit log has it. */
async function recordedAddress(who: string): Promise<string | undefined> {
  for (;;) {
    const { stdout } = await product.host.run([...TLJH_TS, 'audit', '--json', '--user', who])
    const record = (JSON.parse(stdout) as AuditRecord[]).find(({ kind }) => kind.startsWith('login'))
    if (record) return record.address
    await delay(50)
  }
}

/** As a web server of this machine would ask that says these things. */
async function askFromHere(path: string, ...headers: string[]): Promise<string> {
  const options = headers.flatMap(header => ['--header', header])
  const url = `http://127.0.0.1:${hubPort}${path}`
  return (await product.host.run(['curl', '--silent', '--show-error', '--include', ...options, url])).stdout
}

const setCookies = ({ headers }: Answer) => [headers['set-cookie'] ?? []].flat()
const page = 'Accept: text/html'

test('in mode direct nothing is believed, not even of this machine', async () => {
  const answer = await guess(directly(), 'direct', { ...forged, 'x-forwarded-proto': 'https' })
  assert.equal(answer.status, 403)
  assert.equal(await recordedAddress('direct'), product.host.gateway)
  const login = await askFromHere('/hub/login', page, 'X-Forwarded-For: 203.0.113.9', 'X-Forwarded-Proto: https')
  assert.doesNotMatch(login, /; Secure/)
  assert.match(
    await said(product.host, 'tljh-hub', /seems to stand in front/),
    /http\.mode is direct.*config set http\.mode behind-proxy/,
  )
})

test('the mode is changed under a running kernel, which goes on', async () => {
  const eve = directly()
  await logIn(eve, 'eve')
  await eve.startServer()
  kernel = await startKernel(eve, 'eve')
  const told = await configure('http.mode', 'behind-proxy')
  assert.match(told, /the web server in front of the hub, at 127\.0\.0\.1 and ::1, is believed/)
  assert.equal((await kernel.run('6 * 7')).text, '42')
  const validated = await product.host.run([...TLJH_TS, 'config', 'validate'], { check: false })
  assert.match(
    validated.stdout + validated.stderr,
    /listens on all addresses, port 8080[\s\S]*http\.address to unix:\/run\/tljh\/front\.sock/,
  )
})

test('a web server that does not say where browsers are is told of', async t => {
  await t.test('in the log and on the page People', async () => {
    await askFromHere('/hub/login', page)
    await said(product.host, 'tljh-hub', /\(127\.0\.0\.1\) does not say where browsers are: .*X-Forwarded-For/)
    const admin = directly()
    await logIn(admin, product.admin, product.adminPassword)
    assert.match((await admin.request('/hub/admin')).body, /Web server in front[\s\S]*does not say where browsers are/)
  })
  await t.test('until it does', async () => {
    const complete = ['X-Forwarded-For: 203.0.113.9', 'X-Forwarded-Proto: https', `X-Forwarded-Host: ${name}`]
    await askFromHere('/hub/login', page, ...complete)
    const admin = directly()
    await logIn(admin, product.admin, product.adminPassword)
    assert.doesNotMatch((await admin.request('/hub/admin')).body, /Web server in front/)
  })
  await t.test('and so is one that hides https, or the name', async () => {
    const somebody = [page, 'X-Forwarded-For: 203.0.113.9']
    await askFromHere('/hub/login', ...somebody, `Host: ${name}`, 'Sec-Fetch-Site: none')
    await said(product.host, 'tljh-hub', /does not say whether browsers come by https: it sends no X-Forwarded-Proto/)
    await askFromHere('/hub/login', ...somebody, 'X-Forwarded-Proto: https')
    await said(product.host, 'tljh-hub', /does not say which name browsers ask for: .*X-Forwarded-Host/)
  })
})

test('the hub moves to a socket that only the web server’s group can open, and a kernel runs on', async t => {
  const { host } = product
  assert.match(await configure('http.address', frontSocket), /to \/run\/tljh\/front\.sock[\s\S]*is believed/)
  const ask = (...as: string[]) =>
    host.run(['setpriv', ...as, 'curl', '--silent', '--unix-socket', '/run/tljh/front.sock', 'http://hub/hub/health'], {
      check: false,
    })

  await t.test('through which the kernel is there as it was', async () => {
    const eve = through('nginx')
    await logIn(eve, 'eve')
    kernel = await joinKernel(eve, 'eve', kernel.id)
    assert.equal((await kernel.run('6 * 7')).text, '42')
  })
  await t.test('no student is among them, nor the hub’s port open any more', async () => {
    assert.match((await ask('--reuid=www-data', '--regid=www-data', '--clear-groups')).stdout, /"status":"ok"/)
    for (const account of ['jupyter-eve', 'nobody', 'tljh-hub']) {
      const refused = await ask(
        `--reuid=${account}`,
        `--regid=${account === 'nobody' ? 'nogroup' : account}`,
        '--init-groups',
      )
      // curl(1): 7, it could not connect.
      assert.equal(refused.code, 7, account)
    }
    const inKernel = await kernel.run(
      'import socket\ntry: socket.socket(socket.AF_UNIX).connect("/run/tljh/front.sock")\nexcept OSError as e: print(type(e).__name__)',
    )
    assert.match(inKernel.text, /PermissionError/)
    await assert.rejects(directly().request('/hub/login'))
  })
  await t.test('the group is another where the configuration says so, and never one with a student in it', async () => {
    const refused = async (...change: string[]) => {
      const { code, stdout, stderr } = await host.run([...TLJH_TS, 'config', ...change], { check: false })
      assert.equal(code, 1)
      return stdout + stderr
    }
    await host.run(['gpasswd', '--add', 'jupyter-eve', 'caddy'])
    assert.match(await refused('set', 'http.socket_group', 'caddy'), /jupyter-eve is in that group/)
    await host.run(['gpasswd', '--delete', 'jupyter-eve', 'caddy'])
    assert.match(await refused('set', 'users.extra_user_groups', '{www-data: [eve]}'), /puts users in www-data/)
    assert.match(await refused('set', 'http.socket_group', 'nobody-has-it'), /no such group/)
    await configure('http.socket_group', 'caddy')
    assert.match((await host.run(['stat', '--format=%U:%G %a', '/run/tljh/front.sock'])).stdout, /^root:caddy 660$/m)
    await configure('http.socket_group', 'www-data')
  })
})

for (const kind of frontProxies) {
  test(`through ${kind}`, async t => {
    const visitor = through(kind)
    const user = studentOf[kind]

    await t.test(
      'cookies are for https and this host alone, and the audit log has the visitor’s own address',
      async () => {
        await visitor.request('/hub/login')
        const answer = await visitor.logIn(user, studentPassword)
        assert.equal(answer.status, 302, answer.body)
        const cookies = setCookies(answer).filter(cookie => !/max-age=0|1970/i.test(cookie))
        assert.ok(
          cookies.some(cookie => /^__Host-tljh-session=.*; Path=\/;/.test(cookie)),
          String(cookies),
        )
        for (const cookie of cookies) assert.match(cookie, /; Secure/)
        assert.equal(await recordedAddress(user), product.host.gateway)
      },
    )

    await t.test('a server starts, and a kernel runs a cell over a WebSocket', async () => {
      await visitor.startServer()
      using own = await startKernel(visitor, user)
      assert.equal((await own.run('6 * 7')).text, '42')
      const path = `/user/${user}/api/kernels/${own.id}/channels`
      const sameOrigin = visitor.webSocket(path, { origin: urlOf(kind) })
      await once(sameOrigin, 'open')
      sameOrigin.terminate()
      const [, refusal] = await once(visitor.webSocket(path, { origin: 'https://evil.test' }), 'unexpected-response')
      assert.equal(refusal.statusCode, 403)
    })

    await t.test('an upload of 50 MB arrives', async () => {
      const size = 50 * 1024 * 1024
      const content = Buffer.alloc(size, 'tljh').toString('base64')
      const { status, body } = await visitor.jupyter('PUT', 'api/contents/big.bin', {
        ...{ type: 'file', format: 'base64', content },
      })
      assert.equal(status, 201, body)
      const kept = await visitor.jupyter('GET', 'api/contents/big.bin?content=0')
      assert.equal(JSON.parse(kept.body).size, size)
    })

    await t.test('a form of another site is refused, and one of this is not', async () => {
      assert.equal((await guess(through(kind), `own-${kind}`, { origin: urlOf(kind) })).status, 403)
      const foreign = await guess(through(kind), `foreign-${kind}`, { origin: 'https://evil.test' })
      assert.match(foreign.body, /another site/)
      assert.match((await guess(through(kind), 'plain', { origin: `http://${name}` })).body, /another site/)
    })

    await t.test('what the browser itself says of where it is counts for nothing', async () => {
      const answer = await guess(through(kind), `forged-${kind}`, forged)
      assert.equal(answer.status, 403)
      assert.equal(await recordedAddress(`forged-${kind}`), product.host.gateway)
      const { headers } = await through(kind).request('/hub/login', { headers: forged })
      for (const cookie of [headers['set-cookie'] ?? []].flat()) assert.match(cookie, /; Secure/)
    })
  })
}

test('whoever guesses is slowed down, whatever address they write', async () => {
  const attempts: number[] = []
  for (let number = 0; number < 6; number++) {
    const headers = { ...forged, 'x-forwarded-for': `203.0.113.${number}` }
    attempts.push((await guess(through('nginx'), 'guessed', headers)).status)
  }
  assert.deepEqual(attempts, [403, 403, 403, 403, 403, 429])
})

const echo = impostor(`
def serve(client):
    head = b""
    while b"\\r\\n\\r\\n" not in head: head += client.recv(65536)
    orders = b"X-Accel-Redirect: /protected/x\\r\\nX-Accel-Limit-Rate: 1\\r\\n" if b"/user/eve/orders" in head else b""
    client.sendall(b"HTTP/1.1 200 OK\\r\\n" + orders + b"Connection: close\\r\\nContent-Type: text/plain\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(head) + head)
    client.close()
`)

test('addresses arrive at a server byte for byte, and with them what is true of the browser', async () => {
  const { host } = product
  await host.writeFile('/home/jupyter-eve/echo.py', echo, { owner: 'jupyter-eve' })
  // The hub has moved since.
  const visitor = through('nginx')
  await logIn(visitor, 'eve')
  kernel = await joinKernel(visitor, 'eve', kernel.id)
  await kernel.run('import subprocess; subprocess.Popen(["python3", "echo.py"])')
  while ((await host.run(['test', '-S', '/run/tljh/users/eve/socket.kept'], { check: false })).code !== 0)
    await delay(50)
  kernel.socket.terminate()
  // Connections to the server before are kept open, and would be used.
  await host.run(['systemctl', 'restart', 'tljh-hub'])

  for (const kind of frontProxies) {
    const eve = through(kind)
    await logIn(eve, 'eve')
    const target = '/user/eve/a%2Fb%2fc/%C3%A9%20x/(1);p=1,2/~%7Eq%25?x=%2F&y=%C3%A9&z=a+b%20c&&'
    const { status, body } = await eve.request(target, { headers: forged })
    assert.equal(status, 200, body)
    const [line, ...rest] = body.trimEnd().split('\r\n')
    assert.equal(line, `GET ${target} HTTP/1.1`, kind)
    const received = new Map(rest.map(text => [text.split(': ')[0]?.toLowerCase(), text.split(': ')[1]]))
    assert.equal(received.get('host'), `${name}:${portOf[kind]}`, kind)
    assert.equal(received.get('x-forwarded-for'), host.gateway, kind)
    assert.equal(received.get('x-forwarded-proto'), 'https', kind)
    assert.doesNotMatch(body, /203\.0\.113|evil|tljh-session/, kind)
  }
})

test('a server’s order to nginx to answer with a file of its own reaches no nginx, even where that would obey', async () => {
  const { host } = product
  const site = '/etc/nginx/sites-enabled/hub'
  const obedient = (await host.readFile(site))
    .replace(/proxy_ignore_headers .*/, '')
    .replace('location / {', 'location /protected/ { internal; alias /srv/protected/; }\n    location / {')
  await host.writeFile('/srv/protected/x', 'a secret of the institution')
  await host.writeFile(site, obedient)
  await host.run(['nginx', '-t', '-q'])
  await host.run(['nginx', '-s', 'reload'])
  const eve = through('nginx')
  while ((await eve.request('/protected/x')).status !== 404) await delay(50)
  await logIn(eve, 'eve')
  const { status, body, headers } = await eve.request('/user/eve/orders')
  assert.equal(status, 200)
  assert.match(body, /^GET \/user\/eve\/orders /)
  assert.equal(headers['x-accel-redirect'], undefined)
})

test('past the web servers, from another machine, the hub serves plain http and believes nothing', async () => {
  // By a port, in place of the socket.
  const { host } = product
  await configure('http.address', '')
  const site = '/etc/nginx/sites-enabled/hub'
  await host.writeFile(site, (await host.readFile(site)).replace(frontSocket, `127.0.0.1:${hubPort}`))
  await host.run(['nginx', '-s', 'reload'])
  const answer = await guess(directly(), 'past', { ...forged, 'x-forwarded-proto': 'https' })
  assert.equal(answer.status, 403)
  assert.equal(await recordedAddress('past'), product.host.gateway)
  const { headers } = await directly().request('/hub/login', { headers: { ...forged, 'x-forwarded-proto': 'https' } })
  for (const cookie of [headers['set-cookie'] ?? []].flat()) assert.doesNotMatch(cookie, /; Secure/)
  await said(product.host, 'tljh-hub', /is not believed: http\.trusted_proxies does not name /)

  const ann = through('nginx')
  while ((await ann.request('/hub/health')).status !== 200) await delay(50)
  await logIn(ann, 'ann')
  const token = ann.cookies.get('__Host-tljh-session')
  const cookie = `tljh-session=${token}; __Host-tljh-session=${token}`
  const stolen = await directly().request('/hub/home', { headers: { cookie, 'x-forwarded-proto': 'https' } })
  assert.match(stolen.location, /^\/hub\/login/, 'a session of https is none there')
})

test('Forwarded is believed where the configuration says so, and X-Forwarded-* no more', async t => {
  t.after(() => configure('http.proxy_headers', 'x-forwarded'))
  await configure('http.proxy_headers', 'forwarded')
  const standard = 'Forwarded: for="[2001:db8::7]:4711";proto=https;host=hub.test'
  assert.match(await askFromHere('/hub/login', page, standard), /_xsrf=[^\r\n]*; Secure/)
  const old = ['X-Forwarded-For: 203.0.113.9', 'X-Forwarded-Proto: https']
  assert.doesNotMatch(await askFromHere('/hub/login', page, ...old), /; Secure/)
})

test('only those on the list are believed', async () => {
  await configure('http.trusted_proxies', `[${product.host.gateway}]`)
  const answer = await guess(directly(), 'named', { ...forged, 'x-forwarded-for': 'garbage, 203.0.113.9' })
  assert.equal(answer.status, 403)
  assert.equal(await recordedAddress('named'), '203.0.113.9')
  assert.doesNotMatch(await askFromHere('/hub/login', page, 'X-Forwarded-Proto: https'), /; Secure/)
  const refused = await product.host.run([...TLJH_TS, 'config', 'set', 'http.trusted_proxies', '[0.0.0.0/0]'], {
    check: false,
  })
  assert.match(refused.stdout + refused.stderr, /http\.trusted_proxies\.0 is "0\.0\.0\.0\/0"[\s\S]*10\.1\.0\.0\/16/)
})
