/**
 * A program that does something with a student's files, as that student: the one way in which our code takes a student's user id.
 *
 * It runs in a unit of its own, below the same slice and with no more than the student has: no network, no bus, no other home, nothing to
 * write to but what it was given. Whoever takes it over (its owner may trace it) has won nothing. Root speaks with it by unix sockets in a
 * folder of root's, to which systemd connects before it gives up its rights: so the program never holds anything else of root's. What it
 * says is not to be believed, and when root has no more use for it, all of the unit is killed.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { ProblemError } from '../problem.ts'
import { closedPaths, confinement, modestLimits, usersSlice } from './confinement.ts'
import { type ClearableUnits, clearUnit, startCleared } from './start-anew.ts'
import type { UnitName, UnitProperties } from './units.ts'

export interface OwnerProgramPlan {
  name: UnitName
  description: string
  /** The account, by name. */
  account: string
  /** The student's own; the program gets no more, and never much. */
  limits: Parameters<typeof modestLimits>[0]
  argv: readonly [string, ...string[]]
  /** The one folder of theirs that it sees. */
  folder: string
  isFolderWritable?: boolean
  /** A file that it may read and write, and sees as `lentFile`. It must belong to the account. */
  lent?: string
  /** What it reads: what root writes into `stdin`, or a file that root alone may open. Without: nothing. */
  input?: 'stream' | { file: string }
  /** Where it writes: what root reads from `stdout`, or such a file, which is made or emptied. */
  output: 'stream' | { file: string }
  /** Of any file that it writes, in bytes. */
  mostFileBytes?: number
  /** For all of it. */
  mostSeconds: number
}

export interface OwnerProgram extends AsyncDisposable {
  stdin: Writable | undefined
  stdout: Readable | undefined
  /** The lines that it wrote to standard error, when it has ended; of very many, the first. */
  said: Promise<string[]>
  /** The exit code; 255 where it ended in another way. Never rejects. */
  ended: Promise<number>
  kill(): Promise<void>
}

export const lentFile = '/mnt/lent'

const mostSaid = 64 * 1024
/** After the end of the program: for a slow disk that takes what is left. */
const mostSilenceMs = 10_000
const mostDrainMs = 300_000

