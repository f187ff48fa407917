/**
 * What a configuration can get wrong on this very machine: more memory than there is, a port that another program has,
 * certificates that are missing, broken, of another key, out of date, or closed to the hub.
 *
 * Only people who change the configuration are told. A service never refuses a file because of it: what the machine is
 * like tomorrow is another question.
 */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readFileSync, realpathSync, type Stats, statSync } from 'node:fs'
import { totalmem } from 'node:os'
import { dirname } from 'node:path'
import {
  type Endpoint,
  isInTheWay,
  isOpenFor,
  isSameEndpoint,
  listeners,
  obstacleTo,
  shortest,
  showEndpoint,
} from '../../machine/endpoints.ts'
import { frontSocket, usualSocketGroup } from '../schema/networks.ts'
import { readBytes, showBytes } from '../schema/quantities.ts'
import type { Finding } from '../text/findings.ts'
import type { ConfigText } from '../text/read.ts'
import { accountPrefix } from '../users/names.ts'

export interface MachineFacts {
  memoryBytes: number
  /** Where the hub listens, or would by the configuration in force. */
  own: readonly Endpoint[]
  /** Where other programs listen for TCP. */
  others: readonly Endpoint[]
  /** The machine's groups, and the accounts in them. */
  groups: ReadonlyMap<string, readonly string[]>
  /** Of the group that the hub reads files by; undefined where it is not installed. */
  hubGid: number | undefined
  /** Milliseconds since 1970. */
  now: number
}

/** This one, while the hub listens at `own`. Its group is that of the configuration's folder. */
export function factsOfMachine(configFile: string, own: readonly Endpoint[]): MachineFacts {
  const others = othersAmong(listeners(), own)
  const hubGid = statSync(dirname(configFile), { throwIfNoEntry: false })?.gid
  return { memoryBytes: totalmem(), own, others, groups: machineGroups(), hubGid, now: Date.now() }
}

/** Where the hub is not where it should be, it may be at any other address of that port: nothing here says at which. */
export function othersAmong(all: readonly Endpoint[], own: readonly Endpoint[]): Endpoint[] {
  return own.reduce<readonly Endpoint[]>((left, one) => {
    const isThere = all.some(other => isOpenFor(one, other))
    return left.filter(other => (isThere ? !isOpenFor(one, other) : other.port !== one.port))
  }, all) as Endpoint[]
}

function machineGroups(): Map<string, string[]> {
  const lines = readFileSync('/etc/group', 'utf8').trimEnd().split('\n')
  return new Map(
    lines.map(line => {
      const [name = '', , , members = ''] = line.split(':')
      return [name, members.split(',').filter(Boolean)]
    }),
  )
}

export function checkMachine(read: ConfigText, machine: MachineFacts): Finding[] {
  return [
    ...tooMuchMemory(read, machine),
    ...tooMuchReserve(read, machine),
    ...takenPort(read, machine),
    ...socketGroup(read, machine),
    ...certificates(read, machine),
  ]
}

function* tooMuchMemory({ content, finding }: ConfigText, { memoryBytes }: MachineFacts): Iterable<Finding> {
  const { groups, users, memory } = content.limits ?? {}
  const limits: [string[], string | number | null | undefined][] = [
    [['memory'], memory],
    ...Object.entries(groups ?? {}).map(([name, limit]): [string[], typeof memory] => [
      ['groups', name, 'memory'],
      limit?.memory,
    ]),
    ...Object.entries(users ?? {}).map(([name, limit]): [string[], typeof memory] => [
      ['users', name, 'memory'],
      limit?.memory,
    ]),
  ]
  for (const [path, value] of limits) {
    const bytes = value === null || value === undefined ? undefined : readBytes(value)
    if (bytes === undefined || bytes <= memoryBytes) continue
    const has = showBytes((Math.floor(memoryBytes / 1024 ** 2) * 1024 ** 2) as typeof bytes)
    yield finding('warning', ['limits', ...path], {
      what: `limits.${path.join('.')} is ${JSON.stringify(value)}`,
      why: `this machine has ${has}, so the limit is never reached`,
      fix: 'Write less, so that one user cannot take the machine from all others',
    })
  }
}

