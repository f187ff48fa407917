/**
 * The journal of what was changed on the machine outside of our own folder: what `tljh-ts uninstall` reads.
 *
 * A line of JSON for each change (PREFIX/hub/changes.jsonl, for root alone), added and flushed before the change is made, with what was
 * there before. So whenever a process is killed, everything that it may have changed is in the journal, and undoing what was never made
 * does nothing. What is so already is neither changed nor noted again. A line that was torn off by a kill or a full disk stands for a
 * change that was not made, and is passed over. What was undone is noted likewise, afterwards.
 *
 * Paths, groups and accounts are the installer's own words; nothing that a user of the hub writes gets here.
 */
import { createHash } from 'node:crypto'
import {
  chmodSync,
  closeSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { replaceFile, replaceLink } from '../../machine/replace-file.ts'
import { runProgram } from '../../machine/run-program.ts'
import { isDiskFull, ProblemError } from '../../problem.ts'

/** What was at a path; `null`: nothing. Content is in base64. */
export type Former = { link: string } | { content: string; mode: number; uid: number; gid: number } | null

export type Change =
  /** `written`: SHA-256 of what we put there; of a link, of its target. */
  | { kind: 'file' | 'symlink'; path: string; before: Former; written: string }
  /** With `isOurs`, everything in it is; without, it is removed where it is empty. */
  | { kind: 'folder'; path: string; isOurs: boolean }
  | { kind: 'group' | 'account' | 'unit'; name: string }
  /** A login that was closed by giving it a day on which it ends; `formerDay`: the one that it had, as shadow(5) counts, or nothing. */
  | { kind: 'expiry'; name: string; formerDay: string }
  /** Debian's packages, which stay: others may need them by now. */
  | { kind: 'packages'; names: readonly string[] }

/** Each answers whether it changed something. Each throws `INSTALL_NOT_CHANGED`, and then what it was to change is as it was. */
export interface Changes {
  /** Puts a file there whole or not at all, as root's. */
  writeFile(path: string, content: string, mode: number): Promise<boolean>
  makeSymlink(path: string, target: string): Promise<boolean>
  /** The folders above it must be there. A folder that is there already is left as it is. */
  makeFolder(path: string, options: { mode: number; isOurs: boolean }): Promise<boolean>
  /** A group of the system's own kind. */
  addGroup(name: string): Promise<boolean>
  /** `options` are useradd(8)'s. */
  addAccount(name: string, options: readonly string[]): Promise<boolean>
  /** Has it started at boot, as soon as systemd has read its units again. It must be there. */
  enableUnit(name: string): Promise<boolean>
  /** Closes an account's every way in until that is undone. */
  expireAccount(name: string): Promise<boolean>
  notePackages(names: readonly string[]): Promise<boolean>
  /** What is in force, in the order in which it was made; of several for one thing, the last, at the place of the first. */
  list(): Change[]
  /** Whether a file of ours, or a link, is there as we have ever written it. */
  isAsWritten(path: string): boolean
  /** Puts back what was before, and notes that. Nothing happens where that is done. Throws `INSTALL_NOT_CHANGED`. */
  undo(change: Change): Promise<void>
}

/** None of the programs that read folders of configuration takes a file whose name ends so for one. */
const ending = '.tljh-ts-new'

type Line = { number: number; change: Change } | { undone: number }

/** Opens the journal, or begins one. Only root can. */
export function openChanges(file: string): Changes {
  mkdirSync(dirname(file), { recursive: true, mode: 0o755 })
  let lines = readLines(file)

  function note(line: Line): void {
    try {
      append(line)
    } catch (error) {
      // It may be there, and have taken its number, where only the flush has failed.
      lines = readLines(file)
      throw error
    }
    lines = [...lines, line]
  }

  function append(line: Line): void {
    attempt(file, () => {
      const isTorn = !/^$|\n$/.test(textOf(file))
      const handle = openSync(file, 'a', 0o600)
      try {
        // Not writeSync, which on a disk that is nearly full writes a part, and says so only by its result.
        writeFileSync(handle, `${isTorn ? '\n' : ''}${JSON.stringify(line)}\n`)
        fsyncSync(handle)
      } finally {
        closeSync(handle)
      }
    })
  }

  const open = () => openLines(lines)
  const known = (key: string) => open().filter(({ change }) => keyOf(change) === key)

  function add(change: Change): void {
    note({ number: 1 + Math.max(0, ...lines.map(line => ('number' in line ? line.number : line.undone))), change })
  }

  /** Notes it where it is not known yet. Of what is known, what was there before it came from us is known, too. */
  function addOnce(change: Change): void {
    const same = known(keyOf(change))
    if (!('before' in change)) {
      if (same.length === 0) add(change)
      return
    }
    const first = same[0]?.change
    const before = first && 'before' in first ? first.before : change.before
    const isKnown = same.some(({ change: other }) => 'written' in other && other.written === change.written)
    if (!isKnown) add({ ...change, before })
  }

  async function made(change: Change, file: string, args: readonly string[]): Promise<boolean> {
    addOnce(change)
    await must(file, args)
    return true
  }

  return {
    async writeFile(path, content, mode) {
      const former = formerAt(path)
      const isSame =
        former !== null && 'content' in former && former.content === Buffer.from(content).toString('base64')
      if (isSame && former.mode === mode && former.uid === 0 && former.gid === 0) return false
      addOnce({ kind: 'file', path, before: former, written: sha256(content) })
      attempt(path, () => putFile(path, Buffer.from(content), { mode, uid: 0, gid: 0 }))
      return true
    },
    async makeSymlink(path, target) {
      const former = formerAt(path)
      if (former !== null && 'link' in former && former.link === target) return false
      addOnce({ kind: 'symlink', path, before: former, written: sha256(target) })
      attempt(path, () => putLink(path, target))
      return true
    },
    async makeFolder(path, { mode, isOurs }) {
      const stat = lstatSync(path, { throwIfNoEntry: false })
      if (stat?.isDirectory()) return false
      if (stat) throw notChanged(path, 'something is there that is no folder', 'Move it away, and start again')
      addOnce({ kind: 'folder', path, isOurs })
      attempt(path, () => {
        mkdirSync(path)
        chmodSync(path, mode)
      })
      return true
    },
    async addGroup(name) {
      if (isThere('group', name)) return false
      return made({ kind: 'group', name }, 'groupadd', ['--system', '--force', name])
    },
    async addAccount(name, options) {
      if (isThere('passwd', name)) return false
      return made({ kind: 'account', name }, 'useradd', [...options, name])
    },
    async enableUnit(name) {
      const { stdout } = await runProgram('systemctl', ['is-enabled', name])
      if (stdout.trim() === 'enabled') return false
      return made({ kind: 'unit', name }, 'systemctl', ['enable', '--no-reload', '--quiet', name])
    },
    async expireAccount(name) {
      if (known(`expiry ${name}`).length) return false
      const formerDay = (await runProgram('getent', ['shadow', name])).stdout.split(':')[7] ?? ''
      return made({ kind: 'expiry', name, formerDay }, 'usermod', ['--expiredate', '1', name])
    },
    async notePackages(names) {
      const noted = new Set(open().flatMap(({ change }) => (change.kind === 'packages' ? change.names : [])))
      const added = names.filter(name => !noted.has(name))
      if (added.length) add({ kind: 'packages', names: added })
      return added.length > 0
    },
    list() {
      const last = new Map<string, Change>()
      for (const { change } of open()) last.set(keyOf(change), change)
      return [...last.values()]
    },
    isAsWritten(path) {
      const former = formerAt(path)
      if (former === null) return true
      const now = 'link' in former ? sha256(former.link) : sha256(Buffer.from(former.content, 'base64'))
      return open().some(({ change }) => 'written' in change && change.path === path && change.written === now)
    },
    async undo(change) {
      await putBack(change)
      for (const { number } of known(keyOf(change))) note({ undone: number })
    },
  }
}

/** What two changes of the same thing have in common. */
function keyOf(change: Change): string {
  if (change.kind === 'packages') return JSON.stringify(change)
  return 'path' in change ? `path ${change.path}` : `${change.kind} ${change.name}`
}

function openLines(lines: readonly Line[]): { number: number; change: Change }[] {
  const undone = new Set(lines.flatMap(line => ('undone' in line ? [line.undone] : [])))
  return lines.flatMap(line => ('change' in line && !undone.has(line.number) ? [line] : []))
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return ''
    throw error
  }
}

