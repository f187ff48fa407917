/**
 * `npm test`: all tests, or those in the files and folders that are named (`npm test -- test/host/host.test.ts`).
 *
 * The last line is `N passed, N failed`. A test that was skipped or is yet to be written counts as failed, and so do a file
 * that crashed and one without any test: nothing that was not seen to work passes.
 */
import { existsSync, globSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { finished } from 'node:stream/promises'
import { run } from 'node:test'
import { spec } from 'node:test/reporters'
import { CHECKOUT } from './host/cache.ts'
import { defaultLayers, removeLeftovers } from './host/host.ts'
import { image } from './host/image.ts'
import { handleStop } from './host/stop.ts'
import { vmDisk } from './vm/disk.ts'

/** A test starts hosts, servers and browsers, each of which has a time limit of its own; this is for what hangs all the same. */
const TEST_TIMEOUT_MS = 20 * 60_000

/** Of tests in a virtual machine: QEMU emulates the processor, and an installation is one of their steps. */
const VM_TEST_TIMEOUT_MS = 25 * 60_000

/** A test that never gives way (an endless loop) cannot time out by itself: so long after its limit, all are ended. */
const SILENCE_MS = 60_000

/** Most of a test's time is waiting for systemd, Jupyter or a browser. */
const CONCURRENCY = 2

/** Files of the same kind, and how they are run. */
interface Batch {
  files: readonly string[]
  concurrency: number
  /** Of each test in them. */
  timeoutMs: number
}

/** Its tests do nothing but wait, so they cost the others nothing. */
const PATIENCE_FOLDER = `${resolve(CHECKOUT, 'test/patience')}/`
const VM_FOLDER = `${resolve(CHECKOUT, 'test/vm')}/`

const files = testFiles(process.argv.slice(2))
const inVms = files.filter(file => file.startsWith(VM_FOLDER))
const waiting = files.filter(file => file.startsWith(PATIENCE_FOLDER))
const onHosts = files.filter(file => !inVms.includes(file) && !waiting.includes(file))
const report = (line: string) => console.error(line)
await removeLeftovers()
// Made here, so that no test's time limit has to cover it.
await image({ layers: defaultLayers(), report })
if (inVms.length > 0) await vmDisk(report)

const end = new AbortController()
void handleStop().then(({ exitCode }) => {
  process.exitCode = exitCode
  end.abort()
})

let passed = 0
const problems: string[] = []
/** Files of which neither a summary nor a failure of their own is known. */
const unfinished = new Set(files)
// All at the same time: a virtual machine needs most of the time that the others take together.
await Promise.all([
  runBatch({ files: inVms, concurrency: 1, timeoutMs: VM_TEST_TIMEOUT_MS }),
  runBatch({ files: waiting, concurrency: 1, timeoutMs: TEST_TIMEOUT_MS }),
  runBatch({ files: onHosts, concurrency: CONCURRENCY, timeoutMs: TEST_TIMEOUT_MS }),
])

for (const file of unfinished) problems.push(`${file} ended before its tests did`)
if (passed === 0 && problems.length === 0) problems.push('no test has run')
for (const problem of problems) console.log(problem)
console.log(`${passed} passed, ${problems.length} failed`)
if (problems.length > 0) process.exitCode ||= 1

/** Runs the files, prints what becomes of them, and counts it. */
async function runBatch({ files, concurrency, timeoutMs }: Batch): Promise<void> {
  if (files.length === 0) return
  const watchdog = setTimeout(() => end.abort(), timeoutMs + SILENCE_MS)
  const stream = run({ files, cwd: CHECKOUT, concurrency, timeout: timeoutMs, signal: end.signal })
  stream.on('data', () => watchdog.refresh())
  stream.on('test:summary', ({ file }) => {
    if (file !== undefined) unfinished.delete(file)
  })
  stream.on('test:pass', ({ name, skip, todo, details, file }) => {
    if (skip !== undefined) problems.push(`${name} was skipped`)
    else if (todo !== undefined) problems.push(`${name} is a todo`)
    // A file without a test is reported as a test that has the file's name.
    else if (unfinished.delete(name) || name === file) problems.push(`${name} has no tests`)
    else if (details.type !== 'suite') passed++
  })
  stream.on('test:fail', ({ name, details }) => {
    unfinished.delete(name)
    // A suite fails because a test in it did, and that one has been counted.
    const cause: unknown = details.error
    const isEcho = cause instanceof Error && 'failureType' in cause && cause.failureType === 'subtestsFailed'
    if (!isEcho) problems.push(`${name} failed`)
  })
  const lines = stream.compose(new spec())
  lines.pipe(process.stdout)
  await finished(lines)
  clearTimeout(watchdog)
}

/** The files to run. A name that leads nowhere ends the program: a typing error must not pass for a success. */
function testFiles(names: readonly string[]): string[] {
  if (names.length === 0) {
    const bench = `${resolve(CHECKOUT, 'test/bench')}/`
    return filesBelow(resolve(CHECKOUT, 'test')).filter(file => !file.startsWith(bench))
  }
  return names.flatMap(name => {
    const path = resolve(name)
    if (!existsSync(path)) {
      console.error(`There is no file or folder ${path}. Name tests by their paths, such as test/host/host.test.ts.`)
      process.exit(1)
    }
    return statSync(path).isDirectory() ? filesBelow(path) : [path]
  })
}

function filesBelow(folder: string): string[] {
  return globSync('**/*.test.ts', { cwd: folder })
    .map(name => resolve(folder, name))
    .toSorted()
}
