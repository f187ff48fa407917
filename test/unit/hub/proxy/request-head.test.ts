import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { type TestContext, test } from 'node:test'
import fc from 'fast-check'
import type { UserName } from '../../../../config/users/names.ts'
import type { Forwarded } from '../../../../hub/proxy/headers.ts'
import { requestHead } from '../../../../hub/proxy/request-head.ts'

const ann = { user: 'ann' as UserName, address: '192.0.2.1', protocol: 'http' } as const

/** Answers each request with the head that a server would get; on one connection, one after the other. */
async function openConnection(t: TestContext, forwarded: (number: number) => Forwarded = () => ann) {
  let number = 0
  const hub = createServer((request, response) => {
    request.resume()
    const head = requestHead(forwarded(number++), request.url ?? '', request)
    response.end(Buffer.from(head, 'latin1'))
  }).listen(0, '127.0.0.1')
  await once(hub, 'listening')
  t.after(() => hub.close())
  const socket = connect((hub.address() as AddressInfo).port, '127.0.0.1')
  t.after(() => socket.destroy())
  return async (lines: readonly string[], body = ''): Promise<string[]> => {
    socket.write(`${lines.join('\r\n')}\r\n\r\n${body}`, 'latin1')
    let text = ''
    for (;;) {
      const [chunk] = (await once(socket, 'data')) as [Buffer]
      text += chunk.toString('latin1')
      const [head = '', rest] = text.split(/\r\n\r\n(.*)/s)
      const length = Number(/content-length: (\d+)/i.exec(head)?.[1])
      if (rest?.length === length) return rest.split('\r\n')
    }
  }
}

test('what is said again is passed on again, each time below the line of its own', async t => {
  const ask = await openConnection(t)
  const own = ['Host: hub', 'Cookie: tljh-session=secret; theme=dark']
  const passed = ['Host: hub', 'Cookie: theme=dark', 'X-Forwarded-For: 192.0.2.1', 'X-Forwarded-Proto: http']
  for (const line of ['GET /user/ann/a HTTP/1.1', 'GET /user/ann/b?c HTTP/1.1', 'DELETE /user/ann/a HTTP/1.1']) {
    assert.deepEqual(await ask([line, ...own]), [line, ...passed, 'X-Tljh-User: ann', '', ''])
  }
})

test('whoever asks with other words on the same connection is passed on with those', async t => {
  const header = fc.record({
    name: fc.constantFrom('Accept', 'accept', 'X-A', 'X-B', 'Cookie', 'X-Forwarded-For', 'X-Tljh-User', 'Keep-Alive'),
    value: fc.constantFrom('1', '2', 'a=b', 'tljh-session=x; a=b', 'tljh-session=x'),
  })
  const request = fc.record({
    headers: fc.array(header, { maxLength: 4 }),
    named: fc.constantFrom('', 'X-A', 'x-b', 'Host'),
    body: fc.constantFrom('none', 'sized', 'chunked'),
  })
  const onOne = await openConnection(t)
  await fc.assert(
    fc.asyncProperty(fc.array(request, { minLength: 2, maxLength: 6 }), async requests => {
      for (const { headers, named, body } of requests) {
        const lines = [
          'POST /user/ann/x HTTP/1.1',
          'Host: hub',
          ...headers.map(({ name, value }) => `${name}: ${value}`),
        ]
        if (named) lines.push(`Connection: ${named}`)
        if (body === 'sized') lines.push('Content-Length: 2')
        if (body === 'chunked') lines.push('Transfer-Encoding: chunked')
        const sent = { none: '', sized: 'ab', chunked: '2\r\nab\r\n0\r\n\r\n' }[body]
        // Nothing was said on that one before.
        const onNew = await openConnection(t)
        assert.deepEqual(await onOne(lines, sent), await onNew(lines, sent))
      }
    }),
    { numRuns: 30 },
  )
})

test('a head that is too long to be kept is passed on whole, and nothing older in its place', async t => {
  const ask = await openConnection(t)
  const line = 'GET /user/ann/ HTTP/1.1'
  const told = ['X-Forwarded-For: 192.0.2.1', 'X-Forwarded-Proto: http', 'X-Tljh-User: ann', '', '']
  for (const value of ['short', 'long'.repeat(3000), 'short', 'long'.repeat(3000), 'long'.repeat(2999)]) {
    const lines = [line, 'Host: hub', `X-A: ${value}`]
    assert.deepEqual(await ask(lines), [...lines, ...told])
  }
})

test('who asks, from where and how is told as it is at each request', async t => {
  const seen: Forwarded[] = [
    ann,
    { ...ann, user: 'bob' as UserName },
    ann,
    { ...ann, address: '192.0.2.2' },
    ann,
    { ...ann, protocol: 'https' },
    ann,
  ]
  const ask = await openConnection(t, number => seen[number] ?? ann)
  for (const { user, address, protocol } of seen) {
    const told = (await ask(['GET /user/ann/ HTTP/1.1', 'Host: hub'])).slice(2, -2)
    const expected = [`X-Forwarded-For: ${address}`, `X-Forwarded-Proto: ${protocol}`, `X-Tljh-User: ${user}`]
    assert.deepEqual(told, expected)
  }
})
