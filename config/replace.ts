/**
 * Putting a file in another's place so that, whatever happens meanwhile, one of the two is there, whole.
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
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'

/**
 * Writes beside, flushes to the disk, renames, and flushes the folder. Owner, group and mode are those of the file that was
 * there, else root, the group of the folder and 0640. Throws what the file system throws, and then nothing has changed.
 */
export function replaceFile(path: string, content: string | Uint8Array): void {
  const folder = dirname(path)
  const former = statSync(path, { throwIfNoEntry: false })
  const beside = `${path}.new`
  try {
    writeFileSync(beside, content, { flush: true, mode: 0o600 })
    chownSync(beside, former?.uid ?? process.getuid?.() ?? 0, former?.gid ?? statSync(folder).gid)
    chmodSync(beside, (former?.mode ?? 0o640) & 0o777)
    renameSync(beside, path)
  } catch (error) {
    rmSync(beside, { force: true })
    throw error
  }
  const handle = openSync(folder, 'r')
  try {
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}