function* tooMuchReserve({ content, finding }: ConfigText, { memoryBytes }: MachineFacts): Iterable<Finding> {
  const value = content.spawner?.memory_reserve
  const bytes = value === undefined ? undefined : readBytes(value)
  if (value === undefined || bytes === undefined || bytes < memoryBytes) return
  yield finding('error', ['spawner', 'memory_reserve'], {
    what: `spawner.memory_reserve is ${JSON.stringify(value)}`,
    why: 'this machine does not have more than that, so no server would ever start',
    fix: 'Write what systemd and the hub need beside the servers, such as 256M',
  })
}

function* takenPort({ content, finding }: ConfigText, { own, others }: MachineFacts): Iterable<Finding> {
  for (const { key, ...wanted } of wantedEndpoints(content, own)) {
    const { address, port } = wanted
    if (own.some(one => isSameEndpoint(one, wanted))) continue
    const obstacle = obstacleTo(wanted, others)
    if (!obstacle) continue
    const isThere = isInTheWay(obstacle, wanted)
    yield finding('error', key, {
      what: `${key.join('.')} is ${key.at(-1) === 'address' ? JSON.stringify(address) : port}`,
      why: isThere
        ? `another program of this machine listens there${obstacle.address === address ? '' : ` (${showEndpoint(obstacle)})`}`
        : `another program of this machine listens at ${showEndpoint(obstacle)}, and the hub takes a port only where it is free at all addresses`,
      fix: `See which: sudo ss --listening --tcp --processes sport = :${port}. Stop it, or choose another port`,
    })
  }
}

interface Wanted extends Endpoint {
  key: [section: string, name: string]
}

/** At the keys that say so. Where nothing is written and the hub was never there, the installation has words of its own for it. */
function wantedEndpoints({ http, https, admins }: ConfigText['content'], own: readonly Endpoint[]): Wanted[] {
  const isSocket = http?.address === frontSocket
  const address = isSocket ? '' : shortest(http?.address ?? '')
  const secure = shortest(https?.address ?? '')
  const wanted: Wanted[] = []
  if (!isSocket && http?.port) wanted.push({ key: ['http', 'port'], address, port: http.port })
  else if (!isSocket && (address || own.some(({ port }) => port === 80))) {
    wanted.push({ key: ['http', 'address'], address, port: 80 })
  }
  if (https?.enabled) wanted.push({ key: ['https', 'port'], address: secure, port: https.port ?? 443 })
  if (admins?.visit_port) {
    wanted.push({ key: ['admins', 'visit_port'], address: https?.enabled ? secure : address, port: admins.visit_port })
  }
  return wanted
}

/** Whoever is in the group may say to the hub where a request comes from. */
function* socketGroup({ content, finding }: ConfigText, { groups }: MachineFacts): Iterable<Finding> {
  if (content.http?.address !== frontSocket) return
  const group = content.http.socket_group ?? usualSocketGroup
  const members = groups.get(group)
  const says = (why: string, fix: string) =>
    finding('error', ['http', content.http?.socket_group ? 'socket_group' : 'address'], {
      what: `http.socket_group is ${group}`,
      why,
      fix,
    })
  if (!members)
    yield says('this machine has no such group', 'Write the group that the web server runs as, such as www-data')
  const student = members?.find(name => name.startsWith(accountPrefix))
  if (student) {
    yield says(
      `${student} is in that group, and could tell the hub that a request comes from anywhere`,
      `Take the account out of it: sudo gpasswd --delete ${student} ${group}`,
    )
  }
}

