/**
 * How much of the disk the homes of a backup may take. Each is packed into a file beside, and removed when it is in the archive; so all of
 * them must fit, and the biggest once more.
 */

export interface Room {
  /** How much there is for another one, in bytes, where that is less than `size`; undefined where it is enough. */
  lacking(size: number): number | undefined
  /** So many bytes are about to be written. Throws an error with the code ENOSPC where there is no room for them. */
  take(bytes: number): void
  /** The one that was being written is there, or was removed. */
  end(isKept: boolean): void
}

/** @param free in bytes */
export function createRoom(free: number): Room {
  let kept = 0
  let biggest = 0
  let current = 0
  const leftWith = (size: number) => free - kept - size - Math.max(biggest, size)
  return {
    lacking(size) {
      return leftWith(size) >= 0 ? undefined : Math.max(0, free - kept - biggest)
    },
    take(bytes) {
      current += bytes
      if (leftWith(current) < 0) throw Object.assign(new Error('it would fill the disk'), { code: 'ENOSPC' })
    },
    end(isKept) {
      if (isKept) {
        kept += current
        biggest = Math.max(biggest, current)
      }
      current = 0
    },
  }
}

export function inWords(bytes: number): string {
  return `${Math.max(0, Math.ceil(bytes / 1024 ** 2))} MB`
}
