/**
 * The archive of a release becomes the folder of a version: whole, or not at all.
 */
import { mkdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { lockFile } from '../../machine/lock-file.ts'
import { runProgram } from '../../machine/run-program.ts'
import { ProblemError } from '../../problem.ts'
import { releaseIn } from './identity.ts'

/** Some ten thousand files, on a slow disk. */
const unpackTimeoutMs = 10 * 60_000

/** Unpacks beside and renames. Throws `RELEASE_ARCHIVE`, where it is not what its name says; `RELEASE_UNPACK`, where the disk is full. */
export async function unpackRelease(
  archive: string,
  { version, arch }: { version: string; arch: string },
  target: string,
): Promise<void> {
  const beside = join(dirname(target), `.${basename(target)}.part`)
  const lock = join(dirname(target), `.${basename(target)}.lock`)
  await mkdir(dirname(target), { recursive: true, mode: 0o755 })
  try {
    await mustStayInside(archive, `tljh-ts-${version}`, lock)
    // Of one that was broken off.
    await rm(beside, { recursive: true, force: true })
    await mkdir(beside, { mode: 0o755 })
    const manners = ['--no-same-owner', '--same-permissions', '--delay-directory-restore', '--strip-components=1']
    await tar(archive, ['--extract', ...manners, '--directory', beside], lock)
    const release = await releaseIn(beside)
    if (release?.version !== version || release.arch !== arch) {
      const found = release ? `${release.version} for ${release.arch}` : 'nothing that says which version it is'
      throw notUsed(archive, `it should be ${version} for ${arch}, and holds ${found}`)
    }
    // A name that survives a power cut must not stand for files that did not.
    await runProgram('sync', ['--file-system', beside], { timeoutMs: unpackTimeoutMs })
    await rename(beside, target)
  } catch (error) {
    await rm(beside, { recursive: true, force: true })
    throw error
  }
}

/** tar itself leaves out `..` and what begins with a slash; that anything of the kind is there is reason enough to take none of it. */
async function mustStayInside(archive: string, top: string, lock: string): Promise<void> {
  const { stdout } = await tar(archive, ['--list'], lock)
  const stray = stdout
    .split('\n')
    .find(path => path !== '' && (!`${path}/`.startsWith(`${top}/`) || path.split('/').includes('..')))
  if (stray === undefined) return
  throw notUsed(archive, `it holds ${JSON.stringify(stray)}, which would not lie in ${top}/`)
}

/** One at a time: what was killed can leave a tar behind that is still at work. */
async function tar(archive: string, args: readonly string[], lock: string) {
  const command = ['--no-fork', lockFile(lock), 'tar', '--gzip', '--file', archive, ...args]
  const result = await runProgram('flock', command, { timeoutMs: unpackTimeoutMs })
  if (result.code === 0) return result
  throw new ProblemError('RELEASE_UNPACK', {
    what: `${archive} could not be unpacked`,
    why: result.stderr.split('\n')[0] || `tar ended with code ${result.code}`,
    fix: 'See whether the disk is full (df -h /opt /var); then the same command goes on',
  })
}

function notUsed(archive: string, why: string): ProblemError {
  return new ProblemError('RELEASE_ARCHIVE', {
    what: `${archive} was not used`,
    why,
    fix: 'Tell whoever made this release; nothing on this machine was changed',
  })
}
