/** What a program sees that watches the hub, read with the Prometheus project's own parser. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { startKernel } from '../../harness/people/kernel.ts'
import { type Visitor, visit } from '../../harness/people/visitor.ts'
import { claiming, studentPassword } from '../../harness/product/classroom.ts'
import { bootProduct, type Product, TLJH_TS } from '../../harness/product/product.ts'

const token = 'tok-0123456789abcdef01234567'

let product: Product
let ann: Visitor

before(async () => {
  product = await bootProduct({ config: `users:\n  allowed: [ann]\n${claiming}` })
  ann = visit(product.url)
  assert.equal((await ann.logIn('ann', studentPassword)).status, 302)
})
after(() => product[Symbol.asyncDispose]())

async function setToken(text: string, check = true): Promise<string> {
  const set = [...TLJH_TS, 'config', 'set', 'metrics.token', text]
  const { stdout, stderr } = await product.host.run(set, { check })
  return stdout + stderr
}

/** As a program asks, which keeps no cookies. */
const ask = (headers: Record<string, string>) =>
  visit(product.url).request('/hub/metrics', { headers: { accept: '*/*', ...headers } })

const parser = `
import json, sys
from prometheus_client.parser import text_string_to_metric_families
print(json.dumps([[s.name, s.labels, s.value] for f in text_string_to_metric_families(sys.stdin.read()) for s in f.samples]))
`

type Read = (name: string, labels?: Record<string, string>) => number | undefined

/** What the page says now: the value of a sample, by its name and some of its labels. */
async function numbers(): Promise<Read> {
  const { status, body, headers } = await ask({ authorization: `Bearer ${token}` })
  assert.equal(status, 200, body)
  assert.doesNotMatch(body, /\bann\b/, 'no number names a user')
  assert.equal(headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8')
  const { stdout } = await product.host.run(['/opt/tljh/user/bin/python', '-c', parser], { input: body })
  const samples = JSON.parse(stdout) as [name: string, labels: Record<string, string>, value: number][]
  return (name, labels = {}) =>
    samples.find(([one, has]) => one === name && Object.entries(labels).every(([key, text]) => has[key] === text))?.[2]
}

/** Looks until it is so. */
async function until(isSo: (read: Read) => boolean): Promise<Read> {
  for (;;) {
    const read = await numbers()
    if (isSo(read)) return read
    await delay(50)
  }
}

test('the numbers are for administrators, and for nobody else until there is a token', async () => {
  const admin = visit(product.url)
  await admin.logIn(product.admin, product.adminPassword)
  const { status, body } = await admin.request('/hub/metrics')
  assert.equal(status, 200)
  assert.match(body, /^jupyterhub_running_servers 0$/m)
  assert.equal((await ann.request('/hub/metrics')).status, 403)
  assert.equal((await visit(product.url).request('/hub/metrics')).location, '/hub/login?next=%2Fhub%2Fmetrics')

  // A web server in front may have asked for a password of its own by that header.
  const basic = await admin.request('/hub/metrics', { headers: { authorization: 'Basic YTpi' } })
  assert.equal(basic.status, 200)
  for (const authorization of ['Bearer ', 'Bearer', 'Bearer undefined', 'Bearer null', `Bearer ${token}`, '']) {
    const refused = await ask({ authorization })
    assert.equal(refused.status, 403, authorization)
    assert.match(refused.body, /METRICS_TOKEN|LOGIN_NEEDED/)
  }
})

test('a token opens them for a program, at once, and one that could be guessed is refused', async () => {
  assert.match(await setToken('prometheus', false), /metrics\.token[\s\S]*24 to 256[\s\S]*openssl rand -hex 32/)
  assert.match(await setToken(token), /programs read the metrics with the new token from now on/)
  for (const authorization of [`Bearer ${token}`, `bearer ${token}`, `token ${token}`]) {
    assert.equal((await ask({ authorization })).status, 200, authorization)
  }
  for (const authorization of [`Bearer ${token}x`, `Bearer ${token.slice(1)}`, `Bearer ${token} x`, 'Token']) {
    const { status, body } = await ask({ authorization })
    assert.equal(status, 403, authorization)
    assert.equal(JSON.parse(body).code, 'METRICS_TOKEN')
  }
  const shown = await product.host.run([...TLJH_TS, 'config', 'show'])
  assert.ok(!shown.stdout.includes(token), 'the token is not shown')
})

test('what students do is counted: a start, a WebSocket, answers, a wrong password', async () => {
  await setToken(token, false)
  const before = await numbers()
  const counted = (read: Read, name: string, labels?: Record<string, string>) =>
    (read(name, labels) ?? 0) - (before(name, labels) ?? 0)
  await visit(product.url).logIn('ann', 'not the password')
  await ann.startServer()
  using kernel = await startKernel(ann, 'ann')

  const during = await until(read => read('tljh_websockets') === 1)
  assert.equal(during('jupyterhub_running_servers'), 1)
  assert.equal(during('tljh_servers', { state: 'ready' }), 1)
  assert.equal(counted(during, 'jupyterhub_server_spawn_duration_seconds_count', { status: 'success' }), 1)
  assert.ok((during('jupyterhub_server_spawn_duration_seconds_sum', { status: 'success' }) ?? 0) > 0)
  assert.equal(counted(during, 'tljh_audit_entries_total', { kind: 'login-refused' }), 1)
  assert.ok(counted(during, 'tljh_proxied_answers_total', { code: '2xx' }) >= 2)
  const spawn = { method: 'POST', handler: '/hub/spawn', code: '302' }
  assert.equal(counted(during, 'jupyterhub_request_duration_seconds_count', spawn), 1)
  assert.equal(during('jupyterhub_total_users'), 2)
  assert.equal(during('jupyterhub_active_users', { period: '24h' }), 2)
  assert.ok((during('process_resident_memory_bytes') ?? 0) > 30e6)
  const descriptors = during('process_open_fds') ?? 0
  assert.ok(descriptors > 10 && descriptors < (during('process_max_fds') ?? 0))

  kernel[Symbol.dispose]()
  await ann.post('/hub/stop')
  await until(read => read('jupyterhub_running_servers') === 0 && read('tljh_websockets') === 0)
})

test('a spawner that does not answer is seen, and that it answers again', async () => {
  await setToken(token, false)
  assert.equal((await numbers())('tljh_spawner_up'), 1)
  await product.host.run(['systemctl', 'stop', 'tljh-spawner.socket', 'tljh-spawner.service'])
  try {
    await until(read => read('tljh_spawner_up') === 0)
  } finally {
    await product.host.run(['systemctl', 'start', 'tljh-spawner.socket', 'tljh-spawner.service'])
  }
  await until(read => read('tljh_spawner_up') === 1)
})
