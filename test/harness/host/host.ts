/**
 * Test hosts: a Debian with systemd as PID 1 and the checkout where it would be installed, made from a pristine image in
 * well under two seconds, and gone without a trace when it is disposed of.
 *
 *   await using host = await bootHost()
 *   await host.run(['systemctl', 'start', 'tljh-hub.socket'])
 *   const answer = await fetch(`http://${host.address}/`)
 *
 * What always holds: each host has its own files (changes of an overlay, thrown away at the end), processes, network and
 * limits, so any number of them runs side by side; it ends with the process that booted it; what a crashed
 * process left behind is removed by the next boot on the machine.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { CHECKOUT, checkoutVersion, type Suite } from '../image/cache.ts'
import { image, type Layer } from '../image/image.ts'
import { classEnvironment, debian } from '../image/layers.ts'
import { clientSettings } from '../image/package-registries.ts'
import { waitForBoot } from './boot-result.ts'
import { groupsToEnter, machineHierarchies, makeGroups, removeGroups } from './cgroups.ts'
import { commandToEnter, type EnterOptions } from './enter.ts'
import { type Lease, takeLease } from './host-numbers.ts'
import { beginLife, type Life, type LifeOptions } from './namespaces.ts'
import { cableOf, plugIn, unplug } from './network.ts'
import { killIfAlive } from './process.ts'
import { type CommandOptions, type CommandResult, execute, exitCode } from './run-program.ts'

export { removeLeftovers } from './host-numbers.ts'

export interface HostOptions {
  /** With `true` the host reaches the package registries, as this machine does; without, it reaches nothing but this machine. */
  registries?: boolean | undefined
  /** Without the checkout at the place where the product would be installed: for tests that install it. */
  isBare?: boolean | undefined
  /** The release of Debian; without, the one that the environment chooses. Given layers have one of their own: `debian(suite)`. */
  suite?: Suite | undefined
  /** The image, the lowest layer first: `[...defaultLayers(), more()]` for more than the default. */
  layers?: readonly Layer[] | undefined
  /** Told a line when something takes long. */
  report?: ((line: string) => void) | undefined
  bootTimeoutMs?: number | undefined
}

/** Debian, and the Python environment of the class. */
export function defaultLayers(suite?: Suite): Layer[] {
  return [debian(suite), classEnvironment()]
}

/** A system that does not start within this hangs, even beside others on a slow machine (it takes under a second). */
const BOOT_TIMEOUT_MS = 60_000

/** As long as systemd waits for a unit to stop (DefaultTimeoutStopSec=), and then some. */
const SHUTDOWN_TIMEOUT_MS = 120_000

export type RunOptions = Pick<CommandOptions, 'input' | 'timeoutMs' | 'check'> & EnterOptions

/** A program that runs in the host. Disposing of it kills it. */
export interface HostProcess extends AsyncDisposable {
  stdin: Writable
  stdout: Readable
  stderr: Readable
  /** As this machine counts. */
  pid: number
  /** The exit code, as a shell would report it. Never rejects. */
  ended: Promise<number>
  kill(signal?: NodeJS.Signals): void
}

/**
 * Boots a host, and resolves when systemd has finished booting.
 * @throws when it does not, with the last lines of the host's journal
 */
export async function bootHost(options: HostOptions = {}): Promise<Host> {
  const { registries: hasWayOut = false, layers = defaultLayers(options.suite), isBare = false } = options
  const { report, bootTimeoutMs = BOOT_TIMEOUT_MS } = options
  const { folders } = await image({ layers, ...(report ? { report } : {}) })
  const hierarchies = await machineHierarchies()
  const settings = hasWayOut ? clientSettings() : { files: new Map(), env: {} }
  const lease = await takeLease({ hasWayOut })
  const at = `/opt/tljh/hub/versions/${checkoutVersion()}`
  const host = new Host(lease, settings.env, bootTimeoutMs, {
    name: lease.name,
    hierarchies,
    groups: lease.groups,
    layers: folders,
    folder: lease.folder,
    shown: isBare ? undefined : { folder: CHECKOUT, at },
    cable: cableOf(lease.number),
    hasWayOut,
  })
  try {
    for (const name of ['upper', 'work', 'merged']) await mkdir(join(lease.folder, name), { mode: 0o755 })
    const files = new Map([...settings.files, ...ownFiles(lease.name), ...variableFiles(settings.env)])
    for (const [path, content] of files) await addFile(join(lease.folder, 'upper', path), content)
    if (!isBare) {
      await mkdir(join(lease.folder, 'upper', at), { recursive: true, mode: 0o755 })
      await symlink(`versions/${checkoutVersion()}`, join(lease.folder, 'upper/opt/tljh/hub/current'))
    }
    await host.boot()
    return host
  } catch (error) {
    await host.close()
    throw error
  }
}

