/**
 * Working in the hub's database from the command line, which root calls. The files of the state folder must stay the hub's, SQLite's own
 * beside them too, so for as long as the database is open this process has the hub's rights and no others.
 */
import { userInfo } from 'node:os'
import type { DatabaseSync } from 'node:sqlite'
import { ProblemError } from '../../problem.ts'
import { openState } from './database.ts'

const owner = 'tljh-hub'

export async function withHubState<Result>(
  file: string,
  work: (db: DatabaseSync) => Result | Promise<Result>,
): Promise<Result> {
  using _rights = takeHubRights()
  using db = openState(file)
  return await work(db)
}

/** Throws `USERS_ROOT` for whoever is neither root nor the hub. */
export function mustBeRootOrHub(args: readonly string[]): void {
  if (process.getuid?.() === 0 || userInfo().username === owner) return
  throw new ProblemError('USERS_ROOT', {
    what: 'Nothing was done',
    why: 'accounts are looked after by root',
    fix: `Write: sudo tljh-ts user ${args.join(' ')}`,
  })
}

function takeHubRights(): Disposable {
  if (process.getuid?.() !== 0) return { [Symbol.dispose]: () => undefined }
  process.setegid?.(owner)
  process.seteuid?.(owner)
  return {
    [Symbol.dispose]() {
      process.seteuid?.(0)
      process.setegid?.(0)
    },
  }
}
