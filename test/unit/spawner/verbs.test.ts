/** What the hub can have done as root, where the hub takes its time. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { parseConfig } from '../../../config/meaning/config.ts'
import { createListener } from '../../../spawner/service/listener.ts'
import { type Powers, verbs } from '../../../spawner/service/verbs.ts'

const never = () => assert.fail('it must not be asked')

test('who is an administrator is asked again when a proposal has arrived', async t => {
  let inForce = parseConfig('users: { admin: [ann] }')
  const powers: Powers = {
    config: { current: () => inForce, problem: () => undefined },
    servers: { list: never, get: never, start: never, stop: never, follow: never },
    configuration: {
      status: never,
      reload: never,
      hubRuns: never,
      follow: never,
      propose: async () => ({ number: 1 }),
    },
    removals: { archive: never, forget: never, mustStay: never },
  }
  const folder = mkdtempSync(join(tmpdir(), 'verbs-'))
  const socketPath = join(folder, 'socket')
  const listener = createListener(powers, () => undefined).listen(socketPath)
  t.after(() => {
    listener.closeAllConnections()
    listener.close()
    rmSync(folder, { recursive: true })
  })
  await once(listener, 'listening')

  async function propose(meanwhile: () => void): Promise<string> {
    const body = '{}'
    const asked = request({
      socketPath,
      method: 'POST',
      path: '/config/propose/ann',
      headers: { 'content-length': body.length, connection: 'close' },
    })
    asked.flushHeaders()
    const [socket] = await once(listener, 'request')
    assert.ok(socket)
    meanwhile()
    asked.end(body)
    const [answer] = await once(asked, 'response')
    return `${answer.statusCode} ${await text(answer)}`
  }

  assert.match(await propose(() => undefined), /^200 .*"number":1/)
  const demote = () => {
    inForce = parseConfig('users: { admin: [teacher], allowed: [ann] }')
  }
  assert.match(await propose(demote), /^403 .*USER_NOT_ALLOWED/)
})

test('no verb is there but those of the table, and one alone takes a body', () => {
  assert.deepEqual(
    Object.keys(verbs).filter(verb => (verbs[verb]?.mostBytes ?? 0) > 0),
    ['POST config/propose/NAME'],
  )
  for (const verb of Object.keys(verbs))
    assert.match(verb, /^(?:GET|POST) (?:servers|users|config|events)(?:\/NAME|\/[a-z-]+)*$/)
})
