import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { test } from 'node:test'
import { showProgressPage } from '../../../installer/progress-page.ts'

const titles = ['accounts', 'folders <&>']

/** A port on which nobody listens. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  return typeof address === 'object' ? (address?.port ?? 0) : 0
}

async function open() {
  const port = await freePort()
  const page = await showProgressPage(titles, { address: '127.0.0.1', port, baseUrl: '/class/' })
  assert.ok(page)
  return { page, port, url: `http://127.0.0.1:${port}` }
}

test('every path shows the steps, which of them is under way, and lets nothing else in', async () => {
  const { page, url } = await open()
  page.begins('accounts')
  const answer = await fetch(`${url}/index.html`)
  assert.equal(answer.status, 200)
  assert.match(
    answer.headers.get('content-security-policy') ?? '',
    /^default-src 'none'; script-src 'sha256-[^ ]+'; style-src 'sha256-/,
  )
  const html = await answer.text()
  assert.match(
    html,
    /<li class="runs" aria-label="accounts: under way">accounts<\/li>\n<li class="waits"[^>]*>folders &#60;&#38;&#62;</,
  )
  assert.match(html, /<noscript><meta http-equiv="refresh"/)
  assert.match(html, /name="viewport"/)
  page.ends('accounts')
  assert.deepEqual(await (await fetch(`${url}/progress.json`)).json(), {
    steps: [
      { title: 'accounts', state: 'done' },
      { title: 'folders <&>', state: 'waits' },
    ],
    failed: false,
  })
  assert.equal((await fetch(`${url}/class/hub/health`)).status, 503)
  await page.close()
})

test('the address is free as soon as it is closed, whoever looks', async () => {
  const { page, port, url } = await open()
  await (await fetch(url)).text()
  await page.close()
  const other = createServer().listen(port, '127.0.0.1')
  await once(other, 'listening')
  other.close()
})

test('a failure is told to whoever looks, without a reason', async () => {
  const { page, url } = await open()
  page.begins('accounts')
  await (await fetch(url)).text()
  const failing = page.fail()
  const html = await (await fetch(url)).text()
  assert.match(html, /The terminal in which it was started says why/)
  assert.doesNotMatch(html, /http-equiv="refresh"/)
  await failing
  await assert.rejects(fetch(url))
})

test('where somebody listens already, there is none', async () => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  const address = other.address()
  const port = typeof address === 'object' ? (address?.port ?? 0) : 0
  assert.equal(await showProgressPage(titles, { address: '127.0.0.1', port, baseUrl: '/' }), undefined)
  other.close()
})
