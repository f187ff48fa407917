/**
 * Servers that start and stop all the time, as in a class that comes and goes. Each order has to be carried out: systemd has
 * jobs of its own under way then (the journal that servers write to goes when nobody needs it, mounts go), and must not refuse ours.
 */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { UserName } from '../../../config/users/names.ts'
import { connectSpawner, type SpawnerClient } from '../../../spawner/client/client.ts'
import type { Server } from '../../../spawner/client/protocol.ts'
import { bootProduct, type Product } from '../../harness/product/product.ts'

const orders = 500
const users = Array.from({ length: 20 }, (_, index) => `u${index + 1}` as UserName)

/** In the place of Jupyter, which takes a second of the processor for each start: it listens, says so, and waits for its end. */
const standIn = `#!/usr/bin/python3 -IS
import os, signal, socket
server = socket.socket(socket.AF_UNIX)
server.bind(os.environ["TLJH_SOCKET"])
server.listen()
os.write(int(os.environ["TLJH_READY"]), b"ready\\n")
print("a line in the journal", flush=True)
signal.pause()
`

let product: Product
let spawner: SpawnerClient
const end = new AbortController()
const states = new Map<UserName, Server>()
let wake = Promise.withResolvers<void>()

before(async () => {
  product = await bootProduct({ config: `users:\n  allowed: [${users}]\n` })
  const { host } = product
  await host.run(['rm', '/opt/tljh/user/bin/python'])
  await host.writeFile('/opt/tljh/user/bin/python', standIn, { mode: 0o755 })
  spawner = connectSpawner(join(host.rootPath, 'run/tljh/spawner.sock'))
  void spawner.follow({
    signal: end.signal,
    onEvent(event) {
      if ('changed' in event) states.set(event.changed.user, event.changed)
      wake.resolve()
      wake = Promise.withResolvers()
    },
    onConnection() {},
  })
})
after(async () => {
  end.abort()
  spawner.close()
  await product[Symbol.asyncDispose]()
})

/** Resolves when the server is as it was ordered to be. */
async function carriedOut(user: UserName, kind: 'ready' | 'stopped'): Promise<void> {
  for (;;) {
    const state = states.get(user)
    if (state?.kind === kind) return
    if (state?.kind === 'failed') assert.fail(`${user}: ${JSON.stringify(state.end)}`)
    await wake.promise
  }
}

test(`${orders} starts and stops of ${users.length} users in random order, and none is refused`, async () => {
  let left = orders
  const waiting = [...users]
  /** Somebody comes and goes. */
  async function visit(): Promise<void> {
    const [user] = waiting.splice(Math.floor(Math.random() * waiting.length), 1)
    if (!user) return
    left -= 2
    await spawner.start(user)
    await carriedOut(user, 'ready')
    await spawner.stop(user)
    await carriedOut(user, 'stopped')
    waiting.push(user)
  }
  await Promise.all(users.map(visit))
  // Two at a time, so that again and again the last server stops while another starts.
  const visitOften = async () => {
    while (left > 0) await visit()
  }
  await Promise.all([visitOften(), visitOften()])
})
