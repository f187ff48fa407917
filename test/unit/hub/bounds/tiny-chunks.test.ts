/** Bodies in chunks of one byte, as the hub meets them. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import { JoiningRequest } from '../../../../hub/bounds/tiny-chunks.ts'

const head = 'PUT / HTTP/1.1\r\nHost: hub.test\r\nTransfer-Encoding: chunked\r\n\r\n'

async function startHub(t: TestContext) {
  const requests: IncomingMessage[] = []
  const server = createServer({ IncomingMessage: JoiningRequest }, request => void requests.push(request))
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const ask = async (): Promise<[Socket, JoiningRequest]> => {
    const client = connect((server.address() as AddressInfo).port, '127.0.0.1').on('error', () => undefined)
    t.after(() => client.destroy())
    client.write(head)
    await once(server, 'request')
    const request = requests.at(-1)
    assert.ok(request instanceof JoiningRequest)
    return [client, request]
  }
  return { ask }
}

async function piecesOf(request: IncomingMessage): Promise<Buffer[]> {
  const pieces: Buffer[] = []
  for await (const piece of request) pieces.push(piece)
  return pieces
}

test('ten thousand chunks of one byte that wait are a few pieces with memory of their own, and all are counted', async t => {
  const [client, request] = await (await startHub(t)).ask()
  client.write(`${'1\r\na\r\n'.repeat(10_000)}0\r\n\r\n`)
  while (!request.complete) await turn()

  const pieces = await piecesOf(request)
  assert.ok(pieces.length < 20, `${pieces.length} pieces`)
  assert.equal(Buffer.concat(pieces).toString(), 'a'.repeat(10_000))
  for (const { buffer, length } of pieces.filter(piece => piece.length > 1)) assert.equal(buffer.byteLength, length)
  assert.equal(request.takeCount(), 10_000)
  assert.equal(request.takeCount(), 0)
})

test('bytes come in their order, whatever is small or big and on how many connections they come', async t => {
  const { ask } = await startHub(t)
  const length = fc.oneof(
    fc.integer({ min: 1, max: 20 }),
    fc.constantFrom(1023, 1024, 1025),
    fc.integer({ min: 1, max: 90_000 }),
  )
  const chunks = fc.array(fc.record({ length, waits: fc.boolean() }), { minLength: 1, maxLength: 60 })
  await fc.assert(
    fc.asyncProperty(chunks, async chunks => {
      const asked = [await ask(), await ask()]
      const said = asked.map(() => '')
      const arrived = asked.map(([, request]) => piecesOf(request))
      for (const [index, { length, waits }] of chunks.entries()) {
        for (const [which, [client]] of asked.entries()) {
          const text = String.fromCharCode(97 + ((index + which) % 26)).repeat(length)
          said[which] += text
          client.write(`${length.toString(16)}\r\n${text}\r\n`)
        }
        if (waits) await turn()
      }
      for (const [client] of asked) client.write('0\r\n\r\n')
      const heard = (await Promise.all(arrived)).map(pieces => Buffer.concat(pieces).toString())
      assert.ok(heard.every((text, which) => text === said[which]))
      for (const [client] of asked) client.destroy()
    }),
    { numRuns: 40 },
  )
})
