/**
 * `tljh-ts spawner`: the service that runs as root, on the socket that systemd holds for it.
 *
 * It owns no server: they are units of systemd, and run on when it is restarted, upgraded or killed.
 */
import { once } from 'node:events'
import { chmodSync, mkdirSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { openConfigFile } from '../../config/change/in-force.ts'
import { ownAccount } from '../../config/meaning/who-may-enter.ts'
import type { Layout } from '../../machine/layout.ts'
import { giveMemoryBack } from '../../machine/memory.ts'
import { createPacedLog } from '../../machine/paced-log.ts'
import { runProgram } from '../../machine/run-program.ts'
import { ProblemError } from '../../problem.ts'
import { createAudit } from '../../systemd/audit/audit.ts'
import { SystemBus } from '../../systemd/bus.ts'
import { createNotifier } from '../../systemd/notify.ts'
import { createUnits } from '../../systemd/units.ts'
import { Watcher } from '../../systemd/watcher.ts'
import { createAccounts } from '../accounts/ensure.ts'
import { createAccountRemoval } from '../accounts/remove.ts'
import { serverUnits } from '../server/names.ts'
import { createListener } from './listener.ts'
import { createReconciler } from './reconcile.ts'
import { createRemovals } from './removals.ts'
import { createServers } from './servers.ts'
import { createStartQueue } from './start-queue.ts'

/** SD_LISTEN_FDS_START: the first descriptor that systemd hands over. */
const firstSocket = 3

/** Starting is work for the processors: more at once are ready no sooner, and all of them late. */
const startsAtOnce = Math.max(2, availableParallelism())

/** Runs until SIGTERM or SIGINT. */
export async function runSpawner(
  layout: Layout,
  environment: NodeJS.ProcessEnv,
  write: (line: string) => void,
): Promise<void> {
  const log = createPacedLog(write)
  if (environment.LISTEN_FDS !== '1') {
    throw new ProblemError('SPAWNER_SOCKET', {
      what: 'The spawner has nothing to listen on',
      why: 'systemd did not hand it the socket of tljh-spawner.socket',
      fix: 'Start it with: sudo systemctl start tljh-spawner.socket tljh-spawner.service',
    })
  }
  const config = openConfigFile(layout.configFile, problem =>
    log(`the configuration file is not in force: ${problem.message}`),
  )
  const hubGid = await groupId('tljh-hub')
  // Users go through it to their own folder, and cannot see whose others there are.
  mkdirSync(layout.userSockets, { recursive: true })
  chmodSync(layout.userSockets, 0o711)
  await using bus = new SystemBus()
  const accounts = createAccounts(user => ownAccount(config.current(), user))
  const units = createUnits(bus)
  const startQueue = createStartQueue({
    atOnce: () => config.current().spawner.concurrentSpawnLimit ?? startsAtOnce,
    reserve: () => config.current().spawner.memoryReserve,
  })
  const servers = createServers({ layout, config, units, accounts, hubGid, startQueue, log })
  const removals = createRemovals({ servers, accounts, accountRemoval: createAccountRemoval(layout, units), log })
  const audit = createAudit(problem => log(String(problem)))
  const live = createReconciler({ configFile: layout.configFile, config, servers, accounts, audit, log })

  const known = Promise.withResolvers<void>()
  using _watcher = new Watcher({
    bus,
    pattern: serverUnits,
    onEvent(event) {
      servers.observe(event).then(() => event.kind === 'snapshot' && known.resolve(), known.reject)
    },
    onProblem: problem => log(String(problem)),
  })
  using _socketWatcher = new Watcher({
    bus,
    pattern: 'tljh-hub*.socket',
    onEvent(event) {
      if (event.kind === 'snapshot') live.lookAtSockets()
      else if (event.unit.active === 'failed') live.lookAtSocketsSoon()
    },
    onProblem: problem => log(String(problem)),
  })
  // Nobody is answered before it is known what runs: a hub would take it for nothing.
  await known.promise
  await live.catchUp()

  using notifier = createNotifier(environment)
  const listener = createListener({ config, servers, configuration: live, removals }, log)
  listener.listen({ fd: firstSocket })
  await once(listener, 'listening')
  await notifier.ready()
  notifier.startWatchdog(() => true)
  giveMemoryBack()
  const stopWatching = live.watch()
  log('ready')

  await Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')])
  await notifier.stopping()
  stopWatching()
  listener.close()
  listener.closeAllConnections()
  await audit.flush()
}

async function groupId(group: string): Promise<number> {
  const { code, stdout } = await runProgram('getent', ['group', group])
  const id = Number(stdout.split(':')[2])
  if (code === 0 && Number.isInteger(id)) return id
  throw new ProblemError('SPAWNER_GROUP', {
    what: 'The spawner cannot start',
    why: `this machine has no group ${group}`,
    fix: 'Install again over this installation, which makes it; no data is touched: sudo tljh-ts install --admin NAME',
  })
}
