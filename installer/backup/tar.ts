/**
 * tar(1) with the rights of a home's owner, who can do with it as with any program of theirs: kill it, stop it, trace it, hold its pipes
 * open. So it has a time in which something must come from it, one for all, and its pipes are closed soon after it has ended; and what it
 * wrote counts only where it is an archive to its end.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { type Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { constants, createZstdCompress } from 'node:zlib'
import type { Room } from './room.ts'

const stallMs = 10 * 60_000
const mostMs = 2 * 3600_000
/** For what is still in the pipes of a program that has ended. */
const graceMs = 30_000
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

/** The arguments of setpriv(1) for a program with the rights of an account, and no way to more. */
export function asOwner(account: string, argv: readonly string[]): string[] {
  return [`--reuid=${account}`, `--regid=${account}`, '--init-groups', '--no-new-privs', '--', ...argv]
}

/** Writes the compressed archive. `list` is the snapshot file of tar, to be read and written. Throws ENOSPC. */
export async function pack(home: string, account: string, file: string, list: FileHandle, room: Room): Promise<Packed> {
  const options = ['--create', '--file=-', '--sparse', '--one-file-system', '--numeric-owner', '--no-check-device']
  const place = ['--listed-incremental=/proc/self/fd/3', `--directory=${home}`, '.']
  const tar = spawn('setpriv', asOwner(account, ['tar', ...options, ...place]), {
    stdio: ['ignore', 'pipe', 'pipe', list.fd],
    env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C.UTF-8' },
  })
  const { stdout, stderr } = tar
  if (!stdout || !stderr) throw new Error('tar was started without its outputs')
  const lines = complaintsOf(stderr)
  const watch = watchFor(tar, [stdout, stderr], mostMs)
  const { counted, seen } = counter(watch.sawLife)
  try {
    const compress = createZstdCompress({ params: { [constants.ZSTD_c_checksumFlag]: 1 } })
    const target = createWriteStream(file, { mode: 0o600, flags: 'wx', flush: true })
    const isThrough = await pipeline(stdout, counted, compress, within(room), target).then(
      () => true,
      error => {
        if (!isTooLate(error)) throw error
        return false
      },
    )
    const code = await watch.over
    const said = await lines
    const { bytes, isWhole } = seen()
    const { problem, isSpoilt } = judged(code, said, isWhole && isThrough, watch.firedFor())
    return { bytes, lines: code === 2 ? said : [], isSpoilt, ...(problem === undefined ? {} : { problem }) }
  } finally {
    watch.end()
    tar.kill('SIGKILL')
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

/** What tar(1) says, as long as it is not too much. */
export async function complaintsOf(stderr: Readable): Promise<string[]> {
  let text = ''
  try {
    for await (const chunk of stderr) text = text.length < 64 * 1024 ? text + chunk : text
  } catch (error) {
    if (!isTooLate(error)) throw error
  }
  return text.split('\n').filter(line => line.startsWith('tar: '))
}

/** Whether a stream was closed before its end. */
export function isTooLate(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return code === 'ERR_STREAM_PREMATURE_CLOSE' || code === 'ERR_STREAM_DESTROYED'
}

/**
 * Kills a program of somebody else's rights when nothing is heard of it for long, or it takes too long (`limitMs`). `over` is its exit code,
 * 255 where a signal or nothing has ended it; what others hold open of its pipes is closed then.
 */
export function watchFor(child: ChildProcess, pipes: readonly Readable[], limitMs?: number) {
  let firedFor: string | undefined
  let grace: NodeJS.Timeout | undefined
  const { promise: over, resolve } = Promise.withResolvers<number>()
  const closeSoon = () => {
    grace ??= setTimeout(() => {
      for (const pipe of pipes) pipe.destroy()
      resolve(255)
    }, graceMs)
  }
  const stop = (why: string) => () => {
    firedFor ??= why
    child.kill('SIGKILL')
    closeSoon()
  }
  const stall = setTimeout(stop(`nothing came from it for ${stallMs / 60_000} minutes`), stallMs)
  const limit =
    limitMs === undefined ? undefined : setTimeout(stop(`it took more than ${limitMs / 3600_000} hours`), limitMs)
  child.once('exit', code => {
    resolve(code ?? 255)
    closeSoon()
  })
  child.once('error', () => resolve(255))
  return {
    over,
    sawLife: () => void stall.refresh(),
    firedFor: () => firedFor,
    end() {
      clearTimeout(stall)
      clearTimeout(limit)
      clearTimeout(grace)
      for (const pipe of pipes) pipe.destroy()
    },
  }
}
