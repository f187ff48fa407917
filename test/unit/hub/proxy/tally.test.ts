import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { type AddressInfo, createServer as createListener } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { shortUnixName, type UserName, unixName } from '../../../../config/users/names.ts'
import { createProxy } from '../../../../hub/proxy/proxy.ts'

test('a server that answers with a status that there is not spoils no count', async t => {
  const owner = 'ann' as UserName
  const sockets = mkdtempSync(join(tmpdir(), 'tljh-tally-'))
  const folder = join(sockets, shortUnixName(unixName(owner)))
  mkdirSync(folder)
  let status = 0
  const server = createListener(socket => {
    socket.once('data', () => socket.end(`HTTP/1.1 ${status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`))
  }).listen(join(folder, 'socket'))
  const proxy = createProxy(sockets)
  const passage = { owner, target: '/user/ann/', prefix: '/user/ann/', user: owner, address: '::1' } as const
  const hub = createServer((request, response) => {
    void proxy.request({ ...passage, protocol: 'http' }, request, response)
  }).listen(0, '127.0.0.1')
  await Promise.all([once(server, 'listening'), once(hub, 'listening')])
  t.after(() => {
    for (const one of [server, hub]) one.close()
    proxy.close()
    rmSync(sockets, { recursive: true })
  })

  const heard: number[] = []
  for (status of [200, 404, 600, 999, 500]) {
    const answer = await fetch(`http://127.0.0.1:${(hub.address() as AddressInfo).port}/user/ann/`)
    heard.push(answer.status)
  }
  assert.deepEqual(heard, [200, 404, 600, 999, 500])
  assert.deepEqual(proxy.tally(), { webSockets: 0, answers: [1, 0, 1, 3] })
})