/** @param run a folder of root's in which sockets may be. Throws `SYSTEMD_…`, `OWNER_PROGRAM`. */
export async function startOwnerProgram(
  units: ClearableUnits,
  run: string,
  plan: OwnerProgramPlan,
): Promise<OwnerProgram> {
  const folder = await mkdtemp(join(run, 'owner-'))
  const { name, input, output } = plan
  const [inlet, outlet, complaints] = ['in', 'out', 'err'].map(end => join(folder, end)) as [string, string, string]
  try {
    using stdin = input === 'stream' ? await listenOnce(inlet) : undefined
    using stdout = output === 'stream' ? await listenOnce(outlet) : undefined
    using stderr = await listenOnce(complaints)
    const properties: UnitProperties = {
      ...confined(plan),
      ...(input === undefined ? {} : { StandardInputFile: input === 'stream' ? inlet : input.file }),
      ...(output === 'stream' ? { StandardOutputFile: outlet } : { StandardOutputFileToTruncate: output.file }),
      StandardErrorFile: complaints,
    }
    const job = await startCleared(units, { name, properties })
    const ended = job.done
      .then(result => (result === 'done' ? 0 : howItEnded(units, name)))
      // systemd cannot be asked any more: then nobody knows.
      .catch(() => 255)
    const connected = Promise.all([stdin?.first, stdout?.first, stderr.first])
    // What ends at once has connected all the same, and that is heard in the same turn.
    const streams = await Promise.race([connected, ended.then(nextTurn)])
    if (streams === undefined) throw notStarted(plan, await ended)
    const [toIt, fromIt, complaining] = streams
    void ended.then(() => giveUpOn(streams))
    const kill = () => clearUnit(units, name)
    return {
      stdin: toIt,
      stdout: fromIt,
      said: linesOf(complaining),
      ended,
      kill,
      async [Symbol.asyncDispose]() {
        await kill()
        for (const stream of streams) stream?.destroy()
      },
    }
  } catch (error) {
    await clearUnit(units, name)
    throw error
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

function confined({ account, description, limits, argv, folder, ...plan }: OwnerProgramPlan): UnitProperties {
  const own = { source: folder, ignoreMissing: true }
  const lent = plan.lent === undefined ? [] : [{ source: plan.lent, target: lentFile }]
  const written = [...(plan.isFolderWritable ? [own] : []), ...lent]
  return {
    ...confinement,
    ...modestLimits(limits),
    Description: description,
    Slice: usersSlice,
    Type: 'oneshot',
    ExecStart: [{ argv }],
    User: account,
    Environment: { LC_ALL: 'C.UTF-8' },
    UMask: 0o077,
    TimeoutStartUSec: plan.mostSeconds * 1_000_000,
    // It has nothing to bring in order, and nothing to say in that.
    KillSignal: 'SIGKILL',
    // It is never in the way of a class.
    CPUWeight: 10,
    OOMScoreAdjust: 500,
    LimitCORE: 0,
    LimitFSIZE: plan.mostFileBytes ?? 'infinity',
    ProtectSystem: 'strict',
    TemporaryFileSystem: [{ path: '/mnt', options: 'mode=755,size=64k' }],
    // An empty list would take back the other one.
    ...(written.length ? { BindPaths: written } : {}),
    ...(plan.isFolderWritable ? {} : { BindReadOnlyPaths: [own] }),
    PrivateTmp: true,
    PrivateIPC: true,
    PrivateDevices: true,
    PrivateNetwork: true,
    // It speaks to root alone, and cannot fill the journal.
    InaccessiblePaths: [...closedPaths, '-/run/systemd/journal'],
  }
}

/** The first that connects; nobody after that. Disposed of, it listens no more. */
async function listenOnce(path: string): Promise<Disposable & { first: Promise<Socket> }> {
  const first = Promise.withResolvers<Socket>()
  const server: Server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, socket => {
    // Whoever reads or writes hears of it; until then, nobody need.
    socket.on('error', () => undefined)
    first.resolve(socket)
    server.close()
  })
  const listens = Promise.withResolvers<void>()
  server.once('error', listens.reject).listen(path, listens.resolve)
  await listens.promise
  return { first: first.promise, [Symbol.dispose]: () => void server.close() }
}

/**
 * The program has ended, and what it wrote last is in the kernel, 200 KB at most. Another process of its owner's may hold copies of its
 * descriptors (pidfd_getfd(2)) and keep them open, silent or dripping; nobody waits for that.
 */
function giveUpOn(streams: readonly (Socket | undefined)[]): void {
  for (const stream of streams) {
    if (!stream || stream.destroyed) continue
    stream.setTimeout(mostSilenceMs, () => stream.destroy())
    const timer = setTimeout(() => stream.destroy(), mostDrainMs).unref()
    stream.once('close', () => clearTimeout(timer))
  }
}

function nextTurn(): Promise<undefined> {
  return new Promise(resolve => setImmediate(() => resolve(undefined)))
}

async function howItEnded(units: ClearableUnits, name: UnitName): Promise<number> {
  const unit = await units.inspectUnit(name)
  await units.resetFailedUnit(name)
  return unit?.execMainCode === 'exited' ? unit.execMainStatus : 255
}

async function linesOf(stderr: Readable): Promise<string[]> {
  let text = ''
  try {
    for await (const chunk of stderr) text = text.length < mostSaid ? text + chunk : text
  } catch {
    // It was given up, and what it had said until then counts.
  }
  return text.split('\n').filter(Boolean)
}

function notStarted({ name, argv, account }: OwnerProgramPlan, code: number): ProblemError {
  return new ProblemError('OWNER_PROGRAM', {
    what: `${argv[0]} could not be started as ${account}`,
    why: `systemd gave up before the program ran (exit code ${code})`,
    fix: `See why: sudo journalctl --unit=${name}`,
  })
}
