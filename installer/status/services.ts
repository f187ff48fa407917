/** Whether systemd runs what it should, and whether hub and spawner answer. */
import { readFileSync } from 'node:fs'
import { fromHere, placeFromHere } from '../../config/meaning/hub-address.ts'
import { readBytes, showBytes } from '../../config/schema/quantities.ts'
import type { Layout } from '../../machine/layout.ts'
import { countIn, runProgram } from '../../machine/run-program.ts'
import { ProblemError } from '../../problem.ts'
import { configInForce, get } from '../installation/health.ts'
import { runningUnits } from '../installation/units.ts'
import { versionInForce } from '../steps/places.ts'
import { bad, type Check, good, type StatusLine, warning } from './lines.ts'

const slice = 'tljh-users.slice'
const properties = ['Id', 'LoadState', 'ActiveState', 'SubState', 'Result', 'NRestarts', 'ExecMainStatus']
const times = ['ActiveEnterTimestamp', 'ActiveEnterTimestampMonotonic']
/** A service that was started anew this lately may do it again. */
const unrestMinutes = 10
const fullShare = 0.9

type Properties = Record<string, string>

export function serviceChecks(layout: Layout): Check[] {
  return [
    { name: 'units', run: lookAtUnits },
    { name: 'hub', run: async () => [await lookAtHub(layout)] },
    { name: 'spawner', run: async () => [await lookAtSpawner(layout)] },
    { name: 'servers', run: async () => [await lookAtServers()] },
  ]
}

async function lookAtUnits(): Promise<StatusLine[]> {
  const units = await show(runningUnits, [...properties, ...times])
  return Promise.all(runningUnits.map(name => lineOf(name, units.get(name) ?? {})))
}

async function lineOf(name: string, unit: Properties): Promise<StatusLine> {
  const { LoadState: load, ActiveState: active, SubState: sub, Result: result } = unit
  if (load === 'masked') {
    return bad(
      name,
      `${name} does not run`,
      'it is masked',
      `sudo systemctl unmask ${name} && sudo systemctl start ${name}`,
    )
  }
  if (load === undefined || load === 'not-found') {
    return bad(name, `${name} is not there`, 'systemd has no unit of that name', 'Put it back: sudo tljh-ts install')
  }
  const restarts = countIn(unit.NRestarts) ?? 0
  if (active === 'active') {
    const line = good(name, `${name} runs since ${unit.ActiveEnterTimestamp}`)
    if (restarts === 0 || minutesSince(unit) > unrestMinutes) return line
    const why = `systemd has started it anew ${restarts} times${await lastWords(name)}`
    return warning(name, line.text, why, `Mend what the lines say: sudo journalctl --unit=${name}`)
  }
  const start = `sudo systemctl restart ${name}. All lines: sudo journalctl --unit=${name}`
  if (active === 'failed' || result !== 'success') {
    const status = unit.ExecMainStatus && unit.ExecMainStatus !== '0' ? `, status ${unit.ExecMainStatus}` : ''
    const how = `it failed (Result=${result}${status}), and ${sub === 'auto-restart' ? 'is started again and again' : 'does not run'}`
    return bad(
      name,
      `${name} does not run`,
      `${how}${await lastWords(name)}`,
      `Mend what the lines say, and then: ${start}`,
    )
  }
  if (active === 'activating') {
    return warning(
      name,
      `${name} is starting`,
      `systemd calls it ${sub}`,
      'Look again in a moment: sudo tljh-ts status',
    )
  }
  return bad(name, `${name} does not run`, 'it was stopped', `sudo systemctl start ${name}`)
}

async function lookAtHub(layout: Layout): Promise<StatusLine> {
  const { http, baseUrl } = await configInForce(layout)
  const where = placeFromHere(http)
  const fix = 'sudo systemctl restart tljh-hub.socket tljh-hub. Why: sudo journalctl --unit=tljh-hub'
  let version: string | undefined
  try {
    version = (JSON.parse(await get({ ...fromHere(http), path: `${baseUrl}hub/health` })) as { version?: string })
      .version
  } catch (error) {
    if (!(error instanceof ProblemError)) return bad('hub', `the hub does not answer at ${where}`, reasonOf(error), fix)
    const mend = 'Mend what the lines say; the hub tries again by itself. All lines: sudo journalctl --unit=tljh-hub'
    return bad('hub', `the hub at ${where} lets nobody in`, `${error.why}${await lastWords('tljh-hub.service')}`, mend)
  }
  const expected = versionInForce(layout)
  if (expected === undefined || version === expected) return good('hub', `the hub answers at ${where}`)
  return bad(
    'hub',
    `the hub at ${where} is version ${version}`,
    `${expected} is in force`,
    'sudo systemctl restart tljh-hub',
  )
}

