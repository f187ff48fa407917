/**
 * Programs of a running host, started from outside: into all of its namespaces and into the control groups beside its
 * PID 1, as one of its users.
 *
 * The program's parent is an `nsenter` on this machine, and the program dies with it (PR_SET_PDEATHSIG). It is better to kill
 * the program itself, which is why it tells its process id: an orphan from a pid namespace goes to this machine's PID 1,
 * and until that one takes note of its death, which can be seconds, the namespace cannot end. Programs that the
 * program has left in the background stay, until the host ends.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

export interface EnterOptions {
  /** A user of the host; root if not given. */
  user?: string | undefined
  /** Beside PATH, HOME, USER, LOGNAME, SHELL and LANG. */
  env?: NodeJS.ProcessEnv | undefined
}

export interface Entrance {
  /** PID 1 of the host, as this machine counts. */
  pid: number
  groups: readonly string[]
  /** Variables that all programs of the host get. */
  env: Record<string, string>
}

/**
 * Tells file descriptor 3 which process id this machine knows the program by, and joins the groups. The program becomes
 * this shell's successor without a fork, so the id stays. (`$$` would be the host's.) systemd may remove its init.scope from a
 * hierarchy at any time, where no unit has a limit any more; then it is the group above.
 */
const ENTER = `
read -r pid _ </proc/self/stat
echo "$pid" >&3
exec 3>&-
while [ "$1" != -- ]; do
  { echo 0 >"$1/cgroup.procs"; } 2>/dev/null || echo 0 >"\${1%/init.scope}/cgroup.procs"
  shift
done
shift
exec "$@"
`

/** The command line, for `spawn` on this machine with a pipe as file descriptor 3, that runs `argv` in the host. */
export function commandToEnter(
  { pid, groups, env: hostEnv }: Entrance,
  argv: readonly string[],
  { user = 'root', env = {} }: EnterOptions = {},
): { argv: string[]; env: NodeJS.ProcessEnv } {
  const account = readAccount(pid, user)
  const target = ['nsenter', '--target', String(pid)]
  const namespaces = ['--mount', '--uts', '--ipc', '--net', '--cgroup', '--']
  const identity = ['setpriv', `--reuid=${account.uid}`, `--regid=${account.gid}`, '--init-groups']
  // As in namespaces.ts.
  const bounds = ['setpriv', '--bounding-set=-sys_time']
  return {
    argv: [
      ...[...target, '--pid', '--', 'sh', '-euc', ENTER, 'sh', ...groups, '--'],
      ...[...target, ...namespaces, ...bounds, ...identity, '--pdeathsig=KILL', '--', ...argv],
    ],
    env: {
      PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      LANG: 'C.UTF-8',
      HOME: account.home,
      SHELL: account.shell,
      USER: user,
      LOGNAME: user,
      ...hostEnv,
      ...env,
    },
  }
}

interface Account {
  uid: string
  gid: string
  home: string
  shell: string
}

function readAccount(pid: number, user: string): Account {
  const lines = readFileSync(join('/proc', String(pid), 'root/etc/passwd'), 'utf8').split('\n')
  const fields = lines.find(line => line.startsWith(`${user}:`))?.split(':')
  if (!fields) throw new Error(`the host has no user ${user} (see its /etc/passwd)`)
  const [, , uid = '', gid = '', , home = '/', shell = '/bin/sh'] = fields
  return { uid, gid, home, shell: shell || '/bin/sh' }
}
