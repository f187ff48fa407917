/**
 * Archives that are the same, byte for byte, whenever and by whomever they are made of the same files: entries sorted,
 * owned by root, modes reduced to readable and executable, one time for all.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { basename, dirname } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { runOrStop } from './programs.ts'

/** Options of GNU tar. `seconds` since 1970 is the time of all entries. */
export function sameForAll(seconds: number): string[] {
  return [
    ...['--sort=name', '--format=gnu', `--mtime=@${seconds}`, '--hard-dereference'],
    ...['--owner=0', '--group=0', '--numeric-owner', '--mode=u=rwX,go=rX'],
  ]
}

/** Packs a folder, which becomes the archive's top folder, into a .tar.gz. */
export async function packFolder(
  folder: string,
  file: string,
  { seconds, environment }: { seconds: number; environment: NodeJS.ProcessEnv },
): Promise<void> {
  const compress = '--use-compress-program=gzip --no-name -9'
  const names = [`--directory=${dirname(folder)}`, basename(folder)]
  await runOrStop('tar', ['--create', `--file=${file}`, compress, ...sameForAll(seconds), ...names], environment)
}

/** In hexadecimal digits, as sha256sum(1) writes it. */
export async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(file), hash)
  return hash.digest('hex')
}
