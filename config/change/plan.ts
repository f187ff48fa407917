/**
 * What a change of the configuration will do, to whom and when, in words: pure, so that it can be shown before anything is
 * done, and so that the same plan is what is then done (spawner/service/reconcile.ts).
 */
import { isDeepStrictEqual } from 'node:util'
import type { Config, Limits } from '../meaning/config.ts'
import { limitsOf } from '../meaning/limits.ts'
import { isAdmin, mayEnter } from '../meaning/who-may-enter.ts'
import { showBytes } from '../schema/quantities.ts'
import type { UserName } from '../users/names.ts'

export interface RunningServer {
  user: UserName
  /** What it uses; undefined where that is not known. */
  memoryBytes: number | undefined
  /** It may use sudo: it was started while its user was an administrator. */
  isPrivileged?: boolean
}

export interface Plan {
  /** Sentences without a full stop, in the order in which a person wants to know. Empty: nothing changes. */
  lines: string[]
  /** Servers that get their limits now. */
  limitsNow: UserName[]
  /** Servers that use more memory than they may from now on, and get their limits at their next start. */
  limitsLater: UserName[]
  /** Servers that are stopped. */
  stopped: UserName[]
  /** Users who become administrators, or are none any more. */
  promoted: UserName[]
  demoted: UserName[]
  /** Who comes into a group of the machine, or goes out of it. */
  memberships: Membership[]
  addressChanges: boolean
  baseUrlChanges: boolean
}

export interface Membership {
  user: UserName
  /** Of the machine. */
  group: string
  isIn: boolean
}

export interface PlanOptions {
  /** Whether limits count at once for servers that use more than they may: their kernels, or all of it, are killed. */
  isAtOnce?: boolean
}

/** How far below its limit a server must be for the limit to be set while it runs: what a server uses comes and goes. */
const slack = 0.8

export function planChange(
  before: Config,
  after: Config,
  running: readonly RunningServer[],
  { isAtOnce = false }: PlanOptions = {},
): Plan {
  const baseUrlChanges = before.baseUrl !== after.baseUrl
  const memberships = membershipChanges(before, after)
  const endings = running.flatMap(({ user }) => {
    const reason = endingReason(before, after, user, memberships)
    return reason === undefined ? [] : [{ user, reason }]
  })
  const stopped = endings.map(({ user }) => user)
  const staying = running.filter(({ user }) => !stopped.includes(user))
  const changed = staying.filter(({ user }) => !sameLimits(limitsOf(before, user), limitsOf(after, user)))
  const isTooBig = ({ user, memoryBytes }: RunningServer) => {
    const { memory } = limitsOf(after, user)
    const isLower = memory !== limitsOf(before, user).memory
    return !isAtOnce && isLower && memory !== null && (memoryBytes ?? 0) > memory * slack
  }
  const later = changed.filter(isTooBig)
  const now = changed.filter(server => !isTooBig(server))
  const names = new Set([...before.users.admin, ...after.users.admin])
  const promoted = [...names].filter(user => !isAdmin(before, user) && isAdmin(after, user))
  const demoted = [...names].filter(user => isAdmin(before, user) && !isAdmin(after, user))
  const addressChanges = !isDeepStrictEqual(before.http, after.http)

  const lines = [
    ...entranceLines(before, after),
    ...promoted.map(
      user => `${user} becomes an administrator now, and can use sudo from the next start of the server on`,
    ),
    ...demoted.map(user => `${user} loses the rights of an administrator now, and sudo with them`),
    ...membershipLines(memberships),
    ...stopLines(endings),
    ...limitLines(before, after, now, later),
    ...addressLines(before, after, addressChanges, baseUrlChanges),
    ...certificateLines(before, after),
    ...frontProxyLines(before, after),
    ...originLines(before, after, staying.length),
    ...nextStartLines(before, after, staying.length),
    ...otherLines(before, after),
  ]
  return {
    lines,
    limitsNow: now.map(({ user }) => user),
    limitsLater: later.map(({ user }) => user),
    stopped,
    promoted,
    demoted,
    memberships,
    addressChanges,
    baseUrlChanges,
  }
}

