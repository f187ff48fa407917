/**
 * One life of a host, from the mounts to the end of its PID 1: systemd in mount, pid, uts, ipc, network and cgroup
 * namespaces of its own, on an overlay of the image's layers.
 *
 * The process that started it is its parent in the kernel's eyes (PR_SET_PDEATHSIG, twice: for `unshare` and for PID 1),
 * so no host outlives its owner, whatever way that one ends. All mounts are made inside and go with it. (The signal is
 * bound to the thread that started the host: start hosts from a process's main thread.)
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Hierarchy } from './cgroups.ts'
import type { Cable } from './network.ts'
import { killIfAlive } from './process.ts'
import { exitCode } from './run-program.ts'

export interface LifeOptions {
  name: string
  hierarchies: readonly Hierarchy[]
  groups: readonly string[]
  /** Root folders of the image, the lowest first. */
  layers: readonly string[]
  /** Holds `upper`, `work` and `merged`. */
  folder: string
  /** A folder of this machine, and where the host has it, read-only; if any. */
  shown: { folder: string; at: string } | undefined
  cable: Cable
  hasWayOut: boolean
}

export interface Life {
  /** PID 1 of the host, as this machine counts. */
  pid: number
  /** Lets systemd start: to be called when the cable is there. */
  go(): void
  /** Pulls the plug. */
  kill(): void
  /** Resolves when nothing of the host runs any more. Never rejects. */
  ended: Promise<number>
  /** What the mounts and systemd have said outside the journal. */
  complaints(): string
}

/** Joins the groups that are named before `--`, and becomes the command behind it. */
const JOIN = `
while [ "$1" != -- ]; do
  echo 0 >"$1/cgroup.procs"
  shift
done
shift
exec "$@"
`

/**
 * Makes the root folder and becomes systemd. /proc is still this machine's in the beginning, so /proc/self tells the
 * process id that the owner knows us by. Controllers that share a hierarchy are looked for by their own names too. `mnt` is the old root for as long as it takes to let go of it. The root is shared, so
 * that services see what is mounted later: systemd makes it so at a boot, but leaves it alone in what looks like a container.
 * Nobody in the host may set the clock or its zone, root neither: they are the machine's (time_namespaces(7) has no wall clock).
 */
const BOOT = `
name=$1 lower=$2 folder=$3 shown=$4 shown_at=$5 address=$6 gateway=$7
shift 7
root=$folder/merged
read -r pid _ </proc/self/stat
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$folder/upper,workdir=$folder/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mkdir "$root/run/test-host"
if [ -n "$shown" ]; then
  mkdir -p "$root$shown_at"
  mount --bind "$shown" "$root$shown_at"
  mount -o remount,bind,ro "$root$shown_at"
fi

mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
while [ $# -gt 0 ]; do
  mkdir -p "$root/sys/fs/cgroup/$3"
  mount -t "$1" -o "$2" "$1" "$root/sys/fs/cgroup/$3"
  IFS=,
  for controller in $3; do
    [ "$controller" = "$3" ] || ln -s "$3" "$root/sys/fs/cgroup/$controller"
  done
  unset IFS
  shift 3
done

mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for node in null zero full random urandom tty; do
  touch "$root/dev/$node"
  mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
touch "$root/dev/console"
echo "$name" >/proc/sys/kernel/hostname

echo "$pid"
read -r _
ip link set lo up
ip address add "$address/30" dev eth0
# An address of IPv6 counts only after a second in which it is looked for elsewhere; then Chromium breaks off what it loads: the network has changed.
ip link set eth0 addrgenmode none
ip link set eth0 up
[ -z "$gateway" ] || ip route add default via "$gateway"

cd "$root"
pivot_root . mnt
cd /
exec chroot . /bin/sh -euc '
  umount -l /mnt
  mount --make-rshared /
  exec setpriv --bounding-set=-sys_time /lib/systemd/systemd --log-target=journal </dev/null >/dev/null
'
`

/** Starts a life up to the moment before systemd. */
export async function beginLife(options: LifeOptions): Promise<Life> {
  const { name, hierarchies, groups, layers, folder, shown, cable, hasWayOut } = options
  const owner = ['setpriv', '--pdeathsig', 'KILL', 'unshare', '--mount', '--propagation', 'private']
  const separate = ['--pid', '--uts', '--ipc', '--net', '--fork', '--kill-child']
  // The cgroup namespace comes last: its root is the group that the process is in then.
  const join = ['sh', '-euc', JOIN, 'sh', ...groups, '--', 'unshare', '--cgroup']
  const paths = [layers.toReversed().join(':'), folder, shown?.folder ?? '', shown?.at ?? '']
  const network = [cable.address, hasWayOut ? cable.gateway : '']
  const mounts = hierarchies.flatMap(({ type, options, mountedAt }) => [type, options, mountedAt])
  const boot = ['sh', '-euc', BOOT, 'sh', name, ...paths, ...network, ...mounts]
  const [program = '', ...argv] = [...owner, ...separate, ...join, ...boot]
  const keeper = spawn(program, argv, {
    stdio: 'pipe',
    env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', container: 'tljh-test' },
  })
  const ended = endOf(keeper)
  const complaints: Buffer[] = []
  keeper.stderr.on('data', (chunk: Buffer) => complaints.push(chunk))
  // The shell may be dead before it reads `go`: its end says so, an EPIPE would say it twice.
  keeper.stdin.on('error', () => {})

  const line = await Promise.race([once(keeper.stdout, 'data').then(String), ended.then(() => '')])
  const said = () => Buffer.concat(complaints).toString().trim()
  if (!line) throw new Error(`the root folder of ${name} in ${folder} could not be made: ${said()}`)
  const pid = Number(line)
  let isOver = false
  void ended.then(() => {
    isOver = true
  })
  return {
    pid,
    go: () => keeper.stdin.end('go\n'),
    // Not the keeper: it waits for PID 1, and so its end says that all is over.
    kill: () => {
      if (!isOver) killIfAlive(pid, 'SIGKILL')
    },
    ended,
    complaints: said,
  }
}

function endOf(child: ChildProcess): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>()
  child.once('error', () => resolve(127))
  child.once('exit', (code, signal) => resolve(exitCode(code, signal)))
  return promise
}