function readLines(file: string): Line[] {
  return textOf(file)
    .split('\n')
    .flatMap(text => {
      try {
        return text ? [JSON.parse(text) as Line] : []
      } catch {
        // Torn: see above.
        return []
      }
    })
}

function formerAt(path: string): Former {
  const stat = lstatSync(path, { throwIfNoEntry: false })
  if (!stat) return null
  if (stat.isSymbolicLink()) return { link: readlinkSync(path) }
  if (!stat.isFile()) throw notChanged(path, 'something is there that is no file', 'Move it away, and start again')
  const { mode, uid, gid } = stat
  return { content: readFileSync(path).toString('base64'), mode: mode & 0o7777, uid, gid }
}

async function putBack(change: Change): Promise<void> {
  switch (change.kind) {
    case 'file':
    case 'symlink':
      return attempt(change.path, () => putFormer(change.path, change.before))
    case 'folder':
      return attempt(change.path, () => removeFolder(change.path, change.isOurs))
    case 'account':
      if (isThere('passwd', change.name)) await must('userdel', [change.name])
      return
    case 'group':
      if (isThere('group', change.name)) await must('groupdel', [change.name])
      return
    case 'unit': {
      const { code } = await runProgram('systemctl', ['cat', change.name])
      if (code === 0) await must('systemctl', ['disable', '--quiet', change.name])
      return
    }
    case 'expiry':
      if (isThere('passwd', change.name)) await must('usermod', ['--expiredate', change.formerDay, change.name])
      return
    case 'packages':
      return
  }
}