function* entranceLines(before: Config, after: Config): Iterable<string> {
  const names = new Set([...namesIn(before), ...namesIn(after)])
  const gained = [...names].filter(user => !mayEnter(before, user) && mayEnter(after, user))
  const lost = [...names].filter(user => mayEnter(before, user) && !mayEnter(after, user))
  if (gained.length) yield `${listed(gained)} may log in from now on`
  if (lost.length) yield `${listed(lost)} may no longer log in, and ${lost.length === 1 ? 'is' : 'are'} logged out now`
  if (!before.auth.isOpen && after.auth.isOpen) yield 'users whom the file does not name may log in from now on'
  if (before.auth.isOpen && !after.auth.isOpen) yield 'only users whom the file names may log in from now on'
  const required = after.adminsNeedSecondFactor
  if (before.adminsNeedSecondFactor !== required) {
    yield required
      ? 'administrators need a second factor from now on; those who have none are logged out, and set one up at the next login'
      : 'administrators may do without a second factor from now on'
  }
  const ways = (config: Config) => config.auth.kinds.join(', ')
  if (ways(before) !== ways(after)) {
    yield `people log in by ${ways(after)} instead of ${ways(before)}; who came in by a way that is gone is logged out now`
  } else if (JSON.stringify(before.auth.options) !== JSON.stringify(after.auth.options)) {
    yield 'the options of the way in change now'
  }
}

function membershipChanges(before: Config, after: Config): Membership[] {
  const groups = new Set([...before.unixGroups.keys(), ...after.unixGroups.keys()])
  return [...groups].flatMap(group => {
    const old = before.unixGroups.get(group) ?? new Set<UserName>()
    const now = after.unixGroups.get(group) ?? new Set<UserName>()
    const users = [...new Set([...old, ...now])].filter(user => old.has(user) !== now.has(user))
    return users.map(user => ({ user, group, isIn: now.has(user) }))
  })
}

function* membershipLines(memberships: readonly Membership[]): Iterable<string> {
  for (const group of new Set(memberships.map(change => change.group))) {
    const users = (isIn: boolean) =>
      memberships.filter(one => one.group === group && one.isIn === isIn).map(one => one.user)
    if (users(true).length)
      yield `${listed(users(true))} ${users(true).length === 1 ? 'comes' : 'come'} into the group ${group} of the machine; servers that run have that from their next start on`
    if (users(false).length)
      yield `${listed(users(false))} ${users(false).length === 1 ? 'goes' : 'go'} out of the group ${group} of the machine now`
  }
}

/** Why a server that runs is stopped. Rights live in processes: who loses them keeps them until the last process has ended. */
type EndingReason = 'address' | 'entrance' | 'admin' | 'group'

interface Ending {
  user: UserName
  reason: EndingReason
}

function endingReason(
  before: Config,
  after: Config,
  user: UserName,
  memberships: readonly Membership[],
): EndingReason | undefined {
  if (before.baseUrl !== after.baseUrl) return 'address'
  if (!mayEnter(after, user)) return 'entrance'
  if (isAdmin(before, user) && !isAdmin(after, user)) return 'admin'
  return memberships.some(one => one.user === user && !one.isIn) ? 'group' : undefined
}

/** Of one server, and of several. */
const endingWords: Readonly<Record<EndingReason, readonly [(user: UserName) => string, string]>> = {
  address: [() => 'its address changes', 'their address changes'],
  entrance: [user => `${user} may no longer log in`, 'their users may no longer log in'],
  admin: [user => `${user} is no longer an administrator`, 'their users are no longer administrators'],
  group: [user => `${user} leaves a group of the machine`, 'their users leave a group of the machine'],
}

function* stopLines(endings: readonly Ending[]): Iterable<string> {
  for (const [reason, [ofOne, ofMany]] of Object.entries(endingWords)) {
    const users = endings.filter(ending => ending.reason === reason).map(({ user }) => user)
    const [first] = users
    if (first === undefined) continue
    yield users.length === 1
      ? `${first}’s server is stopped now, because ${ofOne(first)}`
      : `${users.length} servers (${listed(users)}) are stopped now, because ${ofMany}`
  }
}

