/**
 * The private copy of the configuration that somebody edits: a folder that only root can enter, beside the configuration, with
 * the text and what it was made from. Editors put their swap and backup files there, too.
 *
 * It outlives a program that was killed, so that no work is lost; only the holder of the lock may touch it.
 */
import { lstatSync, mkdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { replaceFile } from '../../machine/replace-file.ts'
import { ProblemError } from '../../problem.ts'

export interface Copy {
  /** The file to edit. */
  path: string
  /** When a copy was last written that was left behind and has changes in it, in milliseconds since 1970. */
  leftAt(): number | undefined
  /** Makes the copy anew, from what is on the disk, with another text where that is given. */
  begin(base: Buffer, text?: Buffer): void
  /** Undefined where the editor has removed it. */
  read(): Buffer | undefined
  /** What the copy was made from. */
  base(): Buffer
  /** From now on the copy counts as made from this. */
  rebase(bytes: Buffer): void
  remove(): void
}

export function openCopy(configFile: string): Copy {
  const folder = join(dirname(configFile), 'edit')
  const path = join(folder, 'config.yaml')
  const basePath = join(folder, 'before.yaml')
  const write = (file: string, bytes: Buffer) => {
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 })
      mustBeOurs(folder)
      replaceFile(file, bytes, { mode: 0o600 })
    } catch (cause) {
      if (cause instanceof ProblemError) throw cause
      throw new ProblemError('CONFIG_NOT_COPIED', {
        what: 'The configuration was not opened',
        why: `there can be no copy of it to edit: ${cause instanceof Error ? cause.message : String(cause)}`,
        fix: `See whether the disk is full: df -h ${dirname(configFile)}`,
        cause,
      })
    }
  }
  const copy: Copy = {
    path,
    leftAt() {
      const stat = statSync(path, { throwIfNoEntry: false })
      if (!stat) return undefined
      mustBeOurs(folder)
      return copy.read()?.equals(copy.base()) ? undefined : stat.mtimeMs
    },
    begin(base, text = base) {
      copy.remove()
      try {
        write(basePath, base)
        write(path, text)
      } catch (error) {
        copy.remove()
        throw error
      }
    },
    read: () => readIfThere(path),
    base: () => readIfThere(basePath) ?? Buffer.alloc(0),
    rebase: bytes => write(basePath, bytes),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  }
  return copy
}

/** Beside a configuration that lies where others may write, they may have made the folder. */
function mustBeOurs(folder: string): void {
  const stat = lstatSync(folder)
  if (stat.isDirectory() && stat.uid === process.getuid?.() && (stat.mode & 0o077) === 0) return
  throw new ProblemError('CONFIG_NOT_COPIED', {
    what: 'The configuration was not opened',
    why: `${folder} is not a folder that you alone can enter`,
    fix: `See what it is, and remove it: ls -ld ${folder}`,
  })
}

function readIfThere(file: string): Buffer | undefined {
  try {
    return readFileSync(file)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}
