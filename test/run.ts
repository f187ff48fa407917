/**
 * `npm test`: all tests, or those in the files and folders that are named (`npm test -- test/host/host.test.ts`).
 *
 * The last line is `N passed, N failed`. A test that was skipped or is yet to be written counts as failed, and so do a file
 * that crashed and one without any test: nothing that was not seen to work passes.
 */
import { existsSync, globSync, statSync } from 'node:fs'
import { relative, resolve } from 'node:path'
import { finished } from 'node:stream/promises'
import { run } from 'node:test'
import { spec } from 'node:test/reporters'
import { CHECKOUT } from './host/cache.ts'
import { defaultLayers, removeLeftovers } from './host/host.ts'
import { image } from './host/image.ts'
import { handleStop } from './host/stop.ts'

/** A test starts hosts, servers and browsers, each of which has a time limit of its own; this is for what hangs all the same. */
const TIMEOUT_MS = 10 * 60_000

/** Most of a test's time is waiting for systemd, Jupyter or a browser. */
const CONCURRENCY = 2

const files = testFiles(process.argv.slice(2))
await removeLeftovers()
// Made here, so that no test's time limit has to cover it.
await image({ layers: defaultLayers(), report: line => console.error(line) })

const end = new AbortController()
void handleStop().then(({ exitCode }) => {
  end.abort()
  process.exitCode = exitCode
})

let passed = 0
const problems: string[] = []
const stream = run({
  files,
  cwd: CHECKOUT,
  concurrency: CONCURRENCY,
  timeout: TIMEOUT_MS,
  // A test that was given up may have left a host or a browser, which would keep its file's process alive for ever.
  forceExit: true,
  signal: end.signal,
})
const unfinished = new Set(files)
stream.on('test:pass', ({ name, skip, todo, details, file }) => {
  if (skip !== undefined) problems.push(`${name} was skipped`)
  else if (todo !== undefined) problems.push(`${name} is a todo`)
  // A file without a test of its own is reported as a test that has the file's name.
  else if (file !== undefined && resolve(name) === file) problems.push(`${name} has no tests`)
  else if (details.type !== 'suite') passed++
})
stream.on('test:summary', ({ file }) => {
  if (file !== undefined) unfinished.delete(file)
})
stream.on('test:fail', ({ name, details }) => {
  // A suite fails because a test in it did, and that one has been counted.
  const cause: unknown = details.error
  const isEcho = cause instanceof Error && 'failureType' in cause && cause.failureType === 'subtestsFailed'
  if (!isEcho) problems.push(`${name} failed`)
})
const report = stream.compose(new spec())
report.pipe(process.stdout)
await finished(report)

for (const file of unfinished) problems.push(`${file} ended before its tests did`)
if (passed === 0 && problems.length === 0) problems.push('no test has run')
for (const problem of problems) console.log(problem)
console.log(`${passed} passed, ${problems.length} failed`)
if (problems.length > 0) process.exitCode ||= 1

/** The files to run. A name that is neither a file nor a folder ends the program: a typing error must not pass for a success. */
function testFiles(names: readonly string[]): string[] {
  const isOurs = (path: string) => !relative(CHECKOUT, path).startsWith('test/bench/')
  if (names.length === 0) return filesBelow(resolve(CHECKOUT, 'test')).filter(isOurs)
  return names
    .filter(name => name !== '--')
    .flatMap(name => {
      const path = resolve(name)
      return statSync(path).isDirectory() ? filesBelow(path) : [path]
    })
}

function filesBelow(folder: string): string[] {
  return globSync('**/*.test.ts', { cwd: folder })
    .map(name => resolve(folder, name))
    .toSorted()
}