function* limitLines(
  before: Config,
  after: Config,
  now: readonly RunningServer[],
  later: readonly RunningServer[],
): Iterable<string> {
  const isChanged =
    !sameLimits(before.limits, after.limits) ||
    JSON.stringify([...before.groupLimits, ...before.userLimits]) !==
      JSON.stringify([...after.groupLimits, ...after.userLimits])
  if (!sameLimits(before.limits, after.limits)) yield `the limits of each server become: ${showLimits(after.limits)}`
  if (now.length) {
    const who = now.length === 1 ? `the server of ${now[0]?.user}` : `${now.length} servers that run now`
    yield `${who} ${now.length === 1 ? 'gets its' : 'get their'} new limits at once`
  }
  for (const { user, memoryBytes } of later) {
    const { memory } = limitsOf(after, user)
    const uses = memoryBytes === undefined ? 'more' : showBytes(memoryBytes as NonNullable<typeof memory>)
    yield `the server of ${user} uses ${uses}, more than the ${memory && showBytes(memory)} it may: it gets its limits at its next start`
  }
  if (isChanged && !now.length && !later.length) yield 'servers that start from now on have the new limits'
}

function* addressLines(
  before: Config,
  after: Config,
  addressChanges: boolean,
  baseUrlChanges: boolean,
): Iterable<string> {
  const place = ({ http, baseUrl }: Config) => {
    const { address, port } = http.tls ?? http
    const where = http.socket?.path ?? `${address || 'all addresses'}, port ${port}${http.tls ? ' (https)' : ''}`
    return `${where}, path ${baseUrl}`
  }
  if (!addressChanges && !baseUrlChanges) return
  yield `the hub moves from ${place(before)} to ${place(after)}; open pages lose it and have to be opened anew there`
}

function* certificateLines(before: Config, after: Config): Iterable<string> {
  if (!after.http.tls) return
  const { port } = after.http
  if (!before.http.tls) {
    yield `what comes to port ${port} without https is led to port ${after.http.tls.port}, and people log in anew there`
  }
  const { files, letsencrypt, hstsSeconds } = after.https
  const isOther = !isDeepStrictEqual({ ...before.https, hstsSeconds: 0 }, { ...after.https, hstsSeconds: 0 })
  if (isOther || !before.http.tls) {
    if (files) yield `the certificate comes from ${files.cert}, and is taken up again whenever that file changes`
    else if (letsencrypt)
      yield `a certificate for ${letsencrypt.domains.join(', ')} is asked for at ${URL.parse(letsencrypt.directoryUrl)?.host}; until it is there, browsers warn of the hub’s own`
  }
  if (before.https.hstsSeconds === hstsSeconds) return
  yield hstsSeconds
    ? `browsers that come here ask by https alone for ${hstsSeconds} seconds from then on, whatever the hub serves`
    : 'browsers are not told any more to ask by https alone; those that were told keep to it for their time'
}

function* frontProxyLines({ frontProxies: before }: Config, { frontProxies: after, http }: Config): Iterable<string> {
  if (isDeepStrictEqual(before, after)) return
  if (!after) {
    yield 'nothing is believed from now on of what a web server in front of the hub says; who came by https through one logs in anew'
    return
  }
  const networks = after.trusted.map(({ address, prefix, family }) =>
    prefix === (family === 'ipv4' ? 32 : 128) ? address : `${address}/${prefix}`,
  )
  const who = [...(http.socket ? [http.socket.path] : []), ...networks]
  const names = after.headers === 'forwarded' ? 'Forwarded' : 'X-Forwarded-For, -Proto and -Host'
  const anew = before ? '' : '; who comes by https through it logs in anew'
  yield `the web server in front of the hub, at ${listed(who)}, is believed in ${names} from now on${anew}`
}

