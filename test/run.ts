/**
 * `npm test`: all tests, or those in the files and folders that are named (`npm test -- test/host/harness/host.test.ts`).
 *
 * Hosts are Debian 13. Tests of what differs from one Debian to the next run on Debian 12 once more, where all are run.
 * `TLJH_TEST_SUITE=bookworm npm test` runs all of them, or those that are named, on Debian 12 alone.
 *
 * The last line is `N passed, N failed`. A test that was skipped or is yet to be written counts as failed, and so do a file
 * that crashed and one without any test: nothing that was not seen to work passes.
 */
import { existsSync, globSync, statSync } from 'node:fs'
import { relative, resolve } from 'node:path'
import { finished } from 'node:stream/promises'
import { run } from 'node:test'
import { spec } from 'node:test/reporters'
import { defaultLayers, removeLeftovers } from './harness/host/host.ts'
import { handleStop } from './harness/host/stop-signal.ts'
import { CHECKOUT, isSuiteChosen, type Suite, testSuite } from './harness/image/cache.ts'
import { image } from './harness/image/image.ts'
import { vmDisk } from './harness/vm/disk.ts'

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
  /** The Debian of their hosts. */
  suite: Suite
}

const OLDER_SUITE: Suite = 'bookworm'
/** What depends on systemd, PAM, Python, apt or the programs of Debian more than on our code. */
const ON_OLDER_SUITE = [
  ...['install/install', 'install/upgrade', 'install/backup', 'servers/limits', 'servers/isolation', 'login/pam'],
  ...['service/restart', 'systemd/units'],
].map(name => resolve(CHECKOUT, `test/host/${name}.test.ts`))

/** Its tests do nothing but wait, so they cost the others nothing. */
const PATIENCE_FOLDER = `${resolve(CHECKOUT, 'test/patience')}/`
const VM_FOLDER = `${resolve(CHECKOUT, 'test/vm')}/`

const names = process.argv.slice(2)
const suite = testSuite()
const files = testFiles(names)
const inVms = files.filter(file => file.startsWith(VM_FOLDER))
const waiting = files.filter(file => file.startsWith(PATIENCE_FOLDER))
const onHosts = files.filter(file => !inVms.includes(file) && !waiting.includes(file))
const onOlder = names.length === 0 && !isSuiteChosen() ? ON_OLDER_SUITE : []
const report = (line: string) => console.error(line)
await removeLeftovers()
// Made here, so that no test's time limit has to cover it.
await image({ layers: defaultLayers(suite), report })
if (onOlder.length > 0) await image({ layers: defaultLayers(OLDER_SUITE), report })
if (inVms.length > 0) await vmDisk(report)

const end = new AbortController()
void handleStop().then(({ exitCode }) => {
  process.exitCode = exitCode
  end.abort()
})

let passed = 0
const problems: string[] = []
/** Files, for whoever looks for what could be cheaper. */
const took: { name: string; ms: number }[] = []
// All at the same time: a virtual machine needs most of the time that the others take together.
await Promise.all([
  runBatch({ files: inVms, concurrency: 1, timeoutMs: VM_TEST_TIMEOUT_MS, suite }),
  runBatch({ files: waiting, concurrency: 1, timeoutMs: TEST_TIMEOUT_MS, suite }),
  runBatch({ files: onHosts, concurrency: CONCURRENCY, timeoutMs: TEST_TIMEOUT_MS, suite }).then(() =>
    runBatch({ files: onOlder, concurrency: CONCURRENCY, timeoutMs: TEST_TIMEOUT_MS, suite: OLDER_SUITE }),
  ),
])

const slowest = took.toSorted((one, other) => other.ms - one.ms).slice(0, 20)
for (const { name, ms } of slowest) console.log(`${(ms / 1000).toFixed().padStart(5)} s ${name}`)
if (passed === 0 && problems.length === 0) problems.push('no test has run')
for (const problem of problems) console.log(problem)
console.log(`${passed} passed, ${problems.length} failed`)
if (problems.length > 0) process.exitCode ||= 1

/** Runs the files, prints what becomes of them, and counts it. */
async function runBatch({ files, concurrency, timeoutMs, suite }: Batch): Promise<void> {
  if (files.length === 0 || end.signal.aborted) return
  console.log(`On ${suite}: ${files.map(file => relative(CHECKOUT, file)).join(', ')}`)
  /** Of which neither a summary nor a failure of their own is known. */
  const unfinished = new Set(files)
  const note = (problem: string) => problems.push(`${problem} (on ${suite})`)
  const watchdog = setTimeout(() => end.abort(), timeoutMs + SILENCE_MS)
  const env = { ...process.env, TLJH_TEST_SUITE: suite }
  const stream = run({ files, cwd: CHECKOUT, concurrency, timeout: timeoutMs, signal: end.signal, env })
  stream.on('data', () => watchdog.refresh())
  stream.on('test:summary', ({ file, duration_ms }) => {
    if (file === undefined) return
    unfinished.delete(file)
    took.push({ name: `${relative(CHECKOUT, file)} on ${suite}`, ms: duration_ms })
  })
  stream.on('test:pass', ({ name, skip, todo, details, file }) => {
    if (skip !== undefined) note(`${name} was skipped`)
    else if (todo !== undefined) note(`${name} is a todo`)
    // A file without a test is reported as a test that has the file's name.
    else if (unfinished.delete(name) || name === file) note(`${name} has no tests`)
    else if (details.type !== 'suite') passed++
  })
  stream.on('test:fail', ({ name, details }) => {
    unfinished.delete(name)
    // A suite fails because a test in it did, and that one has been counted.
    const cause: unknown = details.error
    const isEcho = cause instanceof Error && 'failureType' in cause && cause.failureType === 'subtestsFailed'
    if (!isEcho) note(`${name} failed`)
  })
  const lines = stream.compose(new spec())
  lines.pipe(process.stdout)
  await finished(lines)
  clearTimeout(watchdog)
  for (const file of unfinished) note(`${file} ended before its tests did`)
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
      console.error(
        `There is no file or folder ${path}. Name tests by their paths, such as test/host/harness/host.test.ts.`,
      )
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
