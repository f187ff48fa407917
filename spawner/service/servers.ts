/**
 * The users' servers: starts and stops them, and knows what each is doing.
 *
 * The truth is systemd's. A unit's state is never guessed from what was ordered, so a spawner that is restarted, or killed
 * in the middle of a start, knows as much as the one before: a failed unit stays until the next start, and with it the
 * reason. Only what happens before there is a unit (making the account) and what was ordered just now is kept here.
 */
import { readFileSync } from 'node:fs'
import type { ConfigFile } from '../../config/change/in-force.ts'
import type { RunningServer } from '../../config/change/plan.ts'
import type { Config } from '../../config/meaning/config.ts'
import { limitsOf } from '../../config/meaning/limits.ts'
import { isAdmin } from '../../config/meaning/who-may-enter.ts'
import { homesElsewhere } from '../../config/users/machine-accounts.ts'
import { type UserName, unixName } from '../../config/users/names.ts'
import { inWords } from '../../machine/disk.ts'
import type { Layout } from '../../machine/layout.ts'
import type { Log } from '../../machine/paced-log.ts'
import { ProblemError } from '../../problem.ts'
import { limitProperties } from '../../systemd/confinement.ts'
import { lastLines } from '../../systemd/journal.ts'
import { clearUnit, startCleared } from '../../systemd/start-anew.ts'
import type { UnitState, Units } from '../../systemd/units.ts'
import type { WatchEvent } from '../../systemd/watcher.ts'
import { type Accounts, umaskOf } from '../accounts/ensure.ts'
import type { Event, Server, ServerEnd, StartOptions } from '../client/protocol.ts'
import { describeEnd, journalCommand } from '../server/how-it-ended.ts'
import { serverUnitName, userOfUnit, usersJournal } from '../server/names.ts'
import { planServer } from '../server/plan.ts'
import type { StartQueue, Wait } from './start-queue.ts'
import type { Servers } from './verbs.ts'

export interface ServersOptions {
  layout: Layout
  config: ConfigFile
  units: Units
  accounts: Accounts
  hubGid: number
  startQueue: StartQueue
  log: Log
}

export interface WatchedServers extends Servers {
  /** Those that run, and what they use now. */
  running(): Promise<RunningServer[]>
  /** Gives a server that runs the limits of this configuration. */
  setLimits(user: UserName, inForce: Config): Promise<void>
  /** Takes in what systemd says; wired to a `Watcher` of `serverUnits`. Resolves when all of it can be told. */
  observe(event: WatchEvent): Promise<void>
}

/** What was asked for and is not yet to be seen in the unit. */
interface Order {
  kind: 'start' | 'stop'
  since: number
  /** Of a start: systemd has taken it on, so what the unit does from now on is this start. */
  isAccepted: boolean
  /** Of a start, while it is not its turn. */
  wait?: Wait | undefined
}

interface Known {
  unit?: UnitState
  order?: Order
  /** Why the last start got nowhere near a unit, or how the failed unit ended. */
  failure?: { at: number; end: ServerEnd }
}

/** As many lines of the log as fit on a page and hold a Python traceback. */
const logLines = 30
/** What a start says first stands before what it says at its end: a traceback is a hundred lines. */
const linesRead = 300

