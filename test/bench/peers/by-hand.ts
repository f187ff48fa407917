/**
 * The least there can be: the same server, started by hand with `systemd-run` in the same limits, on the same host, by the
 * same user.
 *
 * What 'the same' is, is read from a server of ours while it runs (its command line, environment, user and limits), so the two
 * cannot drift apart. Only its limits are taken over and not its sandbox: what the sandbox costs is ours to answer for.
 */
import type { Host } from '../../harness/host/host.ts'
import { checkoutProgram } from '../../harness/product/product.ts'

export interface Recipe {
  argv: string[]
  env: Record<string, string>
  user: string
  folder: string
  /** As systemd.resource-control(5) and systemd.exec(5) write them. */
  limits: Record<string, string>
}

/** What the program in the host is told: see by-hand-clock.ts. */
export interface ByHandOrder {
  /** The whole command line of systemd-run. */
  argv: string[]
  socket: string
  path: string
  headers: Record<string, string>
}

export interface ByHandTime {
  /** CLOCK_MONOTONIC in microseconds. */
  startUs: number
  pageMs: number
}

const LIMITS = ['Slice', 'MemoryMax', 'MemorySwapMax', 'TasksMax', 'OOMPolicy', 'LimitCORE', 'Delegate']
export const BY_HAND_UNIT = 'by-hand.service'

/** What systemd itself gives each service, of its own. */
const SYSTEMD_VARIABLES = ['NOTIFY_SOCKET', 'INVOCATION_ID', 'JOURNAL_STREAM', 'SYSTEMD_EXEC_PID']

/** Reads how the unit's main process was started. The unit has to run. */
export async function readRecipe(host: Host, unit: string): Promise<Recipe> {
  // systemd shows a CPU limit in a form that systemd-run does not read.
  const names = ['MainPID', 'User', 'WorkingDirectory', 'CPUQuotaPerSecUSec', ...LIMITS]
  const { stdout } = await host.run(['systemctl', 'show', unit, `--property=${names.join(',')}`])
  const shown = pairs(stdout.trimEnd().split('\n'))
  const value = (name: string) => {
    const text = shown.get(name)
    if (text === undefined) throw new Error(`systemctl shows no ${name} of ${unit}:\n${stdout}`)
    return text
  }
  if (value('CPUQuotaPerSecUSec') !== 'infinity') throw new Error(`${unit} has a CPU limit: measure without one`)
  const read = async (file: string) =>
    (await host.readFile(`/proc/${value('MainPID')}/${file}`)).split('\0').slice(0, -1)
  const env = pairs(await read('environ'))
  for (const name of SYSTEMD_VARIABLES) env.delete(name)
  return {
    argv: await read('cmdline'),
    env: Object.fromEntries(env),
    user: value('User'),
    folder: value('WorkingDirectory'),
    limits: Object.fromEntries(LIMITS.map(name => [name, value(name)])),
  }
}

/** Lines of the form NAME=VALUE. */
function pairs(lines: readonly string[]): Map<string, string> {
  return new Map(lines.map(line => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]))
}

/** Starts the server by hand. Resolves when it has answered with its page, at `path`, to `headers` as the hub sets them. */
export async function startByHand(
  host: Host,
  { argv, env, user, folder, limits }: Recipe,
  { path, headers }: Pick<ByHandOrder, 'path' | 'headers'>,
): Promise<ByHandTime> {
  const runtime = '/run/by-hand'
  const socket = `${runtime}/socket`
  const variables = { ...env, TLJH_SOCKET: socket, JUPYTER_RUNTIME_DIR: runtime }
  const order: ByHandOrder = {
    argv: [
      ...['systemd-run', '--quiet', '--collect', `--unit=${BY_HAND_UNIT}`],
      ...[`--uid=${user}`, `--working-directory=${folder}`],
      `--property=RuntimeDirectory=by-hand`,
      ...Object.entries(limits).map(([name, value]) => `--property=${name}=${value}`),
      ...Object.entries(variables).map(([name, value]) => `--setenv=${name}=${value}`),
      ...['--', ...argv],
    ],
    socket,
    path,
    headers,
  }
  const { stdout } = await host.run(checkoutProgram('test/bench/peers/by-hand-clock.ts'), {
    input: JSON.stringify(order),
  })
  return JSON.parse(stdout) as ByHandTime
}

/** Resolves when systemd has seen the end of its last process. */
export async function stopByHand(host: Host): Promise<void> {
  await host.run(['systemctl', 'stop', BY_HAND_UNIT])
}
