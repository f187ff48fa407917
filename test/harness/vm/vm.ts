/**
 * A virtual machine: a Debian with a kernel of its own, for what namespaces cannot show (control groups of version 2, a real
 * reboot, a disk that is fresh).
 *
 *   await using vm = await bootVm({ report: console.error })
 *   await vm.run(['systemctl', 'is-system-running'])
 *   const answer = await fetch(vm.url)
 *
 * What always holds: the disk in the cache is never written (QEMU keeps what is written in a file that has no name, so a reboot sees it
 * and nothing else does); the machine ends with the process that booted it; commands reach it over SSH, with a key made for this run.
 * QEMU emulates the processor, so everything takes several times as long as on this machine: each wait has a limit.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { identifyProcess, isAlive } from '../host/process.ts'
import { CommandError, type CommandOptions, type CommandResult, execute } from '../host/run-program.ts'
import { cacheFolders } from '../image/cache.ts'
import { tellTime } from './clock.ts'
import { type Disk, vmDisk } from './disk.ts'

export interface VmOptions {
  /** Told a line when something takes long. */
  report?: (line: string) => void
}

export interface Vm extends AsyncDisposable {
  /** Where this machine reaches port 80 of it, without a slash at the end. */
  url: string
  /** Where it reaches this machine's loopback. */
  gateway: string
  /** Runs a program in it to its end, as root; the words need no quoting. Throws as `execute` does. */
  run(argv: readonly string[], options?: CommandOptions): Promise<CommandResult>
  /** Boots it again, in order. */
  reboot(): Promise<void>
}

const memory = '2560M'
/** One with what package builds ask for (x86-64-v2), and without AVX, which takes QEMU longer than doing without. */
const processor = 'Westmere'
/** Without it, a busy machine makes the kernel distrust the time-stamp counter and ask a device, which is emulated, for the time. */
const timeSource = 'clocksource=tsc tsc=reliable'
/** Of nice(1): the limits of what runs inside count seconds of the clock, however little of the processor it gets. */
const priority = '-10'
/** It takes half a minute, and several times that beside other tests. */
const bootTimeoutMs = 5 * 60_000
const pauseMs = 500
/** A command of a minute here is one of ten there. */
const commandTimeoutMs = 5 * 60_000
const mostAttempts = 5
/** What ssh(1) says of a connection that did not come about. */
const unmet = /^(?:kex_exchange_identification|ssh: connect|Connection (?:closed|reset|timed out)|banner exchange)/m
/** As QEMU's user network has it. */
const gateway = '10.0.2.2'
/** Of what is on the console, for whoever wants to know why it did not boot. */
const consoleBytes = 20_000

