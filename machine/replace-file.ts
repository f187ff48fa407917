/**
 * Putting a file, or a link, in another's place so that, whatever happens meanwhile, one of the two is there, whole. All of our code that
 * writes files with a name that counts does it by this; the exceptions are listed, each with its reason, in test/unit/machine/full-disk.test.ts.
 *
 * What always holds:
 *   1. What is there is not touched before the new one is whole and on the disk, beside it.
 *   2. What fails leaves nothing beside, and says which file it was about.
 *   3. After it has failed, the same call does what it was to do.
 */
import {
  chmodSync,
  chownSync,
  closeSync,
  fsyncSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { isDiskFull } from '../problem.ts'

export interface ReplaceOptions {
  mode?: number
  uid?: number
  gid?: number
  /** What the name beside ends with; it must mean nothing to programs that read the folder. */
  ending?: string
}

/**
 * Writes beside, flushes to the disk, renames, and flushes the folder. A mode that is not given is that of the file that was there, else 0640.
 * Owner and group that are not given are those of the file that was there, else our own account and the group of the folder; but only root
 * can give files away, and what others write is their own. Throws what the file system throws. Nothing has changed then, but where only the
 * folder could not be flushed.
 */
export function replaceFile(path: string, content: string | Uint8Array, options: ReplaceOptions = {}): void {
  const { ending = '.new' } = options
  const folder = dirname(path)
  replaceBy(path, ending, beside => {
    const former = statSync(path, { throwIfNoEntry: false })
    writeFileSync(beside, content, { flush: true, mode: 0o600 })
    const made = statSync(beside)
    // Others meet files of root's, too, where an administrator has copied one into their folder.
    const usual = process.geteuid?.() === 0 ? (former ?? { uid: made.uid, gid: statSync(folder).gid }) : made
    const { uid = usual.uid, gid = usual.gid } = options
    // The hub may not even ask for it (SystemCallFilter= of its unit).
    if (uid !== made.uid || gid !== made.gid) chownSync(beside, uid, gid)
    chmodSync(beside, options.mode ?? (former?.mode ?? 0o640) & 0o777)
  })
}

/** The same for a symbolic link. */
export function replaceLink(path: string, target: string, { ending = '.new' }: { ending?: string } = {}): void {
  replaceBy(path, ending, beside => symlinkSync(target, beside))
}

/** The same for what `make` puts beside. */
export function replaceBy(path: string, ending: string, make: (beside: string) => void): void {
  const beside = `${path}${ending}`
  try {
    try {
      // What a program that was killed has left may be somebody else's, a link or a folder.
      rmSync(beside, { force: true, recursive: true })
      make(beside)
      renameSync(beside, path)
    } catch (error) {
      removeAsFarAsPossible(beside)
      throw error
    }
    flushFolder(dirname(path))
  } catch (error) {
    // Not the name beside, which nobody has chosen.
    throw isDiskFull(error) ? Object.assign(error, { path }) : error
  }
}

/** After an error, which counts and not what comes of this. */
function removeAsFarAsPossible(path: string): void {
  try {
    rmSync(path, { force: true, recursive: true })
  } catch {
    // Whatever keeps it there, the next call says.
  }
}

/** A name that was given or taken away in a folder survives a power cut from here on. */
export function flushFolder(folder: string): void {
  const handle = openSync(folder, 'r')
  try {
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}

/** The system's error of a write names no file where it came by a descriptor. machine/disk.ts tells people the name. */
export function about(path: string, error: unknown): unknown {
  return isDiskFull(error) && !('path' in error) ? Object.assign(error, { path }) : error
}
