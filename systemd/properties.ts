/**
 * The properties of units that we set, with the types that one writes them in and the signatures that systemd reads
 * them with. The names are systemd's own (systemd.exec(5), systemd.resource-control(5), org.freedesktop.systemd1(5)).
 *
 * Values are taken as they are: `%` is no specifier here, and `$` in a command is a dollar sign.
 *
 * systemd keeps a transient unit in a file of /run and reads that file at each `daemon-reload`, which any upgrade of a
 * Debian package may do. What it does not read back right is kept out of the file here (see `commands`).
 */
import { constants } from 'node:os'
import { Variant } from 'dbus-native'
import { ProblemError } from '../problem.ts'

/** A count of bytes, of tasks or of microseconds, as the property has it. */
type Amount = number | bigint | 'infinity'

interface ExecCommand {
  /** The absolute path of the program, and its arguments. Nothing in it is expanded. */
  argv: readonly [string, ...string[]]
  /** A failure does not count (`-` in a unit file). */
  ignoreFailure?: boolean
}

/** A command that runs before the service does. */
interface PreparingCommand extends ExecCommand {
  /** Runs as root, without the unit's sandbox (`+`); only BindPaths and TemporaryFileSystem hold for it too. */
  privileged?: boolean
}

interface BindPath {
  source: string
  /** Where the unit sees it; the same path where it is left out. */
  target?: string
  /** No failure when there is no such source (`-`). */
  ignoreMissing?: boolean
}

interface TemporaryFileSystem {
  path: string
  /** As in mount(8), such as `ro` or `size=10%,mode=0755`. */
  options?: string
}

/** What is left out is left at systemd's default. */
export interface UnitProperties {
  Description?: string
  Slice?: string
  CollectMode?: 'inactive' | 'inactive-or-failed'
  DefaultDependencies?: boolean
  StopWhenUnneeded?: boolean
  Requires?: readonly string[]
  Wants?: readonly string[]
  BindsTo?: readonly string[]
  PartOf?: readonly string[]
  After?: readonly string[]
  Before?: readonly string[]

  Type?: 'simple' | 'exec' | 'forking' | 'oneshot' | 'notify' | (string & {})
  NotifyAccess?: 'none' | 'main' | 'exec' | 'all'
  ExecStartPre?: readonly PreparingCommand[]
  ExecStart?: readonly ExecCommand[]
  /** These may run after a `daemon-reload`, so no argument may hold a `$` or `;` (see `lateCommands`). */
  ExecStartPost?: readonly ExecCommand[]
  ExecStop?: readonly ExecCommand[]
  ExecStopPost?: readonly ExecCommand[]
  Restart?: 'no' | 'on-failure' | 'always'
  RemainAfterExit?: boolean
  TimeoutStartUSec?: Amount
  TimeoutStopUSec?: Amount
  RuntimeMaxUSec?: Amount
  WatchdogUSec?: Amount
  KillMode?: 'control-group' | 'mixed' | 'process' | 'none'
  KillSignal?: NodeJS.Signals
  SendSIGKILL?: boolean

  User?: string
  Group?: string
  SupplementaryGroups?: readonly string[]
  WorkingDirectory?: string
  Environment?: Readonly<Record<string, string>>
  UMask?: number
  StandardInput?: string
  /** The path of a file, or of a unix socket that listens: systemd opens it, or connects to it, as root (version 236). */
  StandardInputFile?: string
  StandardOutput?: string
  StandardOutputFile?: string
  /** Likewise, made where it is missing and emptied (version 248). */
  StandardOutputFileToTruncate?: string
  StandardError?: string
  StandardErrorFile?: string
  SyslogIdentifier?: string
  /** A journal of its own, see systemd-journald.service(8). */
  LogNamespace?: string
  OOMScoreAdjust?: number
  LimitCORE?: Amount
  /** Of any one file that it writes, in bytes. */
  LimitFSIZE?: Amount
  LimitNOFILE?: Amount

