/** What the hub knows of servers, from answers and events that reach it in an order of their own. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { parseUserName } from '../../../config/users/names.ts'
import type { SpawnerClient } from '../../../spawner/client/client.ts'
import type { Event, Server } from '../../../spawner/client/protocol.ts'
import { followServers } from '../../../spawner/client/servers.ts'

const ann = parseUserName('ann')
const end = { what: 'It could not be started', why: 'the home is a link', fix: 'Remove it', log: [] }
const starting: Server = { kind: 'starting', user: ann, since: 1, progress: 10, step: 'Preparing' }
const failed: Server = { kind: 'failed', user: ann, at: 2, end }
const stopping: Server = { kind: 'stopping', user: ann, since: 3 }

/** Servers of a spawner whose answers and events the test sends. */
function follow(t: TestContext) {
  const stopped = new AbortController()
  t.after(() => stopped.abort())
  let tell: (event: Event) => void = () => assert.fail('nobody listens')
  const asked: PromiseWithResolvers<Server>[] = []
  const ask = () => {
    const answer = Promise.withResolvers<Server>()
    asked.push(answer)
    return answer.promise
  }
  const spawner: Partial<SpawnerClient> = {
    start: ask,
    stop: ask,
    follow: async ({ onEvent }) => {
      tell = event => onEvent(structuredClone(event))
    },
  }
  const servers = followServers(spawner as SpawnerClient, stopped.signal, () => undefined)
  tell({ all: [] })
  return { servers, tell, answer: (server: Server) => asked.shift()?.resolve(structuredClone(server)) }
}

test('a start that has failed before its answer was read has failed', async t => {
  const { servers, tell, answer } = follow(t)
  const order = servers.start(ann)
  tell({ changed: starting })
  tell({ changed: failed })
  answer(starting)
  assert.equal((await order).kind, 'starting')
  assert.deepEqual(servers.get(ann), failed)
})

test('a server that has stopped before the answer to the stop was read has stopped', async t => {
  const { servers, tell, answer } = follow(t)
  tell({ changed: { kind: 'ready', user: ann, since: 2 } })
  const order = servers.stop(ann)
  tell({ changed: stopping })
  tell({ changed: { kind: 'stopped', user: ann } })
  answer(stopping)
  await order
  assert.equal(servers.get(ann).kind, 'stopped')
})

test('an answer counts where its event is late, whatever older event comes before it', async t => {
  const { servers, tell, answer } = follow(t)
  tell({ changed: stopping })
  const order = servers.start(ann)
  tell({ changed: { kind: 'stopped', user: ann } })
  answer(starting)
  await order
  assert.deepEqual(servers.get(ann), starting)
})

test('an order that changes nothing brings nothing back that is over', async t => {
  const { servers, tell, answer } = follow(t)
  tell({ changed: starting })
  const order = servers.start(ann)
  tell({ changed: failed })
  answer(starting)
  await order
  assert.deepEqual(servers.get(ann), failed)
})
