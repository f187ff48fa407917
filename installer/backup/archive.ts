/**
 * The file that a backup is: a tar(5) file, compressed by zstd, which `tar --zstd -xf` opens as well. The first member is `manifest.json`,
 * which has the size and the SHA-256 of all others; they follow in its order, and nothing comes after them.
 *
 * Only ordinary files are in it, by short names of our own making; homes are tar files inside of it, so that no name that a student has
 * chosen is ever a name here. Whoever reads one gets each member once, in the order of the manifest, or a `BACKUP_DAMAGED`.
 */
import { createHash, type Hash } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { rm, stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { constants, createZstdCompress, createZstdDecompress } from 'node:zlib'
import { ProblemError } from '../../problem.ts'
import { isManifest, isMemberName, type Manifest, type Member, mostSmall } from './manifest.ts'

/** A member that is still to be written. */
export interface Source {
  name: string
  file: string
}

const manifestName = 'manifest.json'
const block = 512

/** Measures what is to be a member. */
export async function measure({ name, file }: Source): Promise<Member> {
  const hash = createHash('sha256')
  let size = 0
  for await (const chunk of createReadStream(file)) {
    hash.update(chunk)
    size += chunk.length
  }
  return { name, size, sha256: hash.digest('hex') }
}

/** Writes and flushes the archive. Each home is removed when it is in, so that only one is there twice. */
export async function writeArchive(file: string, manifest: Manifest, sources: readonly Source[]): Promise<void> {
  const text = Buffer.from(`${JSON.stringify(manifest, null, 1)}\n`)
  async function* tar(): AsyncGenerator<Buffer> {
    yield header(manifestName, text.length, manifest.time)
    yield text
    yield padding(text.length)
    for (const { name, file } of sources) {
      const { size } = await stat(file)
      yield header(name, size, manifest.time)
      for await (const chunk of createReadStream(file)) yield chunk
      yield padding(size)
      if (name.startsWith('homes/')) await rm(file)
    }
    yield Buffer.alloc(2 * block)
  }
  const compress = createZstdCompress({ params: { [constants.ZSTD_c_checksumFlag]: 1 } })
  await pipeline(Readable.from(tar()), compress, createWriteStream(file, { mode: 0o600, flags: 'wx', flush: true }))
}

/** Reads the manifest alone. Throws `BACKUP_DAMAGED`. */
export async function readManifest(file: string): Promise<Manifest> {
  using source = openTar(file)
  return await manifestIn(source, file)
}

/**
 * Reads all of it, and compares it with its manifest. `take` gets each member's content, all of which it must read, before anybody knows
 * whether it is right. Throws `BACKUP_DAMAGED`.
 */
export async function readArchive(
  file: string,
  take: (member: Member, content: AsyncIterable<Buffer>) => Promise<void> = drain,
): Promise<Manifest> {
  using source = openTar(file)
  const manifest = await manifestIn(source, file)
  for (const member of manifest.members) {
    const found = await source.next()
    if (found?.name !== member.name || found.size !== member.size) throw damaged(file, `${member.name} is not in it`)
    const hash = createHash('sha256')
    await take(member, hashed(found.content, hash))
    if (hash.digest('hex') !== member.sha256) throw damaged(file, `${member.name} is not what was put into it`)
  }
  if (await source.next()) throw damaged(file, 'there is something in it that its manifest does not name')
  // To the end, for the checksum of zstd.
  await source.end()
  return manifest
}

async function drain(_member: Member, content: AsyncIterable<Buffer>): Promise<void> {
  for await (const _chunk of content);
}

async function* hashed(content: AsyncIterable<Buffer>, hash: Hash): AsyncGenerator<Buffer> {
  for await (const chunk of content) {
    hash.update(chunk)
    yield chunk
  }
}

async function manifestIn(source: Tar, file: string): Promise<Manifest> {
  const first = await source.next()
  if (first?.name !== manifestName || !(first.size <= mostSmall))
    throw damaged(file, 'it does not begin with a manifest')
  const chunks: Buffer[] = []
  for await (const chunk of first.content) chunks.push(chunk)
  try {
    const manifest: unknown = JSON.parse(Buffer.concat(chunks).toString('utf8'))
    if (isManifest(manifest)) return manifest
  } catch {
    // The same as below.
  }
  throw damaged(file, 'its manifest cannot be read')
}

interface Tar extends Disposable {
  /** The next file; the one before must have been read. Undefined at the end. */
  next(): Promise<{ name: string; size: number; content: AsyncIterable<Buffer> } | undefined>
  end(): Promise<void>
}

function openTar(file: string): Tar {
  const input = createReadStream(file)
  const output = createZstdDecompress()
  input.on('error', error => output.destroy(error))
  const chunks: AsyncIterator<Buffer> = input.pipe(output)[Symbol.asyncIterator]()
  let rest: Buffer = Buffer.alloc(0)

  /** At least one byte, at most `most`; nothing at the end. */
  async function read(most: number): Promise<Buffer | undefined> {
    try {
      while (rest.length === 0) {
        const { value, done } = await chunks.next()
        if (done) return undefined
        rest = value
      }
    } catch (cause) {
      throw damaged(file, cause instanceof Error ? cause.message : String(cause), cause)
    }
    const taken = rest.subarray(0, most)
    rest = rest.subarray(taken.length)
    return taken
  }

  async function* bytes(count: number): AsyncGenerator<Buffer> {
    for (let left = count; left > 0; ) {
      const chunk = await read(left)
      if (!chunk) throw damaged(file, 'it ends too early')
      left -= chunk.length
      yield chunk
    }
  }

  async function all(count: number): Promise<Buffer> {
    return Buffer.concat(await Array.fromAsync(bytes(count)))
  }

  let unread = 0
  return {
    async next() {
      await all(unread)
      const head = await all(block)
      if (head.every(byte => byte === 0)) return undefined
      const size = sizeIn(head)
      if (checksum(head) !== Number.parseInt(head.toString('latin1', 148, 154), 8) || head[156] !== 0x30) {
        throw damaged(file, 'it holds something else than a backup does')
      }
      unread = (block - (size % block)) % block
      return { name: head.toString('latin1', 0, 100).replace(/\0.*$/s, ''), size, content: bytes(size) }
    },
    async end() {
      while (await read(Number.POSITIVE_INFINITY));
    },
    [Symbol.dispose]() {
      input.destroy()
      output.destroy()
    },
  }
}

/** Of an ordinary file, as POSIX has it (ustar); sizes beyond 8 GB in the way of GNU tar. */
function header(name: string, size: number, time: number): Buffer {
  if (!isMemberName(name)) throw new Error(`${JSON.stringify(name)} cannot be the name of a member`)
  const head = Buffer.alloc(block)
  const octal = (value: number, width: number) => `${value.toString(8).padStart(width - 1, '0')}\0`
  head.write(name, 0, 'latin1')
  head.write(octal(0o600, 8) + octal(0, 8) + octal(0, 8), 100, 'latin1')
  if (size < 8 ** 11) head.write(octal(size, 12), 124, 'latin1')
  else {
    head[124] = 0x80
    head.writeBigUInt64BE(BigInt(size), 128)
  }
  head.write(octal(Math.floor(time / 1000), 12), 136, 'latin1')
  head.write('0', 156, 'latin1')
  head.write('ustar\x0000', 257, 'latin1')
  head.write(`${checksum(head).toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return head
}

function checksum(head: Buffer): number {
  return head.reduce((sum, byte, index) => sum + (index >= 148 && index < 156 ? 0x20 : byte), 0)
}

function sizeIn(head: Buffer): number {
  if (head[124] === 0x80) return Number(head.readBigUInt64BE(128))
  return Number.parseInt(head.toString('latin1', 124, 135), 8)
}

function padding(size: number): Buffer {
  return Buffer.alloc((block - (size % block)) % block)
}

export function damaged(file: string, why: string, cause?: unknown): ProblemError {
  return new ProblemError('BACKUP_DAMAGED', {
    what: `${basename(file)} is not a whole backup`,
    why,
    fix: 'Use another one, or copy this one again from where it came. Nothing was changed',
    cause,
  })
}
