/**
 * What `config.yaml` means, as one value: checked, with defaults, in the units that the machine counts in.
 */
import { createHash } from 'node:crypto'
import { type Endpoint, shortest } from '../../machine/endpoints.ts'
import { ProblemError } from '../../problem.ts'
import type { AuthenticatorKind } from '../schema/auth.ts'
import { frontSocket, type Network, readNetwork, readOrigin, usualSocketGroup } from '../schema/networks.ts'
import { type Bytes, type Cpus, readBytes, readCpus } from '../schema/quantities.ts'
import { type Finding, hasErrors } from '../text/findings.ts'
import { type ConfigContent, type ConfigText, readConfigText } from '../text/read.ts'
import type { UserName } from '../users/names.ts'
import { authenticatorsIn, letsStrangersIn, withDefaults } from './auth.ts'
import { checkMeaning } from './checks.ts'

export interface Config {
  /** Of the text that it was read from: the same text, the same version. 64 hexadecimal digits. */
  version: string
  /** Begins and ends with a slash. */
  baseUrl: string
  users: { allowed: ReadonlySet<UserName>; banned: ReadonlySet<UserName>; admin: ReadonlySet<UserName> }
  /** Whether administrators may open the servers of others. */
  adminsOpenServers: boolean
  /** The port for their visits to the servers of others; undefined where there is none, or no need of one. */
  visitPort: number | undefined
  /** The hub's host, in small letters, below which each user's server has one of its own. Empty: all on one. */
  userDomains: string
  groups: ReadonlyMap<string, ReadonlySet<UserName>>
  /** Groups of the machine, and who is in them. */
  unixGroups: ReadonlyMap<string, ReadonlySet<UserName>>
  auth: Auth
  leastPasswordLength: number
  /** Whether administrators need a second factor. */
  adminsNeedSecondFactor: boolean
  limits: Limits
  groupLimits: ReadonlyMap<string, Partial<Limits>>
  userLimits: ReadonlyMap<UserName, Partial<Limits>>
  http: Listening
  https: Https
  /** Undefined: browsers come directly. */
  frontProxies: FrontProxies | undefined
  /** Where browsers find the hub, without a slash at the end. Empty: not said. */
  publicUrl: string
  /** What a server opens first, below its own URL. */
  defaultUrl: '/lab' | '/tree'
  serverEnvironment: Readonly<Record<string, string>>
  branding: { title: string; message: string }
  /** How many earlier configurations are kept. */
  historyLength: number
  backup: Backup
  spawner: Spawning
  /** With which a program may read the hub's metrics. Empty: none may. */
  metricsToken: string
}

/** Where the hub listens. */
export interface Listening {
  /** Empty: all. */
  address: string
  port: number
  /** In place of an address and a port, for a web server in front. Only root and the group may connect. */
  socket?: { path: string; group: string } | undefined
  /** Where it listens with TLS; then what comes without is led there. */
  tls?: { address: string; port: number } | undefined
}

/** The web servers between browsers and the hub, which are believed in what they say of a request. */
export interface FrontProxies {
  /** What they ask from. */
  trusted: readonly Network[]
  /** The headers that they say it in. */
  headers: 'x-forwarded' | 'forwarded'
}

/** How the hub comes by its certificate: from `files`, or else from an ACME server. */
export interface Https {
  files?: { key: string; cert: string } | undefined
  letsencrypt?: { email: string; domains: readonly string[]; directoryUrl: string; ca: string } | undefined
  /** For how many seconds browsers are to ask in no other way than by https; undefined: nothing is said of it. */
  hstsSeconds: number | undefined
}

/** How the start of servers is held in bounds. */
export interface Spawning {
  /** How many start at a time; undefined: as the machine can. */
  concurrentSpawnLimit: number | undefined
  /** How many run; 0: as many as there is memory for. */
  activeServerLimit: number
  /** What no start may touch. */
  memoryReserve: Bytes
}

/** What the nightly backup does. */
export interface Backup {
  isEnabled: boolean
  /** How many are kept. */
  keep: number
  hasHomes: boolean
  /** Empty: the usual one. */
  folder: string
}

/** How people log in. */
export interface Auth {
  /** In the order of the file, each once. */
  kinds: readonly AuthenticatorKind[]
  /** The section `auth` with its defaults: each way reads its own options. */
  options: NonNullable<ConfigContent['auth']>
  /** Whether a way lets people in whom the file does not name. It is up to the way whom; here, any name is possible. */
  isOpen: boolean
}

