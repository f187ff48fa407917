/**
 * Copies of the hub's database, as SQLite makes them of one that is in use, and the way back for one.
 *
 * A copy is put in force by the hub itself, at its start (hub/state.ts, `adoptState`): only then is nobody in the database. It cannot be
 * done with the hub stopped, because its socket stays open, and the first browser that comes makes systemd start it.
 */
import { existsSync } from 'node:fs'
import { chmod, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { backup, DatabaseSync } from 'node:sqlite'
import { runCommand } from '../../commands.ts'
import type { Layout } from '../../config/paths.ts'
import { ProblemError } from '../../problem.ts'

const owner = 'tljh-hub'

/** Copies what the hub has answered for until now. Answers whether there was anything. Throws `STATE_COPY`. */
export async function copyState(layout: Layout, target: string): Promise<boolean> {
  const file = stateFile(layout)
  if (!existsSync(file)) return false
  const beside = `${target}.part`
  try {
    await rm(beside, { force: true })
    {
      using db = new DatabaseSync(file, { readOnly: true, timeout: 5_000 })
      await backup(db, beside)
    }
    // Password hashes and sessions are in it.
    await chmod(beside, 0o600)
    await rename(beside, target)
    return true
  } catch (cause) {
    await rm(beside, { force: true })
    throw notCopied(file, cause)
  }
}

/** Leaves the copy beside the database, for the hub that starts next. */
export async function restoreState(layout: Layout, copy: string): Promise<void> {
  const beside = `${stateFile(layout)}.restored`
  // install(1) makes the file anew: the folder is the hub's, which could have put a link there.
  const put = ['--owner', owner, '--group', owner, '--mode', '600', '--', copy, `${beside}.part`]
  const { code, stderr } = await runCommand('install', put, { timeoutMs: 300_000 })
  if (code !== 0) throw notCopied(copy, stderr)
  await runCommand('sync', [`${beside}.part`])
  await rename(`${beside}.part`, beside)
}

/** Takes back `restoreState`, where no hub has started since. */
export async function forgetRestored(layout: Layout): Promise<void> {
  await rm(`${stateFile(layout)}.restored`, { force: true })
}

/** How many migrations it has seen; undefined where there is no database. */
export function schemaOf(file: string): number | undefined {
  if (!existsSync(file)) return undefined
  using db = new DatabaseSync(file, { readOnly: true, timeout: 5_000 })
  return Number(db.prepare('PRAGMA user_version').get()?.user_version)
}

export function stateFile({ state }: Layout): string {
  return join(state, 'hub.sqlite')
}

function notCopied(file: string, cause: unknown): ProblemError {
  return new ProblemError('STATE_COPY', {
    what: `${file}, where the hub keeps passwords and sessions, could not be copied`,
    why: cause instanceof Error ? cause.message : String(cause),
    fix: 'See whether the disk is full (df -h /opt), then start the same command again',
    cause,
  })
}
