/**
 * What a configuration can get wrong on this very machine: more memory than there is, a port that another program has,
 * certificates that are missing, broken, of another key, out of date, or closed to the hub.
 *
 * Only people who change the configuration are told. A service never refuses a file because of it: what the machine is
 * like tomorrow is another question.
 */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readFileSync, type Stats, statSync } from 'node:fs'
import { totalmem } from 'node:os'
import { dirname } from 'node:path'
import type { Finding } from './findings.ts'
import { readBytes, showBytes } from './quantities.ts'
import type { ConfigText } from './text.ts'

export interface Machine {
  memoryBytes: number
  /** The ports on which somebody listens for TCP. */
  portsTaken: ReadonlySet<number>
  /** Of the group that the hub reads files by; undefined where it is not installed. */
  hubGid: number | undefined
  /** Milliseconds since 1970. */
  now: number
}

/** This one, while the hub listens on `ownPorts`. Its group is that of the configuration's folder. */
export function thisMachine(configFile: string, ...ownPorts: (number | undefined)[]): Machine {
  const portsTaken = new Set(['/proc/net/tcp', '/proc/net/tcp6'].flatMap(listeningPorts))
  for (const port of ownPorts) if (port !== undefined) portsTaken.delete(port)
  const hubGid = statSync(dirname(configFile), { throwIfNoEntry: false })?.gid
  return { memoryBytes: totalmem(), portsTaken, hubGid, now: Date.now() }
}

export function checkMachine(read: ConfigText, machine: Machine): Finding[] {
  return [...tooMuchMemory(read, machine), ...takenPort(read, machine), ...certificates(read, machine)]
}

function* tooMuchMemory({ content, finding }: ConfigText, { memoryBytes }: Machine): Iterable<Finding> {
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

function* takenPort({ content, finding }: ConfigText, { portsTaken }: Machine): Iterable<Finding> {
  const ports = [
    { path: ['http', 'port'], port: content.http?.port },
    { path: ['admins', 'visit_port'], port: content.admins?.visit_port },
  ]
  for (const { path, port } of ports) {
    if (!port || !portsTaken.has(port)) continue
    yield finding('error', path, {
      what: `${path.join('.')} is ${port}`,
      why: 'another program of this machine listens there',
      fix: `See which: sudo ss --listening --tcp --processes sport = :${port}. Stop it, or choose another port`,
    })
  }
}

function* certificates({ content, finding }: ConfigText, machine: Machine): Iterable<Finding> {
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
}

/** The content, or why the hub could not have it. */
function readable(file: string, { hubGid }: Machine): Buffer | string {
  let stat: Stats
  try {
    stat = statSync(file)
    const isForAll = (stat.mode & 0o004) !== 0
    const isForGroup = (stat.mode & 0o040) !== 0 && stat.gid === hubGid
    if (hubGid !== undefined && !isForAll && !isForGroup) return 'the hub may not read it'
    return readFileSync(file)
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'ENOENT'
      ? 'there is no such file'
      : String(error)
  }
}

function parsed<Result>(read: () => Result): Result | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}

/** From proc_net_tcp(5): the second column is the local address and port in hexadecimal, the fourth 0A where it listens. */
function listeningPorts(file: string): number[] {
  try {
    return readFileSync(file, 'utf8')
      .split('\n')
      .slice(1)
      .flatMap(line => {
        const [, local = '', , state] = line.trim().split(/\s+/)
        return state === '0A' ? [Number.parseInt(local.split(':')[1] ?? '', 16)] : []
      })
  } catch {
    return []
  }
}