/** What a user's server may use. `null`: as much as the machine has. */
export interface Limits {
  memory: Bytes | null
  cpu: Cpus | null
  /** Processes and threads together. */
  tasks: number
  /** Beside the memory, where that is limited. */
  swap: Bytes | null
}

/** A numerical library starts a thread a core for each kernel, so a few hundred are honest use; a fork bomb is not. */
const defaultTasks = 1000

/** For systemd, the journal and the hub itself. */
const defaultReserve = (256 * 1024 ** 2) as Bytes

/** What a text is, as YAML and as a configuration. To make one is the only way through YAML and schema, and costs milliseconds. */
export interface Reading {
  read: ConfigText
  /** Undefined where a finding is an error. */
  config: Config | undefined
  findings: Finding[]
}

/** Reads any bytes. */
export function readConfig(source: string | Uint8Array): Reading {
  const read = readConfigText(source)
  const findings = [...read.findings]
  if (!hasErrors(findings)) findings.push(...checkMeaning(read))
  return { read, config: hasErrors(findings) ? undefined : meaning(read.content, versionOf(source)), findings }
}

/** Names the content of a file: what hub and spawner say that they run. */
export function versionOf(source: string | Uint8Array): string {
  return createHash('sha256').update(source).digest('hex')
}

/** Reads a configuration that must be valid. Throws `CONFIG_INVALID`, which names the first thing that is wrong. */
export function parseConfig(source: string | Uint8Array): Config {
  return configIn(readConfig(source))
}

/** Throws `CONFIG_INVALID`, which names the first thing that is wrong. */
export function configIn({ config, findings }: Pick<Reading, 'config' | 'findings'>): Config {
  if (config) return config
  const first = findings.find(finding => finding.severity === 'error')
  throw new ProblemError('CONFIG_INVALID', {
    what: first ? `${first.what} (line ${first.line})` : 'The configuration is not valid',
    why: first?.why ?? 'no reason is known',
    fix: first?.fix ?? 'See: sudo tljh-ts config validate',
  })
}

function meaning(file: ConfigContent, version: string): Config {
  const names = (list: readonly string[] | null | undefined) => new Set((list ?? []) as UserName[])
  const { groups, users, ...defaults } = file.limits ?? {}
  const { memory = null, cpu = null, tasks = defaultTasks, swap = null } = limitsIn(defaults)
  return {
    version,
    baseUrl: file.base_url ?? '/',
    users: { allowed: names(file.users?.allowed), banned: names(file.users?.banned), admin: names(file.users?.admin) },
    adminsOpenServers: file.admins?.open_servers ?? false,
    visitPort: visitPortIn(file),
    userDomains: file.https?.user_domains?.toLowerCase() ?? '',
    groups: new Map(Object.entries(file.groups ?? {}).map(([name, group]) => [name, names(group?.members)])),
    unixGroups: new Map(Object.entries(file.users?.extra_user_groups ?? {}).map(([name, list]) => [name, names(list)])),
    auth: authIn(file.auth ?? {}),
    leastPasswordLength: leastPasswordLength(file.auth ?? {}),
    adminsNeedSecondFactor: file.admins?.second_factor === 'required',
    limits: { memory, cpu, tasks, swap },
    groupLimits: new Map(Object.entries(groups ?? {}).map(([name, limits]) => [name, limitsIn(limits ?? {})])),
    userLimits: new Map(
      Object.entries(users ?? {}).map(([name, limits]) => [name as UserName, limitsIn(limits ?? {})]),
    ),
    http: listeningIn(file),
    https: httpsIn(file.https ?? {}),
    frontProxies: frontProxiesIn(file.http ?? {}),
    publicUrl: readOrigin(file.http?.public_url ?? '') ?? '',
    defaultUrl: file.user_environment?.default_app === 'classic' ? '/tree' : '/lab',
    serverEnvironment: Object.fromEntries(
      Object.entries(file.server?.environment ?? {}).map(([name, value]) => [name, String(value)]),
    ),
    branding: { title: file.branding?.title ?? '', message: file.branding?.message ?? '' },
    historyLength: file.state?.history ?? 200,
    spawner: spawningIn(file.spawner ?? {}),
    metricsToken: file.metrics?.token ?? '',
    backup: {
      isEnabled: file.backup?.enabled ?? true,
      keep: file.backup?.keep ?? 14,
      hasHomes: file.backup?.include_homes ?? false,
      folder: file.backup?.folder ?? '',
    },
  }
}