export function createServers(options: ServersOptions): WatchedServers {
  const { layout, config, units, accounts, hubGid, startQueue, log } = options
  const known = new Map<UserName, Known>()
  /** The run that was last heard of. */
  const latest = new Map<UserName, string | undefined>()
  const listeners = new Set<(event: Event) => void>()

  function change(user: UserName, alter: (server: Known) => void): void {
    const server = known.get(user) ?? {}
    const before = JSON.stringify(stateOf(user, server))
    alter(server)
    if (server.unit || server.order || server.failure) known.set(user, server)
    else known.delete(user)
    const after = stateOf(user, server)
    if (JSON.stringify(after) !== before) for (const listener of listeners) listener({ changed: after })
  }

  /** Takes in what a unit has become. A failure counts from when its log has been read, so it is told whole. */
  async function setUnit(user: UserName, unit: UnitState | undefined): Promise<void> {
    latest.set(user, unit?.invocationId)
    if (unit?.active === 'failed') return setFailed(user, unit)
    change(user, server => {
      // Somebody has told systemd to forget the failure.
      if (server.unit?.active === 'failed') delete server.failure
      if (unit && unit.active !== 'inactive') server.unit = unit
      else delete server.unit
    })
  }

  async function setFailed(user: UserName, unit: UnitState): Promise<void> {
    const lines = await lastLines({ unit, count: linesRead, namespace: usersJournal }).catch(error => {
      log(String(error), user)
      return []
    })
    const isOld = latest.get(user) !== unit.invocationId
    const isTold = known.get(user)?.unit?.active === 'failed' && known.get(user)?.failure !== undefined
    if (isOld || isTold) return
    const journal = journalCommand(unit, usersJournal)
    const texts = lines.map(line => line.text)
    const end = { ...describeEnd(unit), log: texts.slice(-logLines), journal, ...ofOwnSettings(unit, texts) }
    log(`the server of ${user} failed: ${end.what}: ${end.why}`, user)
    change(user, server => {
      server.unit = unit
      server.failure = { at: unit.stateChangeTimestampMs ?? Date.now(), end }
    })
  }

  async function launch(
    user: UserName,
    { hasOwnSettings }: StartOptions,
    inForce: Config,
    isWanted: () => boolean,
  ): Promise<void> {
    const setWait = (wait: Wait | undefined) =>
      change(user, server => {
        if (isWanted() && server.order) server.order.wait = wait
      })
    using turn = await startQueue.enter({ isFirst: isAdmin(inForce, user), isWanted, onWait: setWait })
    if (!turn) return
    setWait(undefined)
    const account = await accounts.ensure(user, {
      isAdmin: isAdmin(inForce, user),
      memberships: new Map([...inForce.unixGroups].map(([group, members]) => [group, members.has(user)])),
    })
    const mountinfo = readFileSync('/proc/self/mountinfo', 'utf8')
    const otherHomes = inForce.auth.kinds.includes('pam') ? homesElsewhere(account.home) : []
    const umask = await umaskOf(account)
    const surroundings = { layout, config: inForce, hubGid, mountinfo, otherHomes, umask, hasOwnSettings }
    const plan = planServer(user, account, surroundings)
    const { name, properties, mount } = plan
    const job = await startCleared(units, { name, properties, auxiliary: [mount], isWanted })
    if (!job) return
    change(user, server => {
      if (isWanted() && server.order) server.order.isAccepted = true
    })
    const result = await job.done
    await setUnit(user, await units.inspectUnit(plan.name))
    if (result === 'dependency') throw noSocketFolder(user)
  }

  async function halt(user: UserName): Promise<void> {
    const name = serverUnitName(unixName(user))
    const unit = await units.inspectUnit(name)
    // A long name may be cut to the account of somebody else, whose server it must not end.
    const isOwn = unit !== undefined && userOfUnit(unit) === user
    // Whoever asks for a stop does not care how hard it was, so no failure is left either.
    if (isOwn) await clearUnit(units, name)
    await setUnit(user, isOwn ? await units.inspectUnit(name) : undefined)
  }

  /** Carries an order out, and sees to it that it ends, whatever happens. A later order takes its place. */
  function carryOut(user: UserName, kind: Order['kind'], work: (isWanted: () => boolean) => Promise<void>): Server {
    const order: Order = { kind, since: Date.now(), isAccepted: false }
    const isWanted = () => known.get(user)?.order === order
    change(user, server => {
      server.order = order
      delete server.failure
    })
    // The order before is not wanted any more.
    startQueue.look()
    work(isWanted)
      .catch(error => {
        log(
          `${kind} of the server of ${user}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
          user,
        )
        change(user, server => {
          if (server.order === order) server.failure = { at: Date.now(), end: endOf(error) }
        })
      })
      .finally(() =>
        change(user, server => {
          if (server.order === order) delete server.order
        }),
      )
    return get(user)
  }

  function activeCount(): number {
    return [...known].filter(([user, server]) => ['ready', 'starting'].includes(stateOf(user, server).kind)).length
  }

  function get(user: UserName): Server {
    return stateOf(user, known.get(user) ?? {})
  }

  return {
    get,
    list: () => [...known].map(([user, server]) => stateOf(user, server)),

    start(user, options) {
      const inForce = config.current()
      const { order } = known.get(user) ?? {}
      const { kind } = get(user)
      if (order?.kind === 'start' || ((kind === 'ready' || kind === 'starting') && !order)) return get(user)
      const most = inForce.spawner.activeServerLimit
      if (most > 0 && !isAdmin(inForce, user) && activeCount() >= most) throw tooMany(most)
      log(`start of the server of ${user}`, user)
      return carryOut(user, 'start', isWanted => launch(user, options, inForce, isWanted))
    },

    stop(user) {
      // One that somebody else has stopped is stopped once more: it may have put off its end (systemd/start-anew.ts).
      if (known.get(user)?.order?.kind === 'stop' || get(user).kind === 'stopped') return get(user)
      log(`stop of the server of ${user}`, user)
      return carryOut(user, 'stop', () => halt(user))
    },

    follow(listener) {
      listeners.add(listener)
      listener({ all: this.list() })
      return () => listeners.delete(listener)
    },

    async running() {
      const users = [...known.keys()].filter(user => ['ready', 'starting'].includes(get(user).kind))
      return Promise.all(
        users.map(async user => {
          const unit = await units.inspectUnit(serverUnitName(unixName(user)))
          return { user, memoryBytes: unit?.memoryCurrent, isPrivileged: unit?.hasNoNewPrivileges === false }
        }),
      )
    },

    async setLimits(user, inForce) {
      await units.setUnitProperties(serverUnitName(unixName(user)), true, limitProperties(limitsOf(inForce, user)))
    },

    async observe(event) {
      if (event.kind !== 'snapshot') {
        const user = userOfUnit(event.unit)
        if (user) await setUnit(user, event.kind === 'removed' ? undefined : event.unit)
        return
      }
      const seen = new Map<UserName, UnitState | undefined>([...known.keys()].map(user => [user, undefined]))
      for (const unit of event.units) {
        const user = userOfUnit(unit)
        if (user) seen.set(user, unit)
      }
      await Promise.all([...seen].map(([user, unit]) => setUnit(user, unit)))
    },
  }
}

function stateOf(user: UserName, { unit, order, failure }: Known): Server {
  const changed = unit?.stateChangeTimestampMs ?? Date.now()
  if (order?.kind === 'stop') return { kind: 'stopping', user, since: order.since }
  // What is still to be seen of the unit is the run before.
  if (order?.wait) return waiting(user, order.since, order.wait)
  if (order && !order.isAccepted) return starting(user, order.since, 10, 'Preparing the account and its limits')
  switch (unit?.active) {
    case 'active':
    case 'reloading':
      return { kind: 'ready', user, since: unit.activeEnterTimestampMs ?? changed }
    case 'activating':
      return starting(user, order?.since ?? changed, 50, 'Starting JupyterLab')
    case 'deactivating':
      return { kind: 'stopping', user, since: changed }
  }
  if (order) return starting(user, order.since, 50, 'Starting JupyterLab')
  return failure ? { kind: 'failed', user, ...failure } : { kind: 'stopped', user }
}

function starting(user: UserName, since: number, progress: number, step: string) {
  return { kind: 'starting', user, since, progress, step } as const
}

function waiting(user: UserName, since: number, { ahead, isForMemory }: Wait): Server {
  const step = isForMemory ? 'Waiting for memory: other servers use all that the machine has' : 'Waiting for a turn'
  return { ...starting(user, since, 5, step), ahead }
}

/**
 * What is said of a start that failed after settings of the user's own were read: start.py writes a line with their names. A user's own code
 * can write another one: it is shown as words, as the log is.
 */
function ofOwnSettings(
  { result, activeEnterTimestampMs }: UnitState,
  lines: readonly string[],
): Pick<ServerEnd, 'why' | 'fix' | 'ownSettings'> | undefined {
  if (activeEnterTimestampMs !== undefined) return undefined
  const files = lines.map(line => /^own settings: ([^\p{C}]{1,300})/u.exec(line)?.[1]).find(Boolean)
  if (files === undefined || result === 'oom-kill') return undefined
  return {
    why: `perhaps because of your own Jupyter settings (${files})`,
    fix: 'Start without your own settings, and correct or delete these files. If that does not help, ask your teacher',
    ownSettings: files,
  }
}

function endOf(thrown: unknown): ServerEnd {
  const error = inWords(thrown, 'Ask your teacher to make room on the machine, then try again')
  // What this program says of it, and systemd of what the unit needs.
  const [log, journal]: [string[], string] = [[], "sudo journalctl --boot --unit=tljh-spawner --unit='run-tljh-users*'"]
  if (error instanceof ProblemError) return { what: error.what, why: error.why, fix: error.fix, log, journal }
  return {
    what: 'The server could not be started',
    why: error instanceof Error ? error.message : String(error),
    fix: 'Try again. If it happens again, tell your teacher',
    log,
    journal,
  }
}

function noSocketFolder(user: UserName): ProblemError {
  return new ProblemError('SERVER_SOCKET_FOLDER', {
    what: `The server of ${user} could not be started`,
    why: 'systemd could not start what it needs: the folder for its socket, or the journal that it writes to',
    fix: 'Try again. If it happens again, tell your teacher',
  })
}

function tooMany(most: number): ProblemError {
  return new ProblemError('SERVER_LIMIT', {
    what: 'The server was not started',
    why: `${most === 1 ? 'one server runs' : `${most} servers run`}, and the teacher lets no more run at a time`,
    fix: 'Try again when somebody has stopped theirs. The teacher can change that: spawner.active_server_limit in sudo tljh-ts config edit',
  })
}
