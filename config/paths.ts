/**
 * Where an installed machine keeps what: the layout that TLJH's users know.
 *
 * A value, not constants scattered over the tree: what needs a path is handed a `Layout`, and tests hand it another.
 */

export interface Layout {
  configFile: string
  /** Our code, its packages and its Node.js: a symlink to the version in force. */
  hub: string
  /** The Python environment of the class. */
  classEnvironment: string
  /** The hub's own data: `hub.sqlite`. */
  state: string
  /** Homes of accounts that were deleted. */
  archives: string
  /** Sockets. */
  run: string
  /** A folder for each running server, with the socket that it listens on. */
  userSockets: string
  spawnerSocket: string
  /** Of what asks PAM. */
  pamSocket: string
}

export const installedLayout: Layout = {
  configFile: '/opt/tljh/config/config.yaml',
  hub: '/opt/tljh/hub/current',
  classEnvironment: '/opt/tljh/user',
  state: '/opt/tljh/state',
  archives: '/opt/tljh/archives',
  run: '/run/tljh',
  userSockets: '/run/tljh/users',
  spawnerSocket: '/run/tljh/spawner.sock',
  pamSocket: '/run/tljh/pam.sock',
}
