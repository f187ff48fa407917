/**
 * Reading files of a folder that somebody handed over, as root.
 *
 * What always holds: nothing in the folder is run; a link, a pipe or a device in the place of a file is refused, wherever on the way below the
 * folder it lies; and nothing is read that is bigger than it should be.
 */
import { closeSync, constants, fstatSync, openSync, readdirSync, readFileSync, realpathSync } from 'node:fs'
import { basename, dirname, join, relative } from 'node:path'
import { ProblemError } from '../../problem.ts'

/** The content; undefined where there is no such file. Throws `IMPORT_UNREADABLE`. */
export function readUntrusted(file: string, mostBytes: number): Buffer | undefined {
  let handle: number | undefined
  try {
    // A pipe would keep us waiting for somebody who writes.
    handle = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    const state = fstatSync(handle)
    if (!state.isFile()) throw new Error('it is not a file')
    if (state.size > mostBytes) throw new Error(`it has more than ${mostBytes / 1024 ** 2} MB`)
    return readFileSync(handle)
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
    if (code === 'ENOENT') return undefined
    throw unreadable(file, code === 'ELOOP' ? 'it is a link, and could lead anywhere' : cause)
  } finally {
    if (handle !== undefined) closeSync(handle)
  }
}

/** Likewise of a file in `folder`, on a way without links. */
export function readBelow(folder: string, path: string, mostBytes: number): Buffer | undefined {
  const file = join(folder, path)
  return isBelow(folder, dirname(file)) ? readUntrusted(file, mostBytes) : undefined
}

/** The first names of what is in a folder below `folder`, at most so many; none where it is not there. */
export function namesBelow(folder: string, path: string, most: number): string[] {
  const place = join(folder, path)
  return isBelow(folder, place) ? readdirSync(place).slice(0, most) : []
}

/**
 * The packages of a Python environment by its metadata: the folders that pip makes are called `NAME-VERSION.dist-info`. Its own pip, which could be
 * any program, is not asked.
 */
export function packagesBelow(folder: string, environment: string): string {
  const libraries = join(environment, 'lib')
  const found = namesBelow(folder, libraries, 100)
    .filter(name => /^python3(?:\.\d+)?$/.test(name))
    .flatMap(name => namesBelow(folder, join(libraries, name, 'site-packages'), 20_000))
    .flatMap(name => {
      const match =
        /^([A-Za-z0-9][A-Za-z0-9._]{0,99})-([A-Za-z0-9][A-Za-z0-9.+!_]{0,99}?)(?:-py3[0-9.]*)?\.(?:dist|egg)-info$/.exec(
          name,
        )
      return match ? [`${match[1]?.replaceAll('_', '-')}==${match[2]}`] : []
    })
  return [...new Set(found)]
    .toSorted((one, other) => one.localeCompare(other, 'en'))
    .map(line => `${line}\n`)
    .join('')
}

/** Whether it is there. Throws where a link leads to it. */
function isBelow(folder: string, place: string): boolean {
  try {
    if (realpathSync(place) === join(realpathSync(folder), relative(folder, place))) return true
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return false
    throw unreadable(place, cause)
  }
  throw unreadable(place, `${basename(place)}, or a folder above it, is a link, and could lead anywhere`)
}

export function unreadable(file: string, cause: unknown): ProblemError {
  return new ProblemError('IMPORT_UNREADABLE', {
    what: `${file} of TLJH could not be read`,
    why: cause instanceof Error ? cause.message : String(cause),
    fix: 'Nothing was changed. Put the file or folder itself there. If it is a kind of file that this machine’s Python cannot read: sudo apt install python3-gdbm',
    cause,
  })
}
