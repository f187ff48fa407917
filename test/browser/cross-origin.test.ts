/**
 * A page of another origin, opened by a student who is logged in and whose kernel runs, is without effect.
 *
 * Three origins attack. One is another site: its requests carry no cookie at all (SameSite). The other two are this very
 * host on another port, as a student's own web server would be: cookies know no ports, so all of its requests come with
 * Ann's session, and only the hub's look at `Origin` and at what the browser says of the page stands between. Over plain
 * http, browsers say less: no `Sec-Fetch-…`. So the last browser takes the hub's address for a safe one, as with https.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, test } from 'node:test'
import { inspect, openBrowser, type Person } from '../harness/people/browser.ts'
import { load, openWebSocket, post, read, sendForm } from '../harness/people/cross-origin-attempts.ts'
import { arriveInLab, logIn, newNotebook, password, runCell } from '../harness/people/page-actions.ts'
import { type Visitor, visit } from '../harness/people/visitor.ts'
import { claiming } from '../harness/product/classroom.ts'
import { bootProduct } from '../harness/product/product.ts'

const ports = [8000, 8001, 8002]
const product = await bootProduct({ config: `users:\n  allowed: [ann, bob, cleo, dora]\n${claiming}` })
const { host } = product
const hubHost = new URL(product.url).host
const plain = await openBrowser(product)
const safe = await openBrowser(product, [
  `--unsafely-treat-insecure-origin-as-secure=${[product.url, ...ports.map(port => `${product.url}:${port}`)].join(',')}`,
])
const elsewhere = createServer((_request, response) => {
  response.setHeader('content-type', 'text/html').end(attackersPage)
})
after(async () => {
  elsewhere.close()
  await plain[Symbol.asyncDispose]()
  await safe[Symbol.asyncDispose]()
  await product[Symbol.asyncDispose]()
})

test('a page of another site can neither start a kernel nor open its WebSocket', async () => {
  const ann = await plain.newPerson()
  await attackedInVain(ann, 'ann', await serveElsewhere())
})

test('nor can a page of the same host on another port', async () => {
  const bob = await plain.newPerson()
  await attackedInVain(bob, 'bob', await serveInHost(8000))
})

test('nor can it where the browser takes the connection for a safe one', async () => {
  const cleo = await safe.newPerson()
  await attackedInVain(cleo, 'cleo', await serveInHost(8001))
})

test('a link from another page asks before it logs out, and an image starts no server', async () => {
  const dora = await safe.newPerson()
  await logIn(dora.page, 'dora')
  const attacker = await dora.newPage()
  await attacker.goto(await serveInHost(8002))

  await load(attacker, 'img', `${product.url}/hub/spawn`)
  await dora.page.reload()
  await dora.page.getByText('Not running').waitFor()

  await attacker.evaluate(`location.href = '${product.url}/hub/logout'`)
  await attacker.getByRole('heading', { name: 'Log out?' }).waitFor()
  await inspect(attacker, 'logout')
  await attacker.getByRole('link', { name: 'Stay' }).click()
  await attacker.waitForURL(`${product.url}/hub/home`)
  await attacker.getByRole('link', { name: 'Log out' }).click()
  await attacker.getByRole('button', { name: 'Log in' }).waitFor()
})

/** A student works in a notebook; then opens the attacker's page, which tries what it can. */
async function attackedInVain({ page, newPage }: Person, user: string, attackersUrl: string): Promise<void> {
  await logIn(page, user)
  await page.goto('/hub/spawn')
  await arriveInLab(page, user)
  await newNotebook(page)
  await runCell(page, 'kept = "kept"')
  const witness = visit(product.url)
  assert.equal((await witness.logIn(user, password)).status, 302)
  const kernels = await kernelsOf(witness, user)
  assert.equal(kernels.length, 1)
  const api = `${product.url}/user/${user}/api`
  const channels = `ws://${hubHost}/user/${user}/api/kernels/${kernels[0]}/channels`

  const attacker = await newPage()
  await attacker.goto(attackersUrl)
  for (const type of ['application/json', 'text/plain', 'application/x-www-form-urlencoded']) {
    for (const mode of ['cors', 'no-cors']) await post(attacker, `${api}/kernels`, { mode, type })
  }
  for (const method of ['DELETE', 'PUT', 'PATCH']) await post(attacker, `${api}/kernels/${kernels[0]}`, { method })
  await sendForm(attacker, `${api}/kernels`)
  await sendForm(attacker, `${api}/kernels/${kernels[0]}/restart`)
  await sendForm(attacker, `${product.url}/hub/stop`)
  await sendForm(attacker, `${product.url}/hub/logout`)
  assert.equal(await read(attacker, `${api}/kernels`), 'nothing')
  assert.equal(await openWebSocket(attacker, channels), 'refused')
  for (const path of ['/hub/logout', '/hub/spawn', `/user/${user}/logout`]) {
    await load(attacker, 'img', `${product.url}${path}`)
    await load(attacker, 'iframe', `${product.url}${path}`)
  }

  assert.deepEqual(await kernelsOf(witness, user), kernels)
  assert.equal(await runCell(page, 'kept'), "'kept'")
  const own = await newPage()
  await own.goto('/hub/home')
  await own.getByText('Running', { exact: true }).waitFor()
  // From a page of Jupyter's own it opens: what kept the attacker's from it was its origin.
  assert.equal(await openWebSocket(page, channels), 'open')
}

async function kernelsOf(witness: Visitor, user: string): Promise<string[]> {
  // Jupyter gives its own XSRF cookie with its first page.
  await witness.request(`/user/${user}/lab`)
  const answer = await witness.jupyter('GET', 'api/kernels')
  assert.equal(answer.status, 200)
  return (JSON.parse(answer.body) as { id: string }[]).map(({ id }) => id)
}

const attackersPage = '<!doctype html><title>A harmless page</title><body>'

/** On this machine: to a browser, another address is another site. */
async function serveElsewhere(): Promise<string> {
  await once(elsewhere.listen(0, gatewayOf(host.address)), 'listening')
  const { address, port } = elsewhere.address() as AddressInfo
  return `http://${address}:${port}/`
}

/** This machine's end of the cable to the host, see test/harness/host/network.ts. */
function gatewayOf(address: string): string {
  return address.replace(/\.2$/, '.1')
}

/** On the host itself, as any of its users may. Ends with the host. */
async function serveInHost(port: number): Promise<string> {
  await host.writeFile('/srv/attacker/index.html', attackersPage)
  const argv = ['python3', '-u', '-m', 'http.server', String(port), '--directory', '/srv/attacker']
  const server = await host.start(argv, { user: 'nobody' })
  await once(server.stdout, 'data')
  return `${product.url}:${port}/`
}