  MemoryMax?: Amount
  MemorySwapMax?: Amount
  CPUQuotaPerSecUSec?: Amount
  CPUWeight?: Amount
  TasksMax?: Amount
  OOMPolicy?: 'continue' | 'stop' | 'kill'
  Delegate?: boolean

  PrivateTmp?: boolean
  PrivateIPC?: boolean
  PrivateDevices?: boolean
  PrivateNetwork?: boolean
  ProtectSystem?: 'yes' | 'no' | 'full' | 'strict'
  ProtectHome?: 'yes' | 'no' | 'read-only' | 'tmpfs'
  ProtectProc?: 'default' | 'noaccess' | 'invisible' | 'ptraceable'
  BindPaths?: readonly BindPath[]
  BindReadOnlyPaths?: readonly BindPath[]
  TemporaryFileSystem?: readonly TemporaryFileSystem[]
  InaccessiblePaths?: readonly string[]
  ReadOnlyPaths?: readonly string[]
  ReadWritePaths?: readonly string[]
  NoNewPrivileges?: boolean
  ProtectKernelTunables?: boolean
  ProtectKernelModules?: boolean
  ProtectKernelLogs?: boolean
  ProtectControlGroups?: boolean
  ProtectClock?: boolean
  ProtectHostname?: boolean
  LockPersonality?: boolean
  RestrictRealtime?: boolean
  RestrictSUIDSGID?: boolean
  /**
   * The CLONE_NEW… flags that are allowed, or-ed: 0 allows no namespace of any kind. systemd 252 forgets the 0 at a
   * `daemon-reload`: the processes that run keep their filter, but what ExecStop… starts then has none.
   */
  RestrictNamespaces?: number

  /** Of a mount unit: what to mount. (Where is what its name says; the type is its `Type`, the options its `Options`.) */
  What?: string
  Options?: string
  LazyUnmount?: boolean
}

type Encoder<Value> = (value: Value) => [name: string | undefined, signature: string, value: unknown]
type Encoders = { [Name in keyof Required<UnitProperties>]: Encoder<Required<UnitProperties>[Name]> }

const string: Encoder<string> = value => [undefined, 's', value]
const boolean: Encoder<boolean> = value => [undefined, 'b', value]
const unsigned: Encoder<number> = value => [undefined, 'u', value]
const signed: Encoder<number> = value => [undefined, 'i', value]
const strings: Encoder<readonly string[]> = value => [undefined, 'as', [...value]]
/** systemd's own value for 'infinity' is the highest of 64 bits. */
const amount: Encoder<Amount> = value => [undefined, 't', value === 'infinity' ? 2n ** 64n - 1n : BigInt(value)]
const bitmask: Encoder<number> = value => [undefined, 't', BigInt(value)]
const binds: Encoder<readonly BindPath[]> = paths => [
  undefined,
  'a(ssbt)',
  paths.map(({ source, target = source, ignoreMissing = false }) => [source, target, ignoreMissing, BIND_RECURSIVE]),
]

/** MS_REC of mount(2): what is mounted below the source is seen too. */
const BIND_RECURSIVE = 16384n

/**
 * With the plain form variables are expanded, so each `$` is written twice. The …Ex form has a flag for that and for
 * more, but systemd 252 writes it to the unit's file under a name that it does not know when it reads the file: after a
 * `daemon-reload` the unit has no such command any more. A unit without ExecStart is 'bad-setting', so that form is for
 * commands that have run by then.
 */
const commands: Encoder<readonly ExecCommand[]> = list => [
  undefined,
  'a(sasb)',
  list.map(({ argv, ignoreFailure = false }) => [argv[0], argv.map(arg => arg.replaceAll('$', '$$$$')), ignoreFailure]),
]

/** systemd 252 writes these characters with a backslash that it does not take away when it reads the file. */
const lateCommands: Encoder<readonly ExecCommand[]> = list => {
  const odd = list.flatMap(({ argv }) => argv).find(arg => /[$;]/.test(arg))
  if (odd !== undefined)
    throw new ProblemError('SYSTEMD_REFUSED', {
      what: `a command for the end of a unit has the argument ${JSON.stringify(odd)}`,
      why: 'systemd would pass it on changed after a daemon-reload, because of its $ or ;',
      fix: 'put the command into a program of its own',
    })
  return commands(list)
}

