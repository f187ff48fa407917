/**
 * What is done with a home by its owner: spawner/accounts/home-task-main.ts, in a unit of the user's (systemd/owner-program.ts) in which there is
 * nothing but the home, to read. Root hands it the files that it writes or reads, and puts what went wrong into words.
 */
import { statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { openConfigFile } from '../../config/change/in-force.ts'
import { limitsOf } from '../../config/meaning/limits.ts'
import type { Account } from '../../config/users/machine-accounts.ts'
import { shortUnixName, type UserName } from '../../config/users/names.ts'
import { codeFolder, type Layout } from '../../machine/layout.ts'
import { countIn } from '../../machine/run-program.ts'
import { ProblemError } from '../../problem.ts'
import { startOwnerProgram } from '../../systemd/owner-program.ts'
import type { ClearableUnits } from '../../systemd/start-anew.ts'
import { escapeUnitName, unitName } from '../../systemd/units.ts'

export type Task =
  /** Only says whether the user has processes, as the others do. */
  { kind: 'look' } | { kind: 'archive'; file: string; mostBytes: number } | { kind: 'verify'; file: string }

export type HomeLayout = Pick<Layout, 'archives' | 'configFile' | 'run'>

export interface HomeTasks {
  /** Resolves when it is done. Throws `PROCESSES_LEFT`, `ARCHIVE_…`. */
  perform(user: UserName, account: Account, task: Task): Promise<void>
}

/** A home of a terabyte on a slow disk takes hours. */
export const mostHours = 12
/** What comes out at once may go beyond the bound before it is noticed. */
const slack = 16 * 1024 ** 2
/** As spawner/accounts/home-task-main.ts ends. */
const exitCodes = { processes: 10, tar: 11, full: 12, differs: 13 }

export function createHomeTasks(layout: HomeLayout, units: ClearableUnits): HomeTasks {
  /** Has spawner/accounts/home-task-main.ts do something as the user. Throws what it came to, in words. */
  async function perform(user: UserName, account: Account, task: Task): Promise<void> {
    const most = task.kind === 'archive' ? task.mostBytes : 0
    await using program = await startOwnerProgram(units, layout.run, {
      name: unitName(`tljh-home-${task.kind}-${escapeUnitName(shortUnixName(account.name))}.service`),
      description: `Home of ${user}: ${task.kind}`,
      account: account.name,
      limits: limitsOf(openConfigFile(layout.configFile, () => undefined).current(), user),
      argv: [
        // Of the version that this is: another may come into force meanwhile, and have it elsewhere.
        join(codeFolder, 'node_modules/node/bin/node'),
        ...['--disable-warning=ExperimentalWarning', join(codeFolder, 'spawner/accounts/home-task-main.ts')],
        ...[task.kind, account.name, String(most)],
      ],
      folder: account.home,
      ...(task.kind === 'verify' ? { input: { file: task.file } } : {}),
      output: task.kind === 'archive' ? { file: task.file } : 'stream',
      // The program stops there by itself, and says so.
      ...(task.kind === 'archive' ? { mostFileBytes: most + slack } : {}),
      mostSeconds: mostHours * 3600,
    })
    program.stdout?.resume()
    const code = await program.ended
    if (code !== 0) throw await problemOf(user, account, layout.archives, code, await program.said)
  }

  return { perform }
}

async function problemOf(
  user: UserName,
  { name, home }: Account,
  archives: string,
  code: number,
  lines: readonly string[],
): Promise<ProblemError> {
  const what = `The account of ${user} was not deleted`
  const unreadable = lines.filter(line => line.startsWith('tar: '))
  switch (code) {
    case exitCodes.processes:
      return processesLeft(
        user,
        name,
        lines.flatMap(line => /^process (.*)/.exec(line)?.[1] ?? []),
      )
    case exitCodes.full: {
      const bytes = countIn(lines.flatMap(line => /^bytes (.*)/.exec(line)?.[1] ?? [])[0])
      const needed = bytes === undefined ? '' : `the files take ${megabytes(bytes)}, and `
      const { bavail, bsize } = await statfs(archives)
      return new ProblemError('ARCHIVE_FULL', {
        what,
        why: `there is no room for the archive: ${needed}${archives} has ${megabytes(bavail * bsize)} left (a twentieth of the disk stays free for the hub)`,
        fix: `Make room (df -h ${archives}; older archives can be moved to another machine) and give the same command again. Nothing was deleted`,
      })
    }
    case exitCodes.tar:
      return new ProblemError('ARCHIVE_UNREADABLE', {
        what,
        why: `not everything in ${home} can be read by ${name}: ${unreadable[0]?.slice(5) ?? 'see the journal'}`,
        fix: `Hand it over and give the same command again: sudo chown --recursive --no-dereference ${name}: ${home} && sudo chmod --recursive u+rX ${home}`,
      })
    case exitCodes.differs:
      return new ProblemError('ARCHIVE_DIFFERS', {
        what,
        why: `the archive does not have what the home has: ${lines.at(-1) ?? 'see the journal'}`,
        fix: 'Give the same command again. If it happens again, look whether the disk is in order: sudo dmesg',
      })
    default:
      return new ProblemError('ARCHIVE_NOT_MADE', {
        what,
        why: `the archive could not be made (exit code ${code}): ${lines.at(-1) ?? 'it said nothing'}`,
        fix: `Find out more with: sudo journalctl --grep=tljh-home. Nothing was deleted`,
      })
  }
}

function processesLeft(user: UserName, name: string, processes: readonly string[]): ProblemError {
  return new ProblemError('PROCESSES_LEFT', {
    what: `The account of ${user} was not deleted`,
    why: `${name} still has processes outside of the server: ${processes.join(', ')}`,
    fix: `End them, for example with: sudo pkill --uid ${name}. Then give the same command again`,
  })
}

function megabytes(bytes: number): string {
  return `${Math.ceil(bytes / 1024 ** 2)} MB`
}
