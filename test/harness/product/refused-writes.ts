/**
 * A disk that is full at one write: each place of our code at which it opens, writes, flushes, renames or makes something is refused once,
 * with ENOSPC, as the kernel would: what was to be opened is not there, of what was to be written a half is, what was to be flushed is there
 * whole, and what was to be renamed has its old name.
 *
 * `atEachWrite` runs something again and again in this process. In each run, the first such place that was not yet refused is, and all
 * others work; a run without one is the last. `--import` of this file does the same to a program (`preload` has its environment), one run each.
 *
 * It is done in Node.js's own modules, so it sees what our code calls, and what streams and file handles call for it. It does not see
 * SQLite, nor other programs.
 */
import fs from 'node:fs'
import promises, { type FileHandle } from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { dirname } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

/** Where our code was refused to write. */
export interface Refusal {
  call: string
  /** The files and lines that called, the nearest first, from the checkout. */
  place: string
  /** Of the file, where the call has one. */
  path: string | undefined
}

export interface Outcome extends Refusal {
  /** What came of it; undefined: nothing was thrown. */
  error: unknown
}

// biome-ignore lint/suspicious/noExplicitAny: functions of all kinds take the place of others
type Any = (...args: any[]) => any

const here = fileURLToPath(import.meta.url)
const checkout = pathToFileURL(`${dirname(dirname(dirname(dirname(here))))}/`).href
const known = new Set<string>()
const openFiles = new Map<number, { place: string; path: string }>()
let current: { refusal?: Refusal } | undefined

/** Calls `work` until it meets no new place, and `seen` after each refusal. Answers what was refused. */
export async function atEachWrite(work: () => unknown, seen: (outcome: Outcome) => unknown): Promise<Refusal[]> {
  install()
  known.clear()
  const refusals: Refusal[] = []
  for (;;) {
    const run: { refusal?: Refusal } = {}
    current = run
    let error: unknown
    let hasFailed = false
    try {
      await work()
    } catch (cause) {
      hasFailed = true
      error = cause
    } finally {
      current = undefined
    }
    if (!run.refusal) {
      if (hasFailed) throw error
      return refusals
    }
    refusals.push(run.refusal)
    await seen({ ...run.refusal, error })
  }
}

export interface Preload {
  /** This file, as the program sees it. */
  file: string
  /** Where is noted what was refused. */
  notes: string
  /** A word of the command line: programs that have none such, and inherit the variables, write as they like. */
  command: string
  /** Places that are passed over. */
  except: RegExp | undefined
}

/** The variables for a program that is to be refused one write. */
export function preload({ file, notes, command, except }: Preload): Record<string, string> {
  return {
    NODE_OPTIONS: `--import=${file}`,
    TLJH_REFUSED: notes,
    TLJH_REFUSED_COMMAND: command,
    ...(except ? { TLJH_REFUSED_EXCEPT: except.source } : {}),
  }
}

/** What was noted. */
export function refusalsIn(notes: string): Refusal[] {
  return notes
    .split('\n')
    .filter(Boolean)
    .map(line => JSON.parse(line) as Refusal)
}

const original = { ...fs }
const originalPromises = { ...promises }

/** A program is run once for each place. So one call stands for those whose failures the caller cannot tell apart. */
let isShortened = false

function isAlike(call: string, place: string): boolean {
  if (place.startsWith('machine/replace-file.ts')) return !/write$|^symlink/.test(call)
  return /^stream (?!write$)|^writeFile(?:Sync)? (?!write$)|^open$/.test(call)
}

const { TLJH_REFUSED: noteFile, TLJH_REFUSED_COMMAND: command, TLJH_REFUSED_EXCEPT: exceptions } = process.env

function keyOf({ call, place }: Refusal): string {
  return `${call} ${place}`
}