/** Boots a machine from a fresh disk, and resolves when it has finished booting. Throws with the end of its console. */
export async function bootVm({ report = () => undefined }: VmOptions = {}): Promise<Vm> {
  const disk = await vmDisk(report)
  const clock = await tellTime()
  const folder = await ownFolder(cacheFolders().downloads)
  const [sshPort, webPort] = [await freePort(), await freePort()]
  const key = join(folder, 'key')
  await execute(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', 'test', '-f', key])
  const publicKey = (await readFile(`${key}.pub`, 'utf8')).trim()
  const argv = qemuCommand(disk, { sshPort, webPort, publicKey })
  const qemu = spawn('setpriv', ['--pdeathsig', 'KILL', 'nice', '-n', priority, ...argv], {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  const ended = once(qemu, 'exit')
  let said = ''
  for (const stream of [qemu.stdout, qemu.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-consoleBytes)
    })
  }

  const ssh = [
    ...[
      'ssh',
      '-o',
      'LogLevel=ERROR',
      '-i',
      key,
      '-p',
      String(sshPort),
      '-o',
      'BatchMode=yes',
      '-o',
      'ConnectTimeout=10',
    ],
    // A machine that reboots does not say good-bye.
    ...['-o', 'ServerAliveInterval=10', '-o', 'ServerAliveCountMax=3'],
    ...['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', 'root@127.0.0.1', '--'],
  ]
  async function run(command: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
    // A shell that stays tells by which signal a program ended; of itself, ssh(1) says 255 then.
    const argv = [...ssh, `${command.map(quote).join(' ')}; exit $?`]
    for (let attempt = 1; ; attempt++) {
      const quiet = await execute(argv, { timeoutMs: commandTimeoutMs, ...options, check: false }, command)
      if (quiet.code === 0 || options.check === false) return quiet
      // The program has not begun: the machine was too busy to greet in time.
      const isUnmet = quiet.code === 255 && unmet.test(quiet.stderr)
      if (!isUnmet || attempt === mostAttempts) throw new CommandError(command, quiet, `failed with code ${quiet.code}`)
      await delay(pauseMs)
    }
  }

  /** Asks until a boot that is not `last` is over. Answers its id. */
  async function booted(last: string): Promise<string> {
    const deadline = Date.now() + bootTimeoutMs
    while (Date.now() < deadline && qemu.exitCode === null && qemu.signalCode === null) {
      const asks = ['sh', '-c', 'cat /proc/sys/kernel/random/boot_id; systemctl is-system-running --wait']
      const answer = await run(asks, { check: false, timeoutMs: bootTimeoutMs })
      const [id = '', state = ''] = answer.stdout.split('\n')
      if (id !== '' && id !== last && (state === 'running' || state === 'degraded')) return id
      await delay(pauseMs)
    }
    throw new Error(`the virtual machine did not boot:\n${said}`)
  }

  const close = async () => {
    qemu.kill('SIGKILL')
    await ended
    await rm(folder, { recursive: true, force: true })
    await clock[Symbol.asyncDispose]()
  }
  try {
    await favour(qemu.pid)
    let bootId = await booted('')
    return {
      url: `http://127.0.0.1:${webPort}`,
      gateway,
      run,
      async reboot() {
        await run(['systemctl', '--no-block', 'reboot'], { check: false })
        bootId = await booted(bootId)
      },
      [Symbol.asyncDispose]: close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

function qemuCommand(
  { file, kernel, initrd }: Disk,
  { sshPort, webPort, publicKey }: { sshPort: number; webPort: number; publicKey: string },
): string[] {
  const forwards = [
    [sshPort, 22],
    [webPort, 80],
  ].map(([from, to]) => `hostfwd=tcp:127.0.0.1:${from}-:${to}`)
  const credential = `systemd.set_credential="ssh.authorized_keys.root:${publicKey}"`
  return [
    // One thread for one processor: of 54 starts of Node.js in QEMU 7.2 none crashed, nor did any in four runs of the tests. With two
    // processors and `thread=multi` 1 of 54 did, where V8 goes over to WebAssembly that another thread compiled (WasmTriggerTierUp).
    ...['qemu-system-x86_64', '-accel', 'tcg,thread=single', '-cpu', processor, '-smp', '1', '-m', memory],
    ...['-display', 'none', '-monitor', 'none', '-serial', 'stdio', '-kernel', kernel, '-initrd', initrd],
    ...['-append', `root=/dev/vda rw console=ttyS0 mitigations=off ${timeSource} ${credential}`],
    ...['-drive', `file=${file},if=virtio,format=raw,snapshot=on,cache=unsafe`],
    ...['-netdev', `user,id=net,${forwards.join(',')}`, '-device', 'virtio-net-pci,netdev=net'],
    ...['-device', 'virtio-rng-pci'],
  ]
}

/**
 * Lets it go before what runs beside it. Where Linux shares the processor between sessions (autogroup, sched(7)), nice(1) says
 * nothing to other sessions: the priority of the session counts, of which QEMU has one to itself. Where that may not be set, the
 * machine is slow, and no more than that.
 */
async function favour(pid: number | undefined): Promise<void> {
  await writeFile(`/proc/${pid}/autogroup`, priority).catch(() => undefined)
}

/** A folder with the name of its owner in it, after removing those whose owner is gone. */
async function ownFolder(base: string): Promise<string> {
  for (const name of await readdir(base)) {
    const [, pid, startTime = ''] = /^\.vm-(\d+)-(\d+)-/.exec(name) ?? []
    if (pid && !isAlive({ pid: Number(pid), startTime })) await rm(join(base, name), { recursive: true, force: true })
  }
  const own = identifyProcess(process.pid)
  return mkdtemp(join(base, `.vm-${process.pid}-${own?.startTime ?? 0}-`))
}

/** ssh(1) hands the words to a shell. */
function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  return address && typeof address === 'object' ? address.port : 0
}
