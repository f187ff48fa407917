/**
 * Copies of the hub's database, as SQLite makes them of one that is in use, and the way back for one.
 *
 * The folder is the hub's own: what root does in it, a program with the hub's rights does for it, so that no link or pipe that lies there
 * leads anywhere that the hub could not go itself. Copies are for root alone.
 *
 * A copy is put in force by the hub itself, at its start (hub/state/database.ts, `adoptState`): only then is nobody in the database. It cannot be
 * done with the hub stopped, because its socket stays open, and the first browser that comes makes systemd start it.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { constants, createReadStream, existsSync } from 'node:fs'
import { chown, mkdtemp, open, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { pipeline } from 'node:stream/promises'
import type { Layout } from '../../machine/layout.ts'
import { runProgram } from '../../machine/run-program.ts'
import { ProblemError } from '../../problem.ts'

const owner = 'tljh-hub'
/** A database of a thousand users has some megabytes. A pipe in its place says nothing for ever. */
const copyTimeoutMs = 300_000

/** As machine/replace-file.ts does it. Not install(1): it opens its source by name, and what it is handed has none. */
const writeScript = `umask 077; mkdir -p -- "$(dirname -- "$1")"; trap 'rm -f -- "$1.part"' EXIT
rm -f -- "$1.part"; cat >"$1.part"; sync -- "$1.part"; mv -fT -- "$1.part" "$1"`

/** Copies what the hub has answered for until now. Answers whether there was anything. Throws `STATE_COPY`. */
export async function copyState(layout: Layout, target: string): Promise<boolean> {
  const file = stateFile(layout)
  if (!existsSync(file)) return false
  const places = [dirname(layout.versions), dirname(target)]
  // The hub has to get there, nobody else may, and what it could change in it is its own.
  const folder = await mkdtemp(join(dirname(layout.versions), '.state-')).catch(cause => {
    throw notCopied(file, cause, places)
  })
  try {
    const { uid, gid } = await hubOwner()
    await chown(folder, uid, gid)
    await lookAtState(file, join(folder, 'copy'))
    await takeOver(join(folder, 'copy'), `${target}.part`)
    await rename(`${target}.part`, target)
    return true
  } catch (cause) {
    await rm(`${target}.part`, { force: true })
    throw notCopied(file, cause, places)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Leaves the copy beside the database, for the hub that starts next. Throws `STATE_COPY`. */
export async function restoreState(layout: Layout, copy: string): Promise<void> {
  await putAsHub(copy, `${stateFile(layout)}.restored`)
}

/** Takes back `restoreState`, where no hub has started since. */
export async function forgetRestored(layout: Layout): Promise<void> {
  await rm(`${stateFile(layout)}.restored`, { force: true })
}

/** How many migrations a copy has seen. */
export function schemaOf(copy: string): number {
  using db = new DatabaseSync(copy, { readOnly: true, timeout: 5_000 })
  return Number(db.prepare('PRAGMA user_version').get()?.user_version)
}

/** Of the database that is in force; undefined where there is none, or none that can be read. */
export async function schemaInForce(layout: Layout): Promise<number | undefined> {
  const file = stateFile(layout)
  if (!existsSync(file)) return undefined
  return lookAtState(file).catch(() => undefined)
}

export function stateFile({ state }: Layout): string {
  return join(state, 'hub.sqlite')
}

/**
 * Writes a file into a folder of the hub's, as the hub's: by a program with its rights, which is handed the content. What was there stays
 * until the new one is whole. Whatever lies in the way, the hub could have written there itself. Throws `STATE_COPY`.
 */
export async function putAsHub(from: string, to: string): Promise<void> {
  const write = ['sh', '-euc', writeScript, 'sh', to]
  const stdio = ['pipe', 'ignore', 'pipe'] as const
  const child = spawn('setpriv', [...(await hubRights()), ...write], { stdio: [...stdio], timeout: copyTimeoutMs })
  const said: Buffer[] = []
  child.stderr.on('data', (chunk: Buffer) => said.push(chunk))
  const ended = once(child, 'close')
  // A program that gives up closes the pipe; its exit code says more than EPIPE does.
  await pipeline(createReadStream(from), child.stdin).catch(() => undefined)
  const [code] = await ended
  if (code !== 0)
    throw notCopied(to, Buffer.concat(said).toString().trim() || `it was given up after ${copyTimeoutMs / 1000} s`)
}

/** Answers the schema. */
async function lookAtState(file: string, copy?: string): Promise<number> {
  const program = [
    process.execPath,
    '--disable-warning=ExperimentalWarning',
    join(import.meta.dirname, 'look-at-state.ts'),
  ]
  const args = [...(await hubRights()), ...program, file, ...(copy === undefined ? [] : [copy])]
  const { code, stdout, stderr } = await runProgram('setpriv', args, { timeoutMs: copyTimeoutMs })
  if (code !== 0) throw new Error(stderr.split('\n').find(line => /error/i.test(line)) ?? `code ${code}`)
  return (JSON.parse(stdout) as { schema: number }).schema
}

/** The content of a regular file of the hub's, in a new one of root's. */
async function takeOver(from: string, to: string): Promise<void> {
  await using source = await open(from, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  if (!(await source.stat()).isFile()) throw new Error(`${from} is no file`)
  await rm(to, { force: true })
  await using target = await open(to, 'wx', 0o600)
  const buffer = Buffer.alloc(1024 ** 2)
  for (;;) {
    const { bytesRead } = await source.read(buffer)
    if (bytesRead === 0) break
    await target.writeFile(buffer.subarray(0, bytesRead))
  }
  await target.sync()
}

/** For setpriv(1): the program behind them runs as the hub. */
export async function hubRights(): Promise<string[]> {
  const { uid, gid } = await hubOwner()
  return [`--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--no-new-privs', '--']
}

async function hubOwner(): Promise<{ uid: number; gid: number }> {
  const { stdout } = await runProgram('getent', ['passwd', owner])
  const [, , uid, gid] = stdout.split(':').map(Number)
  if (uid && gid) return { uid, gid }
  throw notCopied('The hub’s database', `this machine has no account ${owner}`)
}

/** @param places the folders that were written to */
function notCopied(file: string, cause: unknown, places: readonly string[] = ['/opt']): ProblemError {
  if (cause instanceof ProblemError) return cause
  return new ProblemError('STATE_COPY', {
    what: `${file}, where the hub keeps passwords and sessions, could not be copied`,
    why: cause instanceof Error ? cause.message : String(cause),
    fix: `See whether the disk is full (df -h ${[...new Set(places)].join(' ')}), make room, and start the same command again`,
    cause,
  })
}
