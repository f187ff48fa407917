/**
 * tar(1) with the rights of a home's owner, who can do with it as with any program of theirs: kill it, stop it, trace it. So it has a time in
 * which something must come from it, one for all; and what it wrote counts only where it is an archive to its end.
 */
import { createWriteStream } from 'node:fs'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { constants, createZstdCompress } from 'node:zlib'
import { lentFile, type OwnerProgram } from '../../systemd/owner-program.ts'
import type { HomeOwner, HomePrograms } from './home-programs.ts'
import type { Room } from './room.ts'

export const tarProgram = '/usr/bin/tar'

const stallMs = 10 * 60_000
/** Of a backup. What is put back may take as long as anything that is done with a home. */
const mostSeconds = 2 * 3600
export const mostRestoreSeconds = 12 * 3600
/** An archive ends with two empty blocks of 512 bytes, see tar(5). */
const endBytes = 1024

export interface Packed {
  /** What came out of it, in bytes. */
  bytes: number
  /** What it says could not be read. */
  lines: string[]
  /** Why that is no archive of the home. */
  problem?: string
  /** It is tar that has given up; it might not without its list. */
  isSpoilt: boolean
}

export interface Packing {
  programs: HomePrograms
  home: string
  /** The snapshot file of tar, to be read and written; the owner's. */
  list: string
  mostListBytes: number
  /** Where the compressed archive is written. */
  file: string
  room: Room
}

/** Writes the compressed archive. Throws ENOSPC, and as `HomePrograms.start`. */
export async function pack(
  owner: HomeOwner,
  { programs, home, list, mostListBytes, file, room }: Packing,
): Promise<Packed> {
  const options = ['--create', '--file=-', '--sparse', '--one-file-system', '--numeric-owner', '--no-check-device']
  const place = [`--listed-incremental=${lentFile}`, `--directory=${home}`, '.']
  await using tar = await programs.start(owner, {
    ...{ task: 'backup', argv: [tarProgram, ...options, ...place], folder: home, lent: list },
    ...{ mostFileBytes: mostListBytes, mostSeconds },
  })
  const watch = watchFor(tar)
  const { counted, seen } = counter(watch.sawLife)
  try {
    const compress = createZstdCompress({ params: { [constants.ZSTD_c_checksumFlag]: 1 } })
    const target = createWriteStream(file, { mode: 0o600, flags: 'wx', flush: true })
    const isThrough = await pipeline(outputOf(tar), counted, compress, within(room), target).then(
      () => true,
      error => {
        if (!isTooLate(error)) throw error
        return false
      },
    )
    const code = await tar.ended
    const said = complaintsIn(await tar.said)
    const { bytes, isWhole } = seen()
    const { problem, isSpoilt } = judged(code, said, isWhole && isThrough, watch.firedFor())
    return { bytes, lines: code === 2 ? said : [], isSpoilt, ...(problem === undefined ? {} : { problem }) }
  } finally {
    watch.end()
  }
}

function judged(code: number, said: readonly string[], isWhole: boolean, firedFor: string | undefined) {
  if (firedFor !== undefined) return { problem: firedFor, isSpoilt: false }
  const last = said.at(-1) ?? `it ended with code ${code}`
  // 1: something has changed meanwhile. 2: something could not be read, or it gave up.
  if (code > 2) return { problem: last, isSpoilt: false }
  if (said.includes('tar: Error is not recoverable: exiting now'))
    return { problem: said.at(-2) ?? last, isSpoilt: true }
  if (!isWhole) return { problem: 'what came from it is no whole archive', isSpoilt: true }
  return { problem: undefined, isSpoilt: false }
}

function counter(sawLife: () => void) {
  let bytes = 0
  let end: Buffer = Buffer.alloc(0)
  const counted = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      sawLife()
      bytes += chunk.length
      end = chunk.length >= endBytes ? chunk.subarray(-endBytes) : Buffer.concat([end, chunk]).subarray(-endBytes)
      done(null, chunk)
    },
  })
  const isWhole = () => bytes % 512 === 0 && end.length === endBytes && end.every(byte => byte === 0)
  return { counted, seen: () => ({ bytes, isWhole: isWhole() }) }
}

function within(room: Room): Transform {
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      try {
        room.take(chunk.length)
        done(null, chunk)
      } catch (error) {
        done(error instanceof Error ? error : new Error(String(error)))
      }
    },
  })
}

/** What tar(1) says, which calls itself as it was called. */
export function complaintsIn(lines: readonly string[]): string[] {
  return lines.flatMap(line => (line.startsWith(`${tarProgram}: `) ? [`tar${line.slice(tarProgram.length)}`] : []))
}

/** Whether a stream was closed before its end. */
export function isTooLate(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return ['ERR_STREAM_PREMATURE_CLOSE', 'ERR_STREAM_DESTROYED', 'ECONNRESET', 'EPIPE'].includes(String(code))
}

/** Kills a program of somebody else's rights when nothing is heard of it for long. Its unit has a clock for all of it. */
export function watchFor(program: OwnerProgram) {
  let firedFor: string | undefined
  const stall = setTimeout(() => {
    firedFor = `nothing came from it for ${stallMs / 60_000} minutes`
    void program.kill()
  }, stallMs)
  return {
    sawLife: () => void stall.refresh(),
    firedFor: () => firedFor,
    end: () => clearTimeout(stall),
  }
}

function outputOf({ stdout }: OwnerProgram) {
  if (stdout) return stdout
  throw new Error('tar was started without its output')
}
