/**
 * The plan of a user's server: the transient units that systemd is asked for. Pure, so that it can be read, printed and
 * tested without a machine.
 *
 * There are two: a mount for the folder of the socket, and the service. The folder is a tiny file system of its own, so
 * that nobody can fill /run, and without symbolic links (`nosymfollow`), so that the hub, which connects to the socket in
 * it, cannot be led to another socket. Everything is named after the account, whose name is one to one with the user's.
 */
import type { Config } from '../../config/meaning/config.ts'
import { limitsOf } from '../../config/meaning/limits.ts'
import { isAdmin } from '../../config/meaning/who-may-enter.ts'
import type { Account, OrdinaryAccount } from '../../config/users/machine-accounts.ts'
import { shortUnixName, type UserName, unixName } from '../../config/users/names.ts'
import type { Layout } from '../../machine/layout.ts'
import { controlGroupOf, ownCgroupPaths } from '../../systemd/cgroup.ts'
import { closedPaths, confinement, limitProperties, usersSlice } from '../../systemd/confinement.ts'
import {
  type AuxiliaryUnit,
  escapeUnitName,
  type UnitName,
  type UnitProperties,
  unitName,
} from '../../systemd/units.ts'
import { description, serverUnitName, usersJournal } from './names.ts'

/** What the plan depends on beside the user. */
export interface ServerPlanInput {
  layout: Layout
  config: Config
  /** The group tljh-hub, by number. */
  hubGid: number
  /** The text of /proc/self/mountinfo. */
  mountinfo: string
  /** Homes of others that are not below /home, where they are hidden already. */
  otherHomes: readonly string[]
  /** Of what the server makes, and all that runs in it (spawner/accounts/ensure.ts). */
  umask: number
  /** Whether Jupyter reads the settings in the user's home. */
  hasOwnSettings: boolean
}

export interface ServerPlan {
  name: UnitName
  properties: UnitProperties
  mount: AuxiliaryUnit
}

const second = 1_000_000

/** A cold disk on a small machine needs most of a minute to read JupyterLab for the first time. */
const startTimeoutUsec = 120 * second
/** JupyterLab shuts its kernels down first. What is still there afterwards is killed. Less than in systemd/start-anew.ts. */
const stopTimeoutUsec = 15 * second

export function planServer(
  user: UserName,
  account: Account | OrdinaryAccount,
  surroundings: ServerPlanInput,
): ServerPlan {
  const { layout, config, hubGid, mountinfo, otherHomes, umask, hasOwnSettings } = surroundings
  const name = serverUnitName(unixName(user))
  const folder = `${layout.userSockets}/${shortUnixName(unixName(user))}`
  const mountName = unitName(`${escapeUnitName(folder.slice(1))}.mount`)
  const runtime = '/run/jupyter'
  const limits = limitsOf(config, user)
  const isTrusted = isAdmin(config, user)
  const jupyter = `${layout.hub}/spawner/jupyter`
  const [readiness, pipe] = [`${jupyter}/readiness.sh`, `${folder}/ready`]
  const python = `${layout.classEnvironment}/bin/python`

  return {
    name,
    mount: {
      name: mountName,
      properties: {
        Description: `Socket of the server of ${user}`,
        What: 'tmpfs',
        Type: 'tmpfs',
        Options: [
          ...['nosuid', 'nodev', 'noexec', 'nosymfollow', 'size=64k', 'nr_inodes=16'],
          // The group may enter, and what is made in the folder is the group's.
          ...['mode=2750', `uid=${account.uid}`, `gid=${hubGid}`],
        ].join(','),
        StopWhenUnneeded: true,
        // A process that still stands in the folder must not keep it.
        LazyUnmount: true,
      },
    },
    properties: {
      Description: `${description}${user}`,
      Slice: usersSlice,
      BindsTo: [mountName],
      After: [mountName],
      // Without a newline of its own, the journal would show the unit's name as 'jupyter-lab' for everybody.
      SyslogIdentifier: name.replace(/\.service$/, ''),
      LogNamespace: usersJournal,

      // Nothing of the user's has a say with systemd: not when it is ready, not how long it may take to start or to stop.
      Type: 'exec',
      NotifyAccess: 'none',
      ExecStart: [{ argv: ['/bin/sh', readiness, 'run', pipe, python, `${jupyter}/start.py`] }],
      ExecStartPost: [{ argv: ['/bin/sh', readiness, 'wait', pipe] }],
      User: account.name,
      WorkingDirectory: account.home,
      UMask: umask,
      Environment: {
        ...config.serverEnvironment,
        PATH: `${layout.classEnvironment}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
        LANG: 'C.UTF-8',
        JUPYTERHUB_USER: user,
        JUPYTERHUB_BASE_URL: config.baseUrl,
        JUPYTERHUB_HOST: hubOrigin(config),
        JUPYTERHUB_SERVICE_PREFIX: `${config.baseUrl}user/${user}/`,
        JUPYTERHUB_DEFAULT_URL: config.defaultUrl,
        // Kernels listen on sockets in here, and their paths may have 107 bytes.
        JUPYTER_RUNTIME_DIR: runtime,
        ...(hasOwnSettings ? {} : { JUPYTER_CONFIG_DIR: `${runtime}/no-settings` }),
        // For shells, whose files set PATH anew (spawner/jupyter/bashrc, /etc/profile.d/tljh-ts.sh).
        TLJH_CLASS_ENVIRONMENT: layout.classEnvironment,
        TLJH_SOCKET: `${folder}/socket`,
        ...(limits.memory === null ? {} : { MEM_LIMIT: String(limits.memory) }),
        ...(limits.cpu === null ? {} : { CPU_LIMIT: String(limits.cpu) }),
      },
      TimeoutStartUSec: startTimeoutUsec,
      TimeoutStopUSec: stopTimeoutUsec,
      KillMode: 'mixed',

      ...limitProperties(limits),
      LimitCORE: 0,
      OOMPolicy: 'continue',
      Delegate: true,

      PrivateTmp: true,
      PrivateIPC: true,
      TemporaryFileSystem: [
        { path: '/sys/fs/cgroup', options: 'ro' },
        { path: runtime, options: `mode=0700,uid=${account.uid},gid=${account.gid},size=16m` },
        // Shared ones outlive the server, and whoever wrote to them has the memory of others.
        { path: '/dev/shm', options: 'mode=1777' },
        { path: '/run/lock', options: 'mode=1777,size=1m' },
      ],
      // The tree of control groups is readable by all, and the names in it are names of users.
      BindPaths: [
        ...ownCgroupPaths(mountinfo, controlGroupOf(usersSlice, name)).map(source => ({ source, ignoreMissing: true })),
        ...(isTrusted ? [] : [{ source: account.home }]),
      ],
      ...(isTrusted ? {} : confinement),
      ...(isTrusted ? {} : { InaccessiblePaths: [...closedPaths, ...otherHomes.map(home => `-${home}`)] }),
    },
  }
}

/** What the menu of a server puts before the hub's paths: nothing, where both are on one origin. */
function hubOrigin({ userDomains, http, publicUrl, frontProxies }: Config): string {
  if (userDomains && publicUrl) return publicUrl
  // Which port the web server in front has, nobody says: nearly always the usual one.
  if (userDomains && frontProxies) return `https://${userDomains}`
  const [scheme, usualPort] = http.tls ? ['https', 443] : ['http', 80]
  const { port } = http.tls ?? http
  return userDomains && `${scheme}://${userDomains}${port === usualPort ? '' : `:${port}`}`
}