export class Host implements AsyncDisposable {
  readonly name: string
  /** Where this machine reaches the host, at any port. */
  readonly address: string
  /** Where the host reaches this machine: for servers that stand for what is outside. */
  readonly gateway: string
  readonly #lease: Lease
  readonly #env: Record<string, string>
  readonly #bootTimeoutMs: number
  readonly #options: LifeOptions
  #life: Life | undefined
  #isClosed = false

  /** Use `bootHost`. */
  constructor(lease: Lease, env: Record<string, string>, bootTimeoutMs: number, options: LifeOptions) {
    this.name = lease.name
    this.address = options.cable.address
    this.gateway = options.cable.gateway
    this.#lease = lease
    this.#env = env
    this.#bootTimeoutMs = bootTimeoutMs
    this.#options = options
  }

  /** PID 1 of the host, as this machine counts. Another one after a reboot. */
  get pid(): number {
    if (!this.#life) throw new Error(`${this.name} does not run: it was ${this.#isClosed ? 'closed' : 'killed'}`)
    return this.#life.pid
  }

  /** The host's files, for this process to look at. Absolute symbolic links in it lead astray: `readFile` follows them right. */
  get rootPath(): string {
    return join('/proc', String(this.pid), 'root')
  }

  /**
   * Runs a program in the host to its end.
   * @throws CommandError when it fails (unless `check` is false) or takes too long
   */
  run(argv: readonly string[], { user, env, ...options }: RunOptions = {}): Promise<CommandResult> {
    const command = commandToEnter(this.#entrance(), argv, { user, env })
    return execute(command.argv, { ...options, env: command.env, tellsVictim: true }, argv)
  }

  /** Starts a program in the host that runs for long. It is killed when this process ends. */
  async start(argv: readonly string[], options: EnterOptions = {}): Promise<HostProcess> {
    const command = commandToEnter(this.#entrance(), argv, options)
    const [program = '', ...args] = command.argv
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe', 'pipe'], env: command.env })
    const ended = once(child, 'exit').then(([code, signal]) => exitCode(code, signal))
    child.stdin.on('error', () => {})
    const told = child.stdio[3] as Readable
    const line = await Promise.race([once(told, 'data').then(String), ended.then(() => '')])
    if (!line) throw new Error(`${argv.join(' ')} could not be started in ${this.name}`)
    const pid = Number(line)
    const kill = (signal: NodeJS.Signals = 'SIGTERM') => {
      if (child.exitCode === null && child.signalCode === null) killIfAlive(pid, signal)
    }
    const { stdin, stdout, stderr } = child as ChildProcessByStdio<Writable, Readable, Readable>
    const dispose = async () => {
      kill('SIGKILL')
      await ended
    }
    return { stdin, stdout, stderr, pid, ended, kill, [Symbol.asyncDispose]: dispose }
  }

  /** Runs a program in the host with this process's own input and outputs. Gives its exit code. */
  async attach(argv: readonly string[], options: EnterOptions = {}): Promise<number> {
    const command = commandToEnter(this.#entrance(), argv, options)
    const [program = '', ...args] = command.argv
    const child = spawn(program, args, { stdio: ['inherit', 'inherit', 'inherit', 'pipe'], env: command.env })
    const [code, signal] = await once(child, 'exit')
    return exitCode(code, signal)
  }

  /** Writes a file as root, and the folders above it where they are missing. */
  async writeFile(
    path: string,
    content: string | Uint8Array,
    { mode = 0o644, owner = 'root', group = 'root' }: { mode?: number; owner?: string; group?: string } = {},
  ): Promise<void> {
    await this.run(['sh', '-euc', WRITE_FILE, 'sh', path, mode.toString(8), owner, group], { input: content })
  }

  async readFile(path: string): Promise<string> {
    return (await this.run(['cat', '--', path])).stdout
  }

  /** Shuts the host down in order and boots it again, with its files. After `kill` it just boots. */
  async reboot(): Promise<void> {
    if (this.#life) {
      const { ended } = this.#life
      // systemd ends before it can answer.
      await Promise.race([ended, this.run(['systemctl', 'reboot'], { check: false })])
      const timer = AbortSignal.timeout(SHUTDOWN_TIMEOUT_MS)
      const late = once(timer, 'abort').then(() => 'late')
      if ((await Promise.race([ended, late])) === 'late') {
        const journal = await this.#journal()
        throw new Error(`${this.name} did not shut down within ${SHUTDOWN_TIMEOUT_MS} ms:\n${journal}`)
      }
      await this.#afterLife()
    }
    await this.boot()
  }

  /** Pulls the plug: every process is gone at once, and what was in memory with them. The files stay, for `reboot`. */
  async kill(): Promise<void> {
    this.#life?.kill()
    await this.#afterLife()
  }

  /** Kills the host and removes all of it. */
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#life?.kill()
    await this.#life?.ended
    this.#life = undefined
    await this.#lease.release()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** Begins a life of the host. For `bootHost` and `reboot`. */
  async boot(): Promise<void> {
    const { hierarchies, cable, folder } = this.#options
    await makeGroups(hierarchies, this.name)
    const life = await beginLife(this.#options)
    this.#life = life
    await this.#lease.noteInit(life.pid)
    await plugIn(cable, life.pid)
    const isBooted = waitForBoot({
      folder: join(this.rootPath, folder, 'merged/run/test-host'),
      rootPath: this.rootPath,
      ended: life.ended,
      timeoutMs: this.#bootTimeoutMs,
    })
    life.go()
    const problem = await isBooted
    if (problem)
      throw new Error(`${this.name} did not boot: ${problem}\n${life.complaints()}\n${await this.#journal()}`)
  }

  async #afterLife(): Promise<void> {
    if (!this.#life) return
    await this.#life.ended
    this.#life = undefined
    await unplug(this.#options.cable)
    await removeGroups(this.#options.groups)
  }

  #entrance() {
    return { pid: this.pid, groups: groupsToEnter(this.#options.groups), env: this.#env }
  }

  async #journal(): Promise<string> {
    const command = ['journalctl', '--boot', '--no-pager', '--lines=100']
    try {
      const { stdout, stderr } = await this.run(command, { check: false, timeoutMs: 10_000 })
      return stdout + stderr
    } catch (cause) {
      return `(no journal: ${cause})`
    }
  }
}

/** The file has its owner and mode before it has its content, which may be a secret. */
const WRITE_FILE = `
install -D --mode="$2" --owner="$3" --group="$4" /dev/null "$1"
cat >"$1"
`

function ownFiles(name: string): Map<string, string> {
  const hosts = `127.0.0.1 localhost\n127.0.1.1 ${name}\n::1 localhost ip6-localhost ip6-loopback\n`
  return new Map([
    ['/etc/hostname', `${name}\n`],
    ['/etc/hosts', hosts],
  ])
}

/** The machine's variables for clients, where login shells (pam_env(8)) and services look for theirs. */
function variableFiles(env: Record<string, string>): Map<string, string> {
  const lines = Object.entries(env).map(([name, value]) => `${name}="${value}"`)
  if (lines.length === 0) return new Map()
  return new Map([
    ['/etc/environment', `${lines.join('\n')}\n`],
    ['/etc/systemd/system.conf.d/registries.conf', `[Manager]\nDefaultEnvironment=${lines.join(' ')}\n`],
  ])
}

async function addFile(path: string, content: string | Uint8Array): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o755 })
  await writeFile(path, content)
}
