/**
 * What the hub knows of the users' servers: what the spawner last said, and whether it still says anything.
 *
 * While the spawner is away, what was last known stands, so servers that run stay reachable.
 */
import type { UserName } from '../../config/users/names.ts'
import { type SpawnerClient, unreachable } from './client.ts'
import type { Event, Server, StartOptions } from './protocol.ts'

export interface Servers {
  /** Throws `SPAWNER_UNREACHABLE` as long as nothing has been heard of the spawner at all. */
  get(user: UserName): Server
  start(user: UserName, options?: StartOptions): Promise<Server>
  stop(user: UserName): Promise<Server>
  /** The server's state now, then each change. Ends with `signal`, and with the store's own. */
  watch(user: UserName, signal: AbortSignal): AsyncGenerator<Server>
  /** All that are not stopped, and those whose last run failed, as last heard. */
  all(): Server[]
  /** Whether the spawner answers. */
  isConnected(): boolean
  /** Calls `listener` after each change. */
  onChange(listener: (now: Server, before: Server) => void): void
  /** Calls `listener` when another version of the configuration has come into force. */
  onConfig(listener: () => void): void
  /** Resolves when it is known for the first time what runs. */
  known: Promise<void>
}

export function followServers(spawner: SpawnerClient, signal: AbortSignal, report: (line: string) => void): Servers {
  let known = new Map<UserName, Server>()
  const watchers = new Set<{ user: UserName; wake: () => void }>()
  const changeListeners: ((now: Server, before: Server) => void)[] = []
  const configListeners: (() => void)[] = []
  let isConnected = false
  const first = Promise.withResolvers<void>()
  let isKnown = false

  function stateOf(user: UserName): Server {
    return known.get(user) ?? { kind: 'stopped', user }
  }

  function changed(user: UserName, before: Server): void {
    for (const watcher of watchers) if (watcher.user === user) watcher.wake()
    for (const listener of changeListeners) listener(stateOf(user), before)
  }

  function take(event: Event): void {
    if ('config' in event) {
      for (const listener of configListeners) listener()
      return
    }
    if ('changed' in event) {
      const { user } = event.changed
      const before = stateOf(user)
      if (event.changed.kind === 'stopped') known.delete(user)
      else known.set(user, event.changed)
      changed(user, before)
      return
    }
    isKnown = true
    first.resolve()
    const before = known
    known = new Map(event.all.map(server => [server.user, server]))
    for (const user of new Set([...before.keys(), ...known.keys()])) {
      const was = before.get(user) ?? { kind: 'stopped', user }
      const hasLostItsPlace = was.kind === 'starting' && was.ahead !== undefined && stateOf(user).kind === 'stopped'
      if (hasLostItsPlace) queueAgain(was)
      else changed(user, was)
    }
  }

  /** The queue of starts was with a spawner that is gone. To those who wait, nothing has happened. */
  function queueAgain(was: Server): void {
    known.set(was.user, was)
    start(was.user).catch(error => {
      report(String(error))
      take({ changed: { kind: 'stopped', user: was.user } })
    })
  }

  /** Gives an order. What is answered comes as an event, too: an answer that was heard of already may be older than what is known now. */
  async function order(user: UserName, give: (user: UserName) => Promise<Server>): Promise<Server> {
    const heard = new Set([JSON.stringify(stateOf(user))])
    const watcher = { user, wake: () => void heard.add(JSON.stringify(stateOf(user))) }
    watchers.add(watcher)
    try {
      const server = await give(user)
      if (!heard.has(JSON.stringify(server))) take({ changed: server })
      return server
    } finally {
      watchers.delete(watcher)
    }
  }

  const start = (user: UserName, options?: StartOptions) => order(user, () => spawner.start(user, options))

  void spawner.follow({
    signal,
    onEvent: take,
    onConnection(isNow) {
      if (isNow !== isConnected) report(isNow ? 'the spawner answers' : 'the spawner does not answer')
      isConnected = isNow
    },
  })

  return {
    get(user) {
      if (!isKnown) throw unreachable()
      return stateOf(user)
    },
    known: first.promise,
    start,
    stop: user => order(user, spawner.stop),
    async *watch(user, watchSignal) {
      let next = Promise.withResolvers<void>()
      const watcher = { user, wake: () => next.resolve() }
      watchers.add(watcher)
      const ended = AbortSignal.any([signal, watchSignal])
      ended.addEventListener('abort', watcher.wake, { once: true })
      try {
        while (!ended.aborted) {
          yield stateOf(user)
          await next.promise
          next = Promise.withResolvers()
        }
      } finally {
        watchers.delete(watcher)
      }
    },
    all: () => [...known.values()],
    isConnected: () => isConnected,
    onChange: listener => void changeListeners.push(listener),
    onConfig: listener => void configListeners.push(listener),
  }
}