function putFormer(path: string, former: Former): void {
  rmSync(`${path}${ending}`, { force: true })
  if (former === null) rmSync(path, { force: true })
  else if ('link' in former) putLink(path, former.link)
  else putFile(path, Buffer.from(former.content, 'base64'), former)
}

function removeFolder(path: string, isOurs: boolean): void {
  if (isOurs) {
    rmSync(path, { recursive: true, force: true })
    return
  }
  try {
    rmdirSync(path)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    // Others use it by now, or it has gone already.
    if (code !== 'ENOTEMPTY' && code !== 'ENOENT') throw error
  }
}

function putFile(path: string, content: Uint8Array, owner: { mode: number; uid: number; gid: number }): void {
  replaceFile(path, content, { ...owner, ending })
}

function putLink(path: string, target: string): void {
  replaceLink(path, target, { ending })
}

/** Of the machine's own files: what a directory service knows is none of ours. */
function isThere(database: 'passwd' | 'group', name: string): boolean {
  return readFileSync(join('/etc', database), 'utf8')
    .split('\n')
    .some(line => line.startsWith(`${name}:`))
}

async function must(file: string, args: readonly string[]): Promise<void> {
  const { code, stderr, stdout } = await runProgram(file, args, { timeoutMs: 60_000 })
  if (code === 0) return
  const why = stderr || stdout.trim() || `it ended with code ${code}`
  throw notChanged(
    [file, ...args].join(' '),
    why,
    'Mend what it says, and start the same command again; it goes on where it was',
  )
}

function attempt<Result>(path: string, work: () => Result): Result {
  try {
    return work()
  } catch (cause) {
    if (cause instanceof ProblemError) throw cause
    const isFull = isDiskFull(cause)
    throw notChanged(
      path,
      isFull ? 'the disk is full' : cause instanceof Error ? cause.message : String(cause),
      isFull
        ? 'Make room (df -h), and start the same command again; it goes on where it was'
        : 'Mend that, and start the same command again',
      cause,
    )
  }
}

function notChanged(what: string, why: string, fix: string, cause?: unknown): ProblemError {
  return new ProblemError('INSTALL_NOT_CHANGED', { what: `${what} could not be changed`, why, fix, cause })
}

function sha256(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('hex')
}
