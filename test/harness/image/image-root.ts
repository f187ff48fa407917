/**
 * A root folder in the making: the layers below with a new, writable one on top, seen only from a mount and pid
 * namespace of its own.
 *
 * The namespace is kept by one process that ends with the process which opened it. All mounts are in it and all
 * programs of the build run in it, so whatever way a build ends, none of them outlives it.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { type CommandOptions, type CommandResult, execute } from '../host/run-program.ts'

/** A build may wait long for a registry; this is for the one that hangs. */
const BUILD_STEP_TIMEOUT_MS = 15 * 60_000

export interface BuildRoot extends AsyncDisposable {
  /** The root folder, for this process to read and write files in. */
  path: string
  /** The root folder, as programs that are run `onMachine` see it. */
  folder: string
  /** An empty folder, /mnt in the root, that is no part of the layer. */
  scratch: string
  /** Runs a program in the root (chroot), with this machine's client settings. The `downloads` folder is /media there. */
  run(argv: readonly string[], options?: CommandOptions): Promise<CommandResult>
  /** Runs a program of this machine, with the namespace's mounts. */
  onMachine(argv: readonly string[], options?: CommandOptions): Promise<CommandResult>
}

export interface BuildRootOptions {
  /** Holds the folders root (the new layer), work, merged, scratch, settings. */
  work: string
  /** Root folders of the layers below, the lowest first. */
  below: readonly string[]
  downloads: string
  env: Record<string, string>
}

/**
 * The machine's client settings are the topmost of the layers below, so that programs see them and the new layer does
 * not hold them.
 */
const SCRIPT = `
work=$1 lower=$2 downloads=$3 root=$1/merged
if [ -z "$lower" ]; then
  mount --bind "$work/root" "$root"
else
  mount -t overlay overlay -o "lowerdir=$work/settings:$lower,upperdir=$work/root,workdir=$work/work" "$root"
  mount -t proc proc "$root/proc"
  mount -t tmpfs -o mode=755 tmpfs "$root/run"
  mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
  mount -t tmpfs -o mode=755 tmpfs "$root/dev"
  for node in null zero full random urandom; do
    touch "$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
  done
  mount --bind "$work/scratch" "$root/mnt"
  mount --bind "$downloads" "$root/media"
fi
read -r pid _ </proc/self/stat
echo "$pid"
exec sleep infinity
`

/** Opens the root. Disposing of it ends every program in it and undoes the mounts. */
export async function openBuildRoot({ work, below, downloads, env }: BuildRootOptions): Promise<BuildRoot> {
  const argv = ['--pdeathsig', 'KILL', 'unshare', '--mount', '--propagation', 'private', '--pid', '--fork']
  const script = ['--kill-child', 'sh', '-euc', SCRIPT, 'sh', work, below.toReversed().join(':'), downloads]
  const keeper = spawn('setpriv', [...argv, ...script], { stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = once(keeper, 'exit')
  const complaints: Buffer[] = []
  keeper.stderr.on('data', (chunk: Buffer) => complaints.push(chunk))
  const pid = await Promise.race([once(keeper.stdout, 'data').then(String), ended.then(() => '')])
  if (!pid) throw new Error(`the root folder in ${work} could not be mounted: ${Buffer.concat(complaints)}`)

  const folder = join(work, 'merged')
  const enter = ['nsenter', '--target', pid.trim(), '--mount', '--pid', '--']
  const rootEnv = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root', LANG: 'C.UTF-8', ...env }
  return {
    path: join('/proc', pid.trim(), 'root', folder),
    folder,
    scratch: join(work, 'scratch'),
    run: (command, options = {}) =>
      execute(
        [...enter, 'chroot', folder, ...command],
        { timeoutMs: BUILD_STEP_TIMEOUT_MS, ...options, env: { ...rootEnv, ...options.env } },
        command,
      ),
    onMachine: (command, options) =>
      execute([...enter, ...command], { timeoutMs: BUILD_STEP_TIMEOUT_MS, ...options }, command),
    async [Symbol.asyncDispose]() {
      keeper.kill('SIGKILL')
      await ended
    },
  }
}