async function lookAtSpawner({ spawnerSocket }: Layout): Promise<StatusLine> {
  try {
    await get({ socketPath: spawnerSocket, path: '/servers' })
    return good('spawner', 'the spawner answers')
  } catch (error) {
    const fix = 'sudo systemctl restart tljh-spawner.socket tljh-spawner. Why: sudo journalctl --unit=tljh-spawner'
    return bad('spawner', 'the spawner does not answer: no server can be started', reasonOf(error), fix)
  }
}

/** By systemd, which knows of them whether or not the spawner runs. */
async function lookAtServers(): Promise<StatusLine> {
  const list = ['list-units', '--plain', '--no-legend', '--all', 'tljh-user-*.service']
  const { stdout } = await runProgram('systemctl', list)
  const states = stdout.split('\n').flatMap(line => line.trim().split(/\s+/)[2] ?? [])
  const running = states.filter(state => state === 'active').length
  const failed = states.filter(state => state === 'failed').length
  const unit = (await show([slice], ['Id', 'MemoryCurrent', 'MemoryMax'])).get(slice) ?? {}
  const [used, most] = [bytesOf(unit.MemoryCurrent), bytesOf(unit.MemoryMax)]
  const memory =
    used === undefined ? '' : `, with ${inMegabytes(used)}${most ? ` of ${inMegabytes(most)}` : ''} of memory`
  const text = `${running} servers of users run${memory}${failed ? `; the last of ${failed} users failed` : ''}`
  if (used === undefined || most === undefined || used < most * fullShare) return good('servers', text)
  return warning(
    'servers',
    text,
    'all together have hardly any memory left, so the next that asks for some loses a kernel',
    'Stop servers that nobody needs, or lower the limit of each: sudo tljh-ts config set limits.memory 1G',
  )
}

/** What systemd says of each. Throws where it does not answer. */
async function show(names: readonly string[], wanted: readonly string[]): Promise<Map<string, Properties>> {
  const { code, stdout, stderr } = await runProgram('systemctl', [
    'show',
    `--property=${wanted.join(',')}`,
    '--',
    ...names,
  ])
  if (code !== 0) throw new Error(`systemd does not answer: ${stderr.split('\n')[0]}`)
  const blocks = stdout
    .split('\n\n')
    .map(block => Object.fromEntries(block.split('\n').flatMap(line => (line.includes('=') ? [splitAt(line)] : []))))
  return new Map(blocks.map(block => [block.Id ?? '', block]))
}

function splitAt(line: string): [string, string] {
  const at = line.indexOf('=')
  return [line.slice(0, at), line.slice(at + 1)]
}

function minutesSince({ ActiveEnterTimestampMonotonic: since }: Properties): number {
  const nowSeconds = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0])
  return (nowSeconds - Number(since) / 1e6) / 60
}

async function lastWords(unit: string): Promise<string> {
  const words = ['--quiet', '--no-pager', '--output=cat', '--lines=3', `_SYSTEMD_UNIT=${unit}`]
  const result = await runProgram('journalctl', words, { timeoutMs: 5_000 }).catch(() => undefined)
  const lines = result?.stdout.trim()
  return lines ? `. Its last lines:\n${lines.replace(/^/gm, '      ')}` : ''
}

function bytesOf(text: string | undefined): number | undefined {
  const bytes = Number(text)
  // Where memory is not counted, or not limited, systemd says words or 2**64 - 1.
  return text && Number.isFinite(bytes) && bytes < 2 ** 60 ? bytes : undefined
}

function inMegabytes(bytes: number): string {
  const whole = readBytes(Math.floor(bytes / 1024 ** 2) * 1024 ** 2)
  return whole === undefined ? String(bytes) : showBytes(whole)
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
