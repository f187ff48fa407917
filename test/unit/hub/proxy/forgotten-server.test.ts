/** What a server that is no more has left with the hub. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer, type ServerResponse } from 'node:http'
import { connect, createServer as createListener } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { shortUnixName, type UserName, unixName } from '../../../../config/users/names.ts'
import { createProxy } from '../../../../hub/proxy/proxy.ts'

const owner = 'ann' as UserName
/** More than the kernel keeps for a browser, and less than the hub lets wait before it reads a server no further. */
const answer = Buffer.alloc(600 * 1024)
/** The proxy looks twice in it. */
const limitMs = 40

/** A hub, and ann's server, which gives everybody the same answer. */
async function startHub(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'tljh-forgotten-'))
  mkdirSync(join(folder, shortUnixName(unixName(owner))))
  const head = `HTTP/1.1 200 OK\r\ncontent-length: ${answer.length}\r\n\r\n`
  const server = createListener(socket => socket.once('data', () => socket.write(head) && socket.write(answer)))
  server.listen(join(folder, shortUnixName(unixName(owner)), 'socket'))
  const proxy = createProxy(folder, limitMs)
  const passage = { owner, target: '/', prefix: '/', user: owner, address: '::1', protocol: 'http' } as const
  const hub = createServer((request, response) => void proxy.request(passage, request, response))
  const path = join(folder, 'hub')
  await Promise.all([once(server, 'listening'), once(hub.listen(path), 'listening')])
  t.after(() => {
    for (const one of [server, hub]) one.close()
    proxy.close()
    rmSync(folder, { recursive: true })
  })
  return { proxy, hub, path }
}

test('what a server has said before it ended is given up, too, where a browser takes nothing of it', {
  timeout: 30_000,
}, async t => {
  const { proxy, hub, path } = await startHub(t)
  // A browser that reads nothing.
  const browser = connect(path).pause()
  t.after(() => browser.destroy())
  browser.write('GET / HTTP/1.1\r\nhost: hub\r\n\r\n')
  const [, response] = (await once(hub, 'request')) as [unknown, ServerResponse]
  while (!response.writableEnded) await new Promise(setImmediate)
  assert.ok(response.writableLength > 0, 'a part of it waits')

  proxy.forget(owner)
  // Each look at the clock is a minute later.
  let minutes = 0
  t.mock.method(performance, 'now', () => minutes++ * 60_000)

  await once(response, 'close')
  assert.equal(response.writableFinished, false)
  assert.ok(minutes > 10)
})