/** Whether that call is to fail. */
function isRefused(call: string, path: unknown, place = caller()): boolean {
  if (!current || current.refusal || depth > 0 || place === undefined) return false
  if (isShortened && isAlike(call, place)) return false
  if (exceptions !== undefined && new RegExp(exceptions).test(place)) return false
  const refusal = { call, place, path: typeof path === 'string' ? path : undefined }
  if (known.has(keyOf(refusal))) return false
  known.add(keyOf(refusal))
  current.refusal = refusal
  if (noteFile !== undefined) original.appendFileSync(noteFile, `${JSON.stringify(refusal)}\n`)
  return true
}

/** Who of the product has called, the nearest first; undefined: nobody. */
function caller(): string | undefined {
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 50
  const stack = new Error().stack ?? ''
  Error.stackTraceLimit = stackTraceLimit
  const frames = stack.split('\n').flatMap(line => {
    const file = /(file:\/\/[^)\s]+):\d+\)?$/.exec(line)?.[1]
    return file?.startsWith(checkout) && !file.startsWith(import.meta.url) ? file.slice(checkout.length) : []
  })
  const outside = frames.findIndex(frame => /^(?:test|node_modules)\//.test(frame))
  const ours = outside < 0 ? frames : frames.slice(0, outside)
  // Two more than the helper that all have in common: enough to tell its callers apart. A program has one for each.
  const common = ours.findLastIndex((frame, index) => index < 3 && frame.startsWith('machine/replace-file.ts'))
  return ours.length ? ours.slice(0, common + (isShortened && common >= 0 ? 2 : 3)).join(' < ') : undefined
}

function noRoom(call: string, path?: unknown): Error {
  const named = typeof path === 'string' ? { path } : {}
  const text = `ENOSPC: no space left on device, ${call}${typeof path === 'string' ? ` '${path}'` : ''}`
  return Object.assign(new Error(text), { errno: -28, code: 'ENOSPC', syscall: call, ...named })
}

function half(data: unknown): unknown {
  if (typeof data === 'string') return data.slice(0, data.length / 2)
  return ArrayBuffer.isView(data) ? Buffer.from(data.buffer, data.byteOffset, data.byteLength >> 1) : data
}

function makes(flags: unknown): boolean {
  return typeof flags === 'string' && /[wa]/.test(flags)
}

function flushes(options: unknown): boolean {
  return typeof options === 'object' && options !== null && 'flush' in options && options.flush === true
}

let isInstalled = false
function install(): void {
  if (isInstalled) return
  isInstalled = true
  for (const name of ['renameSync', 'symlinkSync', 'linkSync', 'mkdtempSync', 'copyFileSync', 'cpSync']) {
    replace(fs, name, (call, first, second, ...more) => {
      const target = name === 'mkdtempSync' ? first : second
      if (isRefused(name, target)) throw noRoom(name.replace('Sync', ''), target)
      return call(first, second, ...more)
    })
  }
  replace(fs, 'mkdirSync', (call, path, ...more) => {
    if (!original.existsSync(path) && isRefused('mkdirSync', path)) throw noRoom('mkdir', path)
    return call(path, ...more)
  })
  replace(fs, 'openSync', (call, path, flags, ...more) => {
    if (makes(flags) && isRefused('openSync', path)) throw noRoom('open', path)
    return call(path, flags, ...more)
  })
  replace(fs, 'writeSync', (call, handle, data, ...more) => {
    if (isRefused('writeSync', undefined)) throw noRoom('write')
    return call(handle, data, ...more)
  })
  replace(fs, 'fsyncSync', (call, handle) => {
    call(handle)
    if (isRefused('fsyncSync', undefined)) throw noRoom('fsync')
  })
  replace(fs, 'writeFileSync', (call, file, data, options) => {
    if (typeof file === 'string' && isRefused('writeFileSync open', file)) throw noRoom('open', file)
    if (isRefused('writeFileSync write', file)) {
      call(file, half(data), options)
      throw noRoom('write')
    }
    call(file, data, options)
    if (flushes(options) && isRefused('writeFileSync fsync', file)) throw noRoom('fsync')
  })
  for (const name of ['rename', 'symlink', 'link', 'mkdtemp', 'copyFile', 'cp']) {
    replace(promises, name, async (call, first, second, ...more) => {
      const target = name === 'mkdtemp' ? first : second
      if (isRefused(name, target)) throw noRoom(name, target)
      return call(first, second, ...more)
    })
  }
  replace(promises, 'mkdir', async (call, path, ...more) => {
    if (!original.existsSync(path) && isRefused('mkdir', path)) throw noRoom('mkdir', path)
    return call(path, ...more)
  })
  replace(promises, 'writeFile', async (call, file, data, options) => {
    const place = caller()
    if (isRefused('writeFile open', file, place)) throw noRoom('open', file)
    if (isRefused('writeFile write', file, place)) {
      await call(file, half(data), options)
      throw noRoom('write')
    }
    await call(file, data, options)
    if (flushes(options) && isRefused('writeFile fsync', file, place)) throw noRoom('fsync')
  })
  replace(promises, 'open', async (call, path, flags, ...more) => {
    if (makes(flags) && isRefused('open', path)) throw noRoom('open', path)
    const handle = await call(path, flags, ...more)
    installInHandles(handle)
    return handle
  })
  installInStreams()
  syncBuiltinESMExports()
}