function* originLines(before: Config, after: Config, count: number): Iterable<string> {
  if (before.visitPort !== after.visitPort) {
    const what = after.visitPort
      ? `administrators open the servers of others on port ${after.visitPort} from now on`
      : `nothing listens on port ${before.visitPort} any more`
    yield `${what}; the hub restarts for that, and open pages connect anew by themselves`
  }
  if (before.userDomains === after.userDomains) return
  const later = count ? `; menus of the ${count} servers that run lead there from their next start on` : ''
  yield after.userDomains
    ? `the hub’s address becomes ${after.userDomains}, each user’s server gets a host below it, and administrators may open all of them, from now on; people log in anew there${later}`
    : `hub and servers are on one address from now on instead of hosts below ${before.userDomains}; people log in anew there${later}`
}

function* nextStartLines(before: Config, after: Config, count: number): Iterable<string> {
  const when = count ? `at the next start of each server (${count} run now)` : 'when a server starts'
  if (before.defaultUrl !== after.defaultUrl) yield `what a server opens first becomes ${after.defaultUrl}, ${when}`
  if (JSON.stringify(before.serverEnvironment) !== JSON.stringify(after.serverEnvironment)) {
    yield `the environment variables of servers change, ${when}`
  }
}

function* otherLines(before: Config, after: Config): Iterable<string> {
  if (before.adminsOpenServers !== after.adminsOpenServers) {
    yield `administrators may ${after.adminsOpenServers ? '' : 'no longer '}open the servers of others from now on`
  }
  if (JSON.stringify(before.branding) !== JSON.stringify(after.branding))
    yield 'title and message of the pages change now'
  if (before.leastPasswordLength !== after.leastPasswordLength) {
    yield `new passwords need at least ${after.leastPasswordLength} characters from now on`
  }
  if (before.historyLength !== after.historyLength)
    yield `${after.historyLength} earlier configurations are kept from now on`
  const { concurrentSpawnLimit, activeServerLimit, memoryReserve } = after.spawner
  if (before.spawner.concurrentSpawnLimit !== concurrentSpawnLimit) {
    yield `${concurrentSpawnLimit ?? 'as many servers as the machine can'} start at a time from now on`
  }
  if (before.spawner.activeServerLimit !== activeServerLimit) {
    yield activeServerLimit === 0
      ? 'as many servers run from now on as there is memory for'
      : `no server starts from now on while ${activeServerLimit} run; those that run go on`
  }
  if (before.spawner.memoryReserve !== memoryReserve)
    yield `no start takes from the last ${showBytes(memoryReserve)} of memory from now on`
  if (before.metricsToken !== after.metricsToken) {
    yield after.metricsToken
      ? 'programs read the metrics with the new token from now on, and with no other'
      : 'no program reads the metrics any more'
  }
  const { isEnabled, keep, hasHomes } = after.backup
  if (JSON.stringify(before.backup) !== JSON.stringify(after.backup)) {
    yield isEnabled
      ? `from the next night on, ${keep} nightly backups are kept, ${hasHomes ? 'with' : 'without'} homes`
      : 'there are no nightly backups any more'
  }
}

function namesIn({ users }: Config): UserName[] {
  return [...users.allowed, ...users.admin, ...users.banned]
}

function sameLimits(one: Limits, other: Limits): boolean {
  return one.memory === other.memory && one.cpu === other.cpu && one.tasks === other.tasks && one.swap === other.swap
}

function showLimits({ memory, cpu, tasks }: Limits): string {
  const parts = [memory === null ? 'memory without limit' : `${showBytes(memory)} of memory`]
  parts.push(cpu === null ? 'processors without limit' : `${cpu} ${cpu === 1 ? 'processor' : 'processors'}`)
  return [...parts, `${tasks} tasks`].join(', ')
}

/** `ann, bob and 3 more`. */
function listed(names: readonly string[]): string {
  if (names.length <= 1) return names.join('')
  const shown = names.length > 6 ? [...names.slice(0, 5), `${names.length - 5} more`] : names
  return `${shown.slice(0, -1).join(', ')} and ${shown.at(-1)}`
}
