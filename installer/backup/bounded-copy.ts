/** Copying from a file that somebody else can make larger meanwhile, as large as a file can be. */
import type { FileHandle } from 'node:fs/promises'

/** In bytes. */
const step = 1024 ** 2

/** Copies at most `most` bytes, from the beginning of both. Answers whether that was all. */
export async function copyAtMost(from: FileHandle, to: FileHandle, most: number): Promise<boolean> {
  const buffer = Buffer.alloc(step)
  for (let place = 0; place <= most; ) {
    const { bytesRead } = await from.read(buffer, 0, Math.min(step, most + 1 - place), place)
    if (bytesRead === 0) return true
    // Never more than was asked for, so that what is there counts against the same limit next time.
    const taken = Math.min(bytesRead, most - place)
    if (taken > 0) await to.writeFile(buffer.subarray(0, taken))
    place += bytesRead
  }
  return false
}
