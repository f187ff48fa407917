/**
 * A program, not a module: what is done with a home by its owner, and so with no right but the owner's. spawner/departure.ts has systemd start
 * it, in a sandbox, as the user whose home it is.
 *
 *   look NAME              says which other processes the user has
 *   archive NAME BYTES     writes /home/NAME to standard output as a compressed tar file of at most that many bytes
 *   verify NAME            compares such a file on standard input with /home/NAME
 *
 * Root opens the archive and hands it over, so the user can neither read it nor put anything in its place. Nothing here follows a link. What
 * went wrong is said by the exit code, and on standard error in words, which go to the journal.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createReadStream, createWriteStream, readdirSync, readFileSync, statSync } from 'node:fs'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createZstdCompress, createZstdDecompress } from 'node:zlib'

/** How it ends; spawner/departure.ts has the same numbers. */
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
  const args = ['--create', '--file=-', '--sparse', '--one-file-system', '--numeric-owner', '--directory=/home', '--', name]
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
    await pipeline(tar.stdout, createZstdCompress(), counter, createWriteStream('', { fd: 1 }))
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

async function verify(name: string): Promise<number> {
  const args = ['--compare', '--file=-', '--numeric-owner', '--directory=/home']
  const tar = spawn('tar', args, { stdio: ['pipe', 'inherit', 'inherit'] })
  const ended = once(tar, 'close')
  try {
    await pipeline(createReadStream('', { fd: 0 }), createZstdDecompress(), tar.stdin)
  } catch (error) {
    say(`${name}: ${error instanceof Error ? error.message : String(error)}`)
    tar.kill()
  }
  const [code] = await ended
  return code === 0 ? codes.done : codes.differs
}

/** What the files take on the disk, in bytes. */
async function sizeOf(name: string): Promise<string> {
  const du = spawn('du', ['--summarize', '--block-size=1', '--', `/home/${name}`], { stdio: ['ignore', 'pipe', 'ignore'] })
  let text = ''
  for await (const chunk of du.stdout) text += chunk
  return text.split('\t')[0] ?? ''
}

function isFull(error: unknown): boolean {
  return error instanceof Error && 'code' in error && ['ENOSPC', 'EDQUOT', 'EFBIG'].includes(String(error.code))
}

function say(line: string): void {
  process.stderr.write(`${line}\n`)
}

process.exitCode = await run(process.argv.slice(2))