function listeningIn({ http, https }: ConfigContent): Listening {
  const isSocket = http?.address === frontSocket
  const socket = isSocket
    ? { path: frontSocket.slice('unix:'.length), group: http?.socket_group ?? usualSocketGroup }
    : undefined
  const plain = {
    address: isSocket ? '' : shortest(http?.address ?? ''),
    port: http?.port ?? 80,
    ...(socket ? { socket } : {}),
  }
  return https?.enabled ? { ...plain, tls: { address: shortest(https.address ?? ''), port: https.port ?? 443 } } : plain
}

/** Behind another web server nobody reaches a second port. */
function visitPortIn({ admins, http, https }: ConfigContent): number | undefined {
  if (https?.user_domains || http?.mode === 'behind-proxy') return undefined
  return admins?.visit_port ?? undefined
}

const thisMachine = ['127.0.0.1', '::1']

function frontProxiesIn(http: NonNullable<ConfigContent['http']>): FrontProxies | undefined {
  if (http.mode !== 'behind-proxy') return undefined
  // By the socket comes nobody but the web server, and a program of this machine may be a student's.
  const usual = http.address === frontSocket ? [] : thisMachine
  const written = http.trusted_proxies?.length ? http.trusted_proxies : usual
  return { trusted: written.flatMap(text => readNetwork(text) ?? []), headers: http.proxy_headers ?? 'x-forwarded' }
}

const letsEncrypt = 'https://acme-v02.api.letsencrypt.org/directory'
const letsEncryptStaging = 'https://acme-staging-v02.api.letsencrypt.org/directory'

function httpsIn({ tls, letsencrypt, hsts }: NonNullable<ConfigContent['https']>): Https {
  const { email, domains, staging, directory_url: directoryUrl, ca } = letsencrypt ?? {}
  return {
    files: tls?.key && tls.cert ? { key: tls.key, cert: tls.cert } : undefined,
    letsencrypt: domains?.length
      ? {
          email: email ?? '',
          domains: [...new Set(domains.map(domain => domain.toLowerCase()))],
          directoryUrl: directoryUrl ?? (staging ? letsEncryptStaging : letsEncrypt),
          ca: ca ?? '',
        }
      : undefined,
    hstsSeconds: hsts ?? undefined,
  }
}

/** Where the hub listens for TCP by that configuration. */
export function endpointsOf({ http, visitPort }: Pick<Config, 'http' | 'visitPort'>): Endpoint[] {
  const { address } = http.tls ?? http
  return [
    ...(http.socket ? [] : [{ address: http.address, port: http.port }]),
    ...(http.tls ? [http.tls] : []),
    ...(visitPort === undefined ? [] : [{ address, port: visitPort }]),
  ]
}

function authIn(written: Auth['options']): Auth {
  const options = withDefaults(written)
  const kinds = authenticatorsIn(options)
  return { kinds, options, isOpen: kinds.some(kind => letsStrangersIn(kind, options)) }
}

function leastPasswordLength(options: Auth['options']): number {
  return authenticatorsIn(options).includes('native')
    ? (options.NativeAuthenticator?.minimum_password_length ?? 8)
    : (options.FirstUseAuthenticator?.min_password_length ?? 7)
}

type LimitsInFile = Omit<NonNullable<ConfigContent['limits']>, 'groups' | 'users'>

/** A key that is there and empty says 'no limit'; one that is not there says nothing. */
function spawningIn(file: NonNullable<ConfigContent['spawner']>): Spawning {
  return {
    concurrentSpawnLimit: file.concurrent_spawn_limit ?? undefined,
    activeServerLimit: file.active_server_limit ?? 0,
    memoryReserve: readBytes(file.memory_reserve ?? defaultReserve) ?? defaultReserve,
  }
}

function limitsIn({ memory, cpu, tasks, swap }: LimitsInFile): Partial<Limits> {
  return {
    ...(memory === undefined ? {} : { memory: memory === null ? null : (readBytes(memory) ?? null) }),
    ...(cpu === undefined ? {} : { cpu: cpu === null ? null : (readCpus(cpu) ?? null) }),
    ...(tasks === undefined ? {} : { tasks: tasks ?? defaultTasks }),
    ...(swap === undefined ? {} : { swap: swap === null ? null : (readBytes(swap) ?? null) }),
  }
}
