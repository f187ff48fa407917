/**
 * What Node.js would work out anew at each start of a service: TypeScript without its types, and V8's own form of the code. With it, services
 * start in two thirds of the time, and never load what takes the types out (docs/decisions.md has the figures).
 *
 * What always holds: root makes it, in the folder of the version, and a service that was taken over cannot write what it will run after its next
 * start. Where there is none, or one that does not fit, Node.js passes it over; so nothing fails for want of it.
 */
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { codeFolder, type Layout } from '../../machine/layout.ts'
import { runProgram } from '../../machine/run-program.ts'

const services = ['hub', 'spawner'] as const

/**
 * Makes it for the version that runs, started as its unit files say, where it has none. Answers whether it made one. A checkout gets none: its
 * code changes. `report` is told why there is none, which is no reason to stop.
 */
export async function ensureCompileCache(layout: Layout, report: (line: string) => void): Promise<boolean> {
  if (dirname(codeFolder) !== layout.versions) return false
  let isChanged = false
  for (const service of services) {
    const folder = join(codeFolder, 'compile-cache', service)
    if (existsSync(folder)) continue
    try {
      await make(service, folder, service === 'hub' ? statSync(layout.state).uid : 0)
      isChanged = true
    } catch (error) {
      report(`the code of the ${service} could not be prepared, so it will start more slowly: ${error}`)
    }
  }
  return isChanged
}

/** Whole, or not at all. */
async function make(service: string, folder: string, uid: number): Promise<void> {
  const beside = `${folder}.new`
  const discard = () => rmSync(beside, { recursive: true, force: true })
  discard()
  try {
    await fill(service, beside, uid)
    renameSync(beside, folder)
  } catch (error) {
    discard()
    throw error
  }
}

async function fill(service: string, beside: string, uid: number): Promise<void> {
  mkdirSync(beside, { recursive: true, mode: 0o755 })
  const { code, stderr } = await runProgram(process.execPath, [...optionsOf(service), programFile, 'load', service], {
    env: { NODE_COMPILE_CACHE: beside },
    timeoutMs: 90_000,
  })
  if (code !== 0) throw new Error(stderr)
  // Node.js keeps what it made apart for each user, by a name that ends in the user's number.
  for (const name of readdirSync(beside)) {
    const own = join(beside, name.replace(/-0$/, `-${uid}`))
    renameSync(join(beside, name), own)
    chmodSync(own, 0o755)
    for (const file of readdirSync(own)) chmodSync(join(own, file), 0o644)
  }
}

const programFile = join(codeFolder, 'tljh-ts.ts')

/** Of Node.js, as the unit has them: V8 takes no code that was made with others. */
function optionsOf(service: string): string[] {
  const unit = readFileSync(join(import.meta.dirname, `../units/tljh-${service}.service`), 'utf8')
  const line = /^ExecStart=(.*)$/m.exec(unit)?.[1] ?? ''
  return line.split(' ').filter(word => word.startsWith('--'))
}
