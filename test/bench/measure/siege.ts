/** A class at work while one student uses everything against the hub at once (siege.py). */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Host } from '../../harness/host/host.ts'
import { startKernel } from '../../harness/people/kernel.ts'
import { type Visitor, visit } from '../../harness/people/visitor.ts'
import { claiming, studentPassword } from '../../harness/product/classroom.ts'
import { bootProduct, type Product } from '../../harness/product/product.ts'

export const attacker = 'eve'
export const others = Array.from({ length: 9 }, (_, index) => `student-${index + 1}`)

/** What the machine has for everything: hub, spawner and all servers. */
const machineBytes = 2 * 1024 ** 3
const pauseMs = 2_000

/** What the class met. */
export interface Toll {
  logins: number
  cells: number
  /** What went wrong, in words. Empty where nobody was kept from anything. */
  failures: string[]
}

/** The product on a machine with 2 GB, for a class of ten. */
export async function bootBesieged(report?: (line: string) => void): Promise<Product> {
  const config = `users:\n  allowed: [${[attacker, ...others].join(', ')}]\n${claiming}limits: { memory: 400M, cpu: 1 }\n`
  const product = await bootProduct({ config, ...(report ? { report } : {}) })
  await limitMemory(product.host, machineBytes)
  return product
}

/** The group of the host itself, as the host sees it, in either version of control groups. */
async function limitMemory(host: Host, bytes: number): Promise<void> {
  const files = '/sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max'
  const script = `for file in ${files}; do if [ -e "$file" ]; then echo "$1" >"$file"; exit; fi; done; exit 1`
  await host.run(['sh', '-euc', script, 'sh', String(bytes)])
}

/** The attacker logs in, starts a server, and begins. Resolves when the attacks are under way; they end by themselves. */
export async function besiege({ host, url }: Product, seconds: number): Promise<void> {
  const eve = await arrive(url, attacker)
  // What was left of the last time, in the place of Jupyter, answers nobody.
  await eve.post('/hub/stop')
  const isGone = `until ! systemctl is-active --quiet tljh-user-${attacker}.service; do sleep 0.1; done`
  await host.run(['sh', '-c', isGone], { timeoutMs: 60_000 })
  await eve.startServer()
  const home = `/home/jupyter-${attacker}`
  const program = readFileSync(join(import.meta.dirname, 'siege.py'), 'utf8')
  await host.writeFile(`${home}/siege.py`, program, { owner: `jupyter-${attacker}`, group: `jupyter-${attacker}` })
  await host.run(['rm', '-f', `${home}/siege-began`])
  const { cookie = '' } = eve.headersFor('/hub/')
  const argv = [`${home}/siege.py`, String(seconds), cookie, eve.cookies.get('_xsrf') ?? '']
  using kernel = await startKernel(eve, attacker)
  await kernel.run(`
import subprocess, sys
subprocess.Popen([sys.executable, *${JSON.stringify(argv)}], start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
`)
  await host.run(['sh', '-c', `until [ -e ${home}/siege-began ]; do sleep 0.1; done`], { timeoutMs: 60_000 })
}

/** Nine students come, work, go and come again, until `signal`. */
export async function workAllTheWhile({ url }: Product, signal: AbortSignal): Promise<Toll> {
  const toll: Toll = { logins: 0, cells: 0, failures: [] }
  await Promise.all(
    others.map(async name => {
      while (!signal.aborted) {
        try {
          await lesson(url, name, toll, signal)
        } catch (error) {
          toll.failures.push(`${name}: ${error instanceof Error ? error.message.slice(0, 500) : error}`)
          await delay(pauseMs)
        }
      }
    }),
  )
  return toll
}

async function lesson(url: string, name: string, toll: Toll, signal: AbortSignal): Promise<void> {
  const visitor = await arrive(url, name)
  toll.logins++
  await visitor.startServer()
  using kernel = await startKernel(visitor, name)
  for (let cell = 0; cell < 10; cell++) {
    const { text } = await kernel.run(`${cell} * 7`)
    if (text !== String(cell * 7)) throw new Error(`${cell} * 7 is ${JSON.stringify(text)}`)
    toll.cells++
    if (signal.aborted) break
    await delay(pauseMs)
  }
  // Kernels that are left behind would fill the machine, without any attack.
  const { status } = await visitor.jupyter('DELETE', `api/kernels/${kernel.id}`)
  if (status !== 204) throw new Error(`a kernel was not shut down: ${status}`)
}

async function arrive(url: string, name: string): Promise<Visitor> {
  const visitor = visit(url)
  const { status, body } = await visitor.logIn(name, studentPassword)
  if (status !== 302) throw new Error(`${name} could not log in: ${status} ${body.slice(0, 300)}`)
  return visitor
}

/** How often systemd had to start the service again. */
export async function restartsOf(host: Host, unit: string): Promise<number> {
  return Number((await host.run(['systemctl', 'show', '--value', '--property=NRestarts', unit])).stdout)
}
