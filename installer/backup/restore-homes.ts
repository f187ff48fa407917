/**
 * Homes of a backup, put back: each is unpacked beside (`/home/.tljh-restore-…`) by tar(1) with the rights of its owner, so that nothing
 * in it reaches anything else, and renamed when it is whole. A home that is there is kept under another name.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { lstatSync } from 'node:fs'
import { chmod, chown, lstat, mkdir, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createZstdDecompress } from 'node:zlib'
import { runCommand } from '../../commands.ts'
import { ProblemError } from '../../problem.ts'
import { escapeUnitName, unitName } from '../../systemd/units.ts'
import { type BackedUpHome, readArchive } from './archive.ts'
import { asOwner, complaintsOf, homeOf, watchFor } from './homes.ts'

/** One of the files in which homes are; `id` is what its manifest says. */
export interface HomeArchive {
  file: string
  id: string
}

const accountPrefix = 'jupyter-'

/** The name under which a home that is there is kept; undefined where there is none. */
export function besideFor(account: string, stamp: string): string | undefined {
  const home = homeOf(account)
  return lstatSync(home, { throwIfNoEntry: false }) ? `${home}.before-restore-${stamp}` : undefined
}

/**
 * Unpacks the homes from `archives`, of which those that others build on come first. `report` gets what could not be put back; `done` is
 * told of each home that is in its place. Throws `RESTORE_HOME` and `BACKUP_DAMAGED`.
 */
export async function putHomes(
  homes: readonly BackedUpHome[],
  archives: readonly HomeArchive[],
  { stamp, report, done }: { stamp: string; report: (line: string) => void; done: (account: string) => void },
): Promise<void> {
  for (const { account } of homes) await makeRoom(account)
  for (const { file, id } of archives) {
    const wanted = new Map<string, string>()
    for (const home of homes) {
      const member = memberIn(home, id)
      if (member !== undefined) wanted.set(member, home.account)
    }
    await readArchive(file, async ({ name }, content) => {
      const account = wanted.get(name)
      if (account === undefined) for await (const _chunk of content);
      else await unpack(account, content, report)
    })
  }
  for (const { account } of homes) {
    await putInPlace(account, stamp)
    done(account)
  }
}

/** The last archive of a home is the one that was named; its own id is in no list of parents. */
function memberIn({ parents, member }: BackedUpHome, id: string): string | undefined {
  const parent = parents.find(one => one.id === id)
  return parent ? parent.member : member
}

function besideHome(account: string): string {
  return join('/home', `.tljh-restore-${account}`)
}

/** Empty, and its owner's. What an earlier attempt left goes. */
async function makeRoom(account: string): Promise<void> {
  const folder = besideHome(account)
  await must(account, 'rm', ['--recursive', '--force', '--one-file-system', '--', folder])
  const { stdout } = await must(account, 'getent', ['passwd', account])
  const [, , uid, gid] = stdout.split(':').map(Number)
  await mkdir(folder, { mode: 0o700 })
  await chown(folder, uid ?? -1, gid ?? -1)
}

async function unpack(account: string, content: AsyncIterable<Buffer>, report: (line: string) => void): Promise<void> {
  const options = ['--extract', '--file=-', '--listed-incremental=/dev/null', '--preserve-permissions']
  const tar = spawn('setpriv', asOwner(account, ['tar', ...options, `--directory=${besideHome(account)}`]), {
    stdio: ['pipe', 'ignore', 'pipe'],
    env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C.UTF-8' },
  })
  const ended = once(tar, 'close')
  const lines = complaintsOf(tar.stderr)
  const watch = watchFor(tar)
  async function* seen(): AsyncGenerator<Buffer> {
    for await (const chunk of content) {
      watch.sawLife()
      yield chunk
    }
  }
  try {
    // tar(1) ends at the end of the archive, with some padding still to come.
    await pipeline(seen(), createZstdDecompress(), tar.stdin).catch(error => {
      if (!(error instanceof Error && 'code' in error && (error.code === 'EPIPE' || isTooLate(error.code)))) throw error
    })
    const [code] = await ended
    if (code === 0) return
    const said = await lines
    if (code !== 2 || said.some(line => line.includes('No space left'))) {
      throw notPut(account, said.at(-1) ?? `tar ended with code ${code}`)
    }
    report(`not everything of ${account} could be put back: ${said[0] ?? 'tar ended with code 2'}`)
  } finally {
    watch.end()
    tar.kill('SIGKILL')
  }
}

function isTooLate(code: unknown): boolean {
  return code === 'ERR_STREAM_PREMATURE_CLOSE' || code === 'ERR_STREAM_DESTROYED'
}

async function putInPlace(account: string, stamp: string): Promise<void> {
  const home = homeOf(account)
  const kept = besideFor(account, stamp)
  // Whoever works there would go on in the folder that is moved away.
  const server = unitName(`tljh-user-${escapeUnitName(account.slice(accountPrefix.length))}.service`)
  if (kept !== undefined) {
    await runCommand('systemctl', ['stop', server], { timeoutMs: 90_000 })
    await rename(home, kept)
  }
  const { mode } = await lstat(besideHome(account))
  await chmod(besideHome(account), (mode & 0o770) | 0o700)
  await rename(besideHome(account), home)
}

async function must(account: string, file: string, args: readonly string[]) {
  const result = await runCommand(file, args, { timeoutMs: 3600_000 })
  if (result.code === 0) return result
  throw notPut(account, result.stderr || `${file} ended with code ${result.code}`)
}

function notPut(account: string, why: string): ProblemError {
  return new ProblemError('RESTORE_HOME', {
    what: `The home of ${account} was not put back`,
    why,
    fix: 'See whether the disk is full (df -h /home), and give the same command again: it goes on where it was',
  })
}
