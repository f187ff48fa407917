/**
 * Another name for an account, with the same user id and the same files.
 *
 * Several programs do parts of it, each of which can be killed in the middle. So what is to be done is written down before anything is done, and each
 * step passes over what it finds done: the same call completes a renaming that was cut off, and no other can begin before.
 */
import { existsSync, lstatSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { accountComment, isUserName, type UserName, unixName } from '../../config/users/names.ts'
import type { Layout } from '../../machine/layout.ts'
import { replaceFile } from '../../machine/replace-file.ts'
import { runProgram } from '../../machine/run-program.ts'
import { ProblemError } from '../../problem.ts'
import { type ClearableUnits, clearUnit } from '../../systemd/start-anew.ts'
import { serverUnitName } from '../server/names.ts'
import { findAccount } from './ensure.ts'
import { removedHome, takeTurn } from './remove.ts'

export interface Renaming {
  from: UserName
  to: UserName
}

export interface Renamings {
  /** The one that was begun and has not ended. */
  begun(): Renaming | undefined
  begin(renaming: Renaming): void
  /** Stops the server, and renames account, group and home. Throws `RENAME_…`, `ACCOUNT_…`. */
  carryOut(renaming: Renaming): Promise<void>
  end(): void
  /** Whether the machine has an account, a group or a home of that user, or what is left of one. */
  isKnown(user: UserName): Promise<boolean>
}

export function createRenamings(
  { configFile, run }: Pick<Layout, 'configFile' | 'run'>,
  units: ClearableUnits,
): Renamings {
  const file = join(dirname(configFile), 'renaming.json')

  return {
    begun() {
      if (!existsSync(file)) return undefined
      const { from, to } = JSON.parse(readFileSync(file, 'utf8')) as Renaming
      return isUserName(from) && isUserName(to) ? { from, to } : undefined
    },
    begin: renaming => replaceFile(file, JSON.stringify(renaming)),
    async carryOut({ from, to }) {
      // As in remove.ts.
      await findAccount(from, unixName(from))
      await clearUnit(units, serverUnitName(unixName(from)))
      await using _turn = await takeTurn(run)
      await renameAccount(from, to)
    },
    end: () => rmSync(file, { force: true }),
    async isKnown(user) {
      const name = unixName(user)
      const found = await Promise.all(['passwd', 'group'].map(table => runProgram('getent', [table, name])))
      return found.some(({ code }) => code === 0) || [`/home/${name}`, removedHome(name)].some(isThere)
    },
  }
}

/** The home first: it is found by its owner's number, whatever the account is called by then. */
async function renameAccount(from: UserName, to: UserName): Promise<void> {
  const [oldName, newName] = [unixName(from), unixName(to)]
  const [oldHome, newHome] = [`/home/${oldName}`, `/home/${newName}`]
  const account = await findAccount(from, oldName)
  if (account && account.home !== oldHome && account.home !== newHome) {
    throw notRenamed(
      from,
      `its home is ${account.home}, so it was not made by the hub`,
      `Rename it by hand: sudo usermod --login ${newName} ${oldName}`,
    )
  }
  if (account) {
    const busy = await runProgram('ps', ['-o', 'pid=,comm=', '-u', String(account.uid)])
    if (busy.stdout.trim()) {
      const list = busy.stdout
        .trim()
        .split('\n')
        .map(line => line.trim())
        .join(', ')
      throw notRenamed(
        from,
        `${oldName} still has processes outside of the server: ${list}`,
        `End them, for example with: sudo pkill --uid ${oldName}`,
      )
    }
  }
  if (isThere(oldHome) && !isThere(newHome)) moveHome(from, oldHome, newHome)
  if (account) {
    await must(from, 'usermod', [
      '--login',
      newName,
      '--home',
      newHome,
      '--comment',
      `${accountComment}${to}`,
      '--badname',
      '--',
      oldName,
    ])
  }
  const groups = await Promise.all([oldName, newName].map(name => runProgram('getent', ['group', name])))
  if (groups[0]?.code === 0 && groups[1]?.code !== 0)
    await must(from, 'groupmod', ['--new-name', newName, '--', oldName])
}

function moveHome(user: UserName, from: string, to: string): void {
  try {
    renameSync(from, to)
  } catch (cause) {
    throw notRenamed(
      user,
      `${from} could not be moved: ${cause instanceof Error ? cause.message : cause}`,
      'See whether something is mounted there: findmnt',
    )
  }
}

async function must(user: UserName, file: string, args: readonly string[]): Promise<void> {
  const { code, stderr } = await runProgram(file, args)
  if (code !== 0)
    throw notRenamed(
      user,
      stderr || `${file} ended with code ${code}`,
      'Mend what it says and give the same command again',
    )
}

function notRenamed(user: UserName, why: string, fix: string): ProblemError {
  const again = fix.includes('same command') ? '' : '; then give the same command again, which completes it'
  return new ProblemError('RENAME_STOPPED', {
    what: `The account of ${user} is not renamed yet`,
    why,
    fix: `${fix}${again}`,
  })
}

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined
}
