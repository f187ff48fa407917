/**
 * Runs in the host: starts systemd-run and measures until the server that it started answers with its page. In here
 * nothing lies between the clock and what is measured: no entering of namespaces, no hub, no proxy.
 */
import { spawn } from 'node:child_process'
import { request } from 'node:http'
import { text } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import { isLab, monotonicUs, textOf } from '../measure/student.ts'
import type { ByHandOrder, ByHandTime } from './by-hand.ts'

const POLL_MS = 5
const LIMIT_MS = 90_000

const order = JSON.parse(await text(process.stdin)) as ByHandOrder
console.log(JSON.stringify(await measure(order)))
// The server goes on.
process.exit()

async function measure({ argv: [program = '', ...args], socket, path, headers }: ByHandOrder): Promise<ByHandTime> {
  const startUs = monotonicUs()
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] })
  child.on('exit', code => {
    if (code !== 0) throw new Error(`systemd-run ended with code ${code}`)
  })
  for (;;) {
    const answer = await ask(socket, path, headers)
    const pageMs = (monotonicUs() - startUs) / 1000
    if (answer && isLab(answer)) return { startUs, pageMs }
    if (answer) throw new Error(`${path}: ${answer.status}\n${answer.body.slice(0, 2000)}`)
    if (pageMs > LIMIT_MS) throw new Error(`no answer at ${socket} after ${LIMIT_MS} ms`)
    await delay(POLL_MS)
  }
}

/** Nothing where nobody listens yet. Where the socket is there, the answer comes when the server is ready to give it. */
function ask(
  socketPath: string,
  path: string,
  headers: Record<string, string>,
): Promise<{ status: number; body: string } | undefined> {
  return new Promise((resolve, reject) => {
    const call = request({ socketPath, path, headers, signal: AbortSignal.timeout(LIMIT_MS) })
    call.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') resolve(undefined)
      else reject(error)
    })
    call.on('response', response =>
      textOf(response).then(body => resolve({ status: response.statusCode ?? 0, body }), reject),
    )
    call.end()
  })
}