let hasHandles = false
function installInHandles(handle: FileHandle): void {
  if (hasHandles) return
  hasHandles = true
  const prototype = Object.getPrototypeOf(handle)
  for (const name of ['writeFile', 'appendFile', 'write']) {
    const call: Any = prototype[name]
    prototype[name] = async function (this: FileHandle, data: unknown, ...more: unknown[]) {
      if (isRefused(`handle ${name}`, undefined)) {
        await call.call(this, half(data), ...more)
        throw noRoom('write')
      }
      return call.call(this, data, ...more)
    }
  }
  for (const name of ['sync', 'datasync']) {
    const call: Any = prototype[name]
    prototype[name] = async function (this: FileHandle) {
      const place = caller()
      await call.call(this)
      if (isRefused(`handle ${name}`, undefined, place)) throw noRoom('fsync')
    }
  }
}

/** They call `fs` later, when nobody of ours is on the stack any more. */
function installInStreams(): void {
  const begun = new Map<string, string>()
  replace(fs, 'createWriteStream', (call, path, ...more) => {
    const place = caller()
    if (place !== undefined) begun.set(path, place)
    return call(path, ...more)
  })
  replace(fs, 'open', (call, path, ...more) => {
    const place = begun.get(path)
    const done = more.pop()
    if (place !== undefined && makes(more[0]) && isRefused('stream open', path, place)) {
      process.nextTick(done, noRoom('open', path))
      return
    }
    call(path, ...more, (error: unknown, handle: number) => {
      if (!error && place !== undefined && makes(more[0])) openFiles.set(handle, { place, path })
      done(error, handle)
    })
  })
  replace(fs, 'close', (call, handle, ...more) => {
    openFiles.delete(handle)
    return call(handle, ...more)
  })
  for (const name of ['write', 'writev', 'fsync']) {
    replace(fs, name, (call, handle, ...more) => {
      const file = openFiles.get(handle)
      if (file === undefined || !isRefused(`stream ${name}`, file.path, file.place)) return call(handle, ...more)
      process.nextTick(more.at(-1), noRoom(name === 'fsync' ? 'fsync' : 'write'))
    })
  }
}

/** Node.js's own functions call others of them, which is no call of ours. */
let depth = 0

function replace(of: object, name: string, by: Any): void {
  const call = (of === fs ? original : originalPromises)[name as never] as Any | undefined
  if (!call) throw new Error(`Node.js has no ${name}`)
  const within: Any = (...args) => {
    depth++
    try {
      return call(...args)
    } finally {
      depth--
    }
  }
  Object.assign(of, { [name]: (...args: unknown[]) => by(within, ...args) })
}

// As a preload of a program that was started with that command. All above is there by now.
if (noteFile !== undefined && process.argv.includes(command ?? '')) {
  const notes = original.existsSync(noteFile) ? original.readFileSync(noteFile, 'utf8') : ''
  for (const refusal of refusalsIn(notes)) known.add(keyOf(refusal))
  isShortened = true
  install()
  current = {}
}
