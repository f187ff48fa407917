/**
 * Where an installed machine keeps what: the layout that TLJH's users know.
 *
 * A value, not constants scattered over the tree: what needs a path is handed a `Layout`, and tests hand it another.
 */
import { dirname, join } from 'node:path'

export interface Layout {
  /** Above all that is only ours: /opt/tljh, or what was given to the installer as --prefix. */
  prefix: string
  configFile: string
  /** Our code, its packages and its Node.js: a symlink to the version in force. */
  hub: string
  /** A folder for each version that is here. */
  versions: string
  /** What the installer changed on the machine outside of its own folders, for uninstall. */
  changes: string
  /** The Python environment of the class. */
  classEnvironment: string
  /** The hub's own data: `hub.sqlite`. */
  state: string
  /** Homes of accounts that were deleted. */
  archives: string
  /** What `tljh-ts backup` makes, where no other place is named. */
  backups: string
  /** Sockets. */
  run: string
  /** A folder for each running server, with the socket that it listens on. */
  userSockets: string
  spawnerSocket: string
  /** Of what asks PAM. */
  pamSocket: string
}

const usualPrefix = '/opt/tljh'

export function layoutIn(prefix: string): Layout {
  return {
    prefix,
    configFile: join(prefix, 'config/config.yaml'),
    hub: join(prefix, 'hub/current'),
    versions: join(prefix, 'hub/versions'),
    changes: join(prefix, 'hub/changes.jsonl'),
    classEnvironment: join(prefix, 'user'),
    state: join(prefix, 'state'),
    archives: join(prefix, 'archives'),
    backups: join(prefix, 'backups'),
    run: '/run/tljh',
    userSockets: '/run/tljh/users',
    spawnerSocket: '/run/tljh/spawner.sock',
    pamSocket: '/run/tljh/pam.sock',
  }
}

/** The root of the code that runs: the folder of a version, or a checkout. */
export const codeFolder = dirname(import.meta.dirname)

/** Of the installation that this code belongs to: it lies in PREFIX/hub/versions/VERSION. A checkout has the usual places. */
export const installedLayout: Layout = layoutIn(prefixOf(codeFolder))

function prefixOf(folder: string): string {
  const versions = dirname(folder)
  const prefix = dirname(dirname(versions))
  return layoutIn(prefix).versions === versions ? prefix : usualPrefix
}