const preparingCommands: Encoder<readonly PreparingCommand[]> = list => {
  if (!list.some(({ privileged }) => privileged)) return commands(list)
  const flagged = list.map(({ argv, ignoreFailure, privileged }) => {
    const flags = ['no-env-expand', ignoreFailure && 'ignore-failure', privileged && 'privileged']
    return [argv[0], [...argv], flags.filter(Boolean)]
  })
  return ['ExecStartPreEx', 'a(sasas)', flagged]
}

const ENCODERS: Encoders = {
  Description: string,
  Slice: string,
  CollectMode: string,
  DefaultDependencies: boolean,
  StopWhenUnneeded: boolean,
  Requires: strings,
  Wants: strings,
  BindsTo: strings,
  PartOf: strings,
  After: strings,
  Before: strings,

  Type: string,
  NotifyAccess: string,
  ExecStartPre: preparingCommands,
  ExecStart: commands,
  ExecStartPost: lateCommands,
  ExecStop: lateCommands,
  ExecStopPost: lateCommands,
  Restart: string,
  RemainAfterExit: boolean,
  TimeoutStartUSec: amount,
  TimeoutStopUSec: amount,
  RuntimeMaxUSec: amount,
  WatchdogUSec: amount,
  KillMode: string,
  KillSignal: signal => [undefined, 'i', constants.signals[signal]],
  SendSIGKILL: boolean,

  User: string,
  Group: string,
  SupplementaryGroups: strings,
  WorkingDirectory: string,
  Environment: variables => [undefined, 'as', Object.entries(variables).map(([name, value]) => `${name}=${value}`)],
  UMask: unsigned,
  StandardInput: string,
  StandardInputFile: string,
  StandardOutput: string,
  StandardOutputFile: string,
  StandardOutputFileToTruncate: string,
  StandardError: string,
  StandardErrorFile: string,
  SyslogIdentifier: string,
  LogNamespace: string,
  OOMScoreAdjust: signed,
  LimitCORE: amount,
  LimitFSIZE: amount,
  LimitNOFILE: amount,

  MemoryMax: amount,
  MemorySwapMax: amount,
  CPUQuotaPerSecUSec: amount,
  CPUWeight: amount,
  TasksMax: amount,
  OOMPolicy: string,
  Delegate: boolean,

  PrivateTmp: boolean,
  PrivateIPC: boolean,
  PrivateDevices: boolean,
  PrivateNetwork: boolean,
  ProtectSystem: string,
  ProtectHome: string,
  ProtectProc: string,
  BindPaths: binds,
  BindReadOnlyPaths: binds,
  TemporaryFileSystem: list => [undefined, 'a(ss)', list.map(({ path, options = '' }) => [path, options])],
  InaccessiblePaths: strings,
  ReadOnlyPaths: strings,
  ReadWritePaths: strings,
  NoNewPrivileges: boolean,
  ProtectKernelTunables: boolean,
  ProtectKernelModules: boolean,
  ProtectKernelLogs: boolean,
  ProtectControlGroups: boolean,
  ProtectClock: boolean,
  ProtectHostname: boolean,
  LockPersonality: boolean,
  RestrictRealtime: boolean,
  RestrictSUIDSGID: boolean,
  RestrictNamespaces: bitmask,

  What: string,
  Options: string,
  LazyUnmount: boolean,
}

/** The properties as an `a(sv)`, in the order in which they are given. */
export function encodeProperties(properties: UnitProperties): [string, Variant][] {
  return (Object.keys(properties) as (keyof UnitProperties)[]).flatMap(name => {
    const value = properties[name]
    return value === undefined ? [] : [encode(name, value)]
  })
}

function encode<Name extends keyof UnitProperties>(name: Name, value: unknown): [string, Variant] {
  const [otherName, signature, encoded] = (ENCODERS[name] as Encoder<unknown>)(value)
  return [otherName ?? name, new Variant(signature, encoded)]
}
