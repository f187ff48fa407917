/**
 * The thread that writes audit entries, one after the other: to start logger(1) holds up whoever does it. It is given the lines of an entry, and
 * answers each with nothing, or with why it is lost.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { parentPort } from 'node:worker_threads'

const timeoutMs = 5_000
let last: Promise<void> = Promise.resolve()

parentPort?.on('message', (lines: string) => {
  last = last
    .then(() => write(lines))
    .then(
      () => parentPort?.postMessage(undefined),
      (problem: unknown) => parentPort?.postMessage(String(problem)),
    )
})

async function write(lines: string): Promise<void> {
  const child = spawn('logger', ['--journald'], { stdio: ['pipe', 'ignore', 'ignore'], timeout: timeoutMs })
  child.stdin.on('error', () => undefined)
  child.stdin.end(lines)
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(`logger ended with code ${code}; not in the audit log: ${lines.split('\n')[0]}`)
}