function* certificates({ content, finding }: ConfigText, machine: MachineFacts): Iterable<Finding> {
  const { key, cert } = content.https?.tls ?? {}
  const says = (name: 'key' | 'cert', file: string, why: string, fix: string) =>
    finding('error', ['https', 'tls', name], { what: `https.tls.${name} is ${JSON.stringify(file)}`, why, fix })
  const files: { key?: Buffer; cert?: Buffer } = {}
  for (const [name, file] of [
    ['key', key],
    ['cert', cert],
  ] as const) {
    if (!file) continue
    const content = readable(file, machine)
    if (typeof content === 'string')
      yield says(name, file, content, 'Put the file there, for the group tljh-hub to read (mode 0640)')
    else files[name] = content
  }
  const certificate = files.cert && parsed(() => new X509Certificate(files.cert as Buffer))
  const privateKey = files.key && parsed(() => createPrivateKey(files.key as Buffer))
  const pem = 'Use the PEM file that begins with -----BEGIN'
  if (cert && files.cert && !certificate) yield says('cert', cert, 'it is no certificate', `${pem} CERTIFICATE`)
  if (key && files.key && !privateKey)
    yield says('key', key, 'it is no private key without a passphrase', `${pem} PRIVATE KEY`)
  if (!cert || !certificate) return
  if (Date.parse(certificate.validTo) < machine.now) {
    yield says('cert', cert, `it was valid until ${certificate.validTo}`, 'Renew it, and put the new one in its place')
  }
  if (key && privateKey && !certificate.checkPrivateKey(privateKey as KeyObject)) {
    yield says('key', key, 'it does not belong to the certificate', 'Use the key that the certificate was made with')
  }
  const { user_domains: userDomains } = content.https ?? {}
  const notes = (why: string, fix: string) =>
    finding('warning', ['https', 'tls', 'cert'], { what: `https.tls.cert is ${JSON.stringify(cert)}`, why, fix })
  if (Date.parse(certificate.validFrom) > machine.now + clockSlackMs) {
    yield notes(
      `it is not valid before ${certificate.validFrom}, and this machine’s clock says ${new Date(machine.now).toUTCString()}`,
      'Set the clock, if it is wrong: sudo timedatectl set-ntp true',
    )
  }
  if (isNearEnd(certificate, machine.now)) {
    yield notes(`it is valid until ${certificate.validTo} only`, 'Renew it, and put the new one in its place')
  }
  const missing = userDomains
    ? [userDomains, `any-user.${userDomains}`].find(name => !certificate.checkHost(name, { subject: 'never' }))
    : undefined
  if (userDomains && missing) {
    yield says(
      'cert',
      cert,
      `it is not for ${missing === userDomains ? userDomains : `*.${userDomains}`}, which https.user_domains needs`,
      `Get one for both ${userDomains} and *.${userDomains}`,
    )
  }
}

/** The clock of the machine where it was made need not be this one's. */
const clockSlackMs = 60_000
const warningMs = 14 * 24 * 3600_000

/** Two weeks before, or in the last quarter of a short life. */
function isNearEnd({ validFrom, validTo }: X509Certificate, now: number): boolean {
  const until = Date.parse(validTo)
  return now < until && now >= until - Math.min(warningMs, (until - Date.parse(validFrom)) / 4)
}

/** What the hub's service sees as empty (ProtectHome=, PrivateTmp=). */
const hidden = /^\/(?:home|root|run\/user|tmp|var\/tmp)\//

/** The content, or why the hub could not have it. */
function readable(file: string, { hubGid }: MachineFacts): Buffer | string {
  try {
    const real = realpathSync(file)
    for (const path of new Set([file, real])) {
      if (hubGid !== undefined && hidden.test(path))
        return `nothing below ${path.split('/').slice(0, 2).join('/')} can be seen by the hub`
      for (let folder = dirname(path); folder !== dirname(folder); folder = dirname(folder)) {
        if (!isAllowed(statSync(folder), 0o1, hubGid)) return `the hub may not enter ${folder}`
      }
    }
    if (!isAllowed(statSync(real), 0o4, hubGid)) return 'the hub may not read it'
    return readFileSync(file)
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'ENOENT'
      ? 'there is no such file'
      : String(error)
  }
}

/** By the bits for the group, where it is the hub's, or for all. Everything is allowed where the hub is not installed. */
function isAllowed({ mode, gid }: Stats, bit: number, hubGid: number | undefined): boolean {
  return hubGid === undefined || (mode & (gid === hubGid ? bit << 3 : bit)) !== 0
}

function parsed<Result>(read: () => Result): Result | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}
