/**
 * What takes longer than time limits that other proxies have: 300 seconds for a whole request (Node.js's own, looked at each 30 seconds), one
 * or five minutes for a WebSocket on which nobody speaks. One wait serves all.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { text } from 'node:stream/consumers'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { openStandIn, type StandIn } from '../harness/peers/fake-jupyter.ts'

/** 326 seconds: that was seen of configurable-http-proxy, before it answered an upload with 408. */
const quietMs = 6 * 60_000
const dropMs = 1_000

let standIn: StandIn
before(async () => {
  standIn = await openStandIn()
})
after(() => standIn?.[Symbol.asyncDispose]())

test('an upload that drips for six minutes arrives, and a WebSocket that was quiet for as long still speaks', async () => {
  const socket = standIn.ann.webSocket('/user/ann/ws')
  await once(socket, 'open')
  const headers = { cookie: standIn.cookie, 'content-type': 'application/octet-stream' }
  const upload = httpRequest(`${standIn.classroom.url}/user/ann/swallow`, { method: 'PUT', headers })
  const answered = once(upload, 'response')
  answered.catch(() => undefined)

  const drops = quietMs / dropMs
  for (let drop = 0; drop < drops; drop++) {
    upload.write('drop')
    await delay(dropMs)
  }
  upload.end()

  const [answer] = (await answered) as [IncomingMessage]
  assert.equal(answer.statusCode, 200)
  assert.equal(await text(answer), String(4 * drops))
  const echo = once(socket, 'message')
  socket.send('still there')
  assert.equal(String((await echo)[0]), 'still there')
  socket.close()
})
