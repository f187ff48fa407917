/**
 * A program, not a module: what is done with a home by its owner, and so with no right but the owner's. spawner/accounts/home-task.ts has systemd start
 * it, in a sandbox, as the user whose home it is.
 *
 *   look NAME              says which other processes the user has
 *   archive NAME BYTES     writes /home/NAME to standard output as a compressed tar file of at most that many bytes
 *   verify NAME            reads such a file on standard input back, and counts whether it has all that /home/NAME has
 *
 * Root opens the archive and hands it over, so the user can neither read it nor put anything in its place. Nothing here follows a link. What
 * went wrong is said by the exit code, and on standard error in words, which go to the journal.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createReadStream, createWriteStream, readdirSync, readFileSync, statSync } from 'node:fs'
import { Transform, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { constants, createZstdCompress, createZstdDecompress } from 'node:zlib'

/** How it ends; spawner/accounts/home-task.ts has the same numbers. */
const codes = { done: 0, processes: 10, tar: 11, full: 12, differs: 13, misused: 14 }

async function run([task, name = '', most]: string[]): Promise<number> {
  const others = otherProcesses()
  for (const process of others) say(`process ${process}`)
  if (others.length) return codes.processes
  if (task === 'look') return codes.done
  if (task === 'archive') return archive(name, Number(most))
  if (task === 'verify') return verify(name)
  return codes.misused
}

/** `PID program` of each process of this user but this one. */
function otherProcesses(): string[] {
  return readdirSync('/proc').flatMap(pid => {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) return []
    try {
      if (statSync(`/proc/${pid}`).uid !== process.getuid?.()) return []
      return [`${pid} ${readFileSync(`/proc/${pid}/comm`, 'utf8').trim()}`]
    } catch {
      // It has ended meanwhile.
      return []
    }
  })
}

async function archive(name: string, most: number): Promise<number> {
  const args = [
    '--create',
    '--file=-',
    '--sparse',
    '--one-file-system',
    '--numeric-owner',
    '--directory=/home',
    '--',
    name,
  ]
  const tar = spawn('tar', args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(tar, 'close')
  let written = 0
  const counter = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      written += chunk.length
      if (written > most) done(Object.assign(new Error('the archive would fill the disk'), { code: 'ENOSPC' }))
      else done(null, chunk)
    },
  })
  try {
    await pipeline(
      tar.stdout,
      createZstdCompress({ params: { [constants.ZSTD_c_checksumFlag]: 1 } }),
      counter,
      createWriteStream('', { fd: 1 }),
    )
  } catch (error) {
    tar.kill()
    await ended
    if (!isFull(error)) throw error
    say(`bytes ${await sizeOf(name)}`)
    return codes.full
  }
  const [code] = await ended
  return code === 0 ? codes.done : codes.tar
}

/**
 * The checksum in the file tells that it holds what tar(1) wrote; the count, that tar found everything. (To compare the files themselves would
 * take days where somebody has made one of a terabyte with nothing in it.)
 */
async function verify(name: string): Promise<number> {
  const tar = spawn('tar', ['--list', '--file=-', '--quoting-style=escape'], { stdio: ['pipe', 'pipe', 'inherit'] })
  const ended = once(tar, 'close')
  tar.stdin.on('error', () => undefined)
  const listed = count(tar.stdout, 10)
  try {
    await pipeline(createReadStream('', { fd: 0 }), createZstdDecompress(), async source => {
      for await (const chunk of source) await give(tar.stdin, chunk, ended)
    })
    tar.stdin.end()
  } catch (error) {
    say(`${name}: ${error instanceof Error ? error.message : String(error)}`)
    tar.kill()
    return codes.differs
  }
  const [code] = await ended
  // tar(1) leaves sockets out: they are nothing without the program that made them.
  const find = spawn('find', [`/home/${name}`, '-xdev', '!', '-type', 's', '-printf', '.'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const found = await count(find.stdout, 46)
  if (code === 0 && (await listed) === found) return codes.done
  say(`${name}: ${await listed} of ${found} files and folders`)
  return codes.differs
}

/** tar(1) ends at the end of what it was given, with some padding still to come; that is read for its checksum all the same. */
async function give(stdin: Writable, chunk: Buffer, ended: Promise<unknown>): Promise<void> {
  if (!stdin.writable || stdin.write(chunk)) return
  await Promise.race([once(stdin, 'drain').catch(() => undefined), ended])
}

/** How often a byte is in a stream. */
async function count(stream: AsyncIterable<Buffer>, byte: number): Promise<number> {
  let number = 0
  for await (const chunk of stream) for (const one of chunk) if (one === byte) number++
  return number
}

/** What the files take on the disk, in bytes. */
async function sizeOf(name: string): Promise<string> {
  const du = spawn('du', ['--summarize', '--block-size=1', '--', `/home/${name}`], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  let text = ''
  for await (const chunk of du.stdout) text += chunk
  return text.split('\t')[0] ?? ''
}

function isFull(error: unknown): boolean {
  return error instanceof Error && 'code' in error && ['ENOSPC', 'EDQUOT', 'EFBIG'].includes(String(error.code))
}

/** On a line of its own: tar(1) writes to standard error as well, and may have been killed after its first word. */
function say(line: string): void {
  process.stderr.write(`\n${line}\n`)
}

process.exitCode = await run(process.argv.slice(2))
