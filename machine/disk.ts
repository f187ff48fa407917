/**
 * How much room a disk has left, and the words for where it has none.
 *
 * The edges (command line, pages, the spawner's answers) turn every error of a full disk into these words, so no write of ours has to.
 */
import { statfsSync } from 'node:fs'
import { isDiskFull, ProblemError } from '../problem.ts'

export interface Room {
  /** Bytes that an ordinary user may still write: ext4 keeps some for root. */
  free: number
  total: number
  /** Files that can still be made. Both are 0 where a file system does not count them. */
  freeFiles: number
  totalFiles: number
}

const gigabyte = 1024 ** 3
/** Below that, a class that saves a data set each has filled it. */
const littleBytes = gigabyte
const littleShare = 0.05

/** Of the disk that has this file or folder. Throws what the file system says. */
export function roomAt(path: string): Room {
  const { bavail, blocks, bsize, ffree, files } = statfsSync(path)
  return { free: bavail * bsize, total: blocks * bsize, freeFiles: ffree, totalFiles: files }
}

/** Says of what there is little; undefined where there is enough of both. */
export function shortageOf({ free, total, freeFiles, totalFiles }: Room): 'bytes' | 'files' | undefined {
  if (free < littleBytes || free < total * littleShare) return 'bytes'
  return totalFiles > 0 && freeFiles < totalFiles * littleShare ? 'files' : undefined
}

/** For people: `120 MB`, `3.4 GB`. */
export function showRoom(bytes: number): string {
  return bytes < gigabyte ? `${Math.floor(bytes / 1024 ** 2)} MB` : `${(bytes / gigabyte).toFixed(1)} GB`
}

const forAdministrators =
  'Make room, and try again. Which disk is full, and whose files are the biggest: sudo tljh-ts status'

/** Why something that is more than one file could not be done. */
export function fullAt(error: Error): string {
  return 'path' in error ? `there is no room left on the disk of ${error.path}` : `the disk is full (${error.message})`
}

/** What is thrown instead of `error` where a disk is full; else the error itself. */
export function inWords(error: unknown, fix = forAdministrators): unknown {
  if (!isDiskFull(error)) return error
  const path = 'path' in error && typeof error.path === 'string' ? error.path : undefined
  return new ProblemError('DISK_FULL', {
    what: path ? `${path} could not be written` : 'Nothing more could be written',
    why: `there is no room left on its disk (${error.message})`,
    fix,
    cause: error,
  })
}
