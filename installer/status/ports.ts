/** Whether systemd listens at each of the hub's addresses, and who does where it cannot. */
import { readFileSync } from 'node:fs'
import { runCommand } from '../../commands.ts'
import type { Layout } from '../../config/paths.ts'
import { cannotListen, hubSockets, type Place, placesOf } from '../../systemd/hub-sockets.ts'
import { configInForce } from '../health.ts'
import { bad, type Check, good, type StatusLine, warning } from './lines.ts'

const usualFirstPort = 1024
const firstPortFile = '/proc/sys/net/ipv4/ip_unprivileged_port_start'

export function portChecks(layout: Layout): Check[] {
  return [{ name: 'ports', run: () => lookAtPorts(layout) }]
}

async function lookAtPorts(layout: Layout): Promise<StatusLine[]> {
  const { http, visitPort } = await configInForce(layout)
  const places = placesOf({ ...http, visitPort })
  const listening = await listeningStreams()
  const lost = places.filter(place => !listening.has(asShown(place)))
  const lines = await Promise.all(lost.map(lineOf))
  if (!lost.length) lines.push(good('ports', `systemd listens for the hub at ${places.map(shown).join(', ')}`))
  return [...lines, ...lookAtFirstPort(places)]
}

async function lineOf(place: Place): Promise<StatusLine> {
  const { what, why, fix } = cannotListen(place)
  const who = place.port === undefined ? undefined : await listenerOn(place.port)
  const ended = `see: sudo journalctl --unit=${place.unit}`
  return bad('ports', what, who ?? (place.port === undefined ? why : `nobody listens there; ${ended}`), fix)
}

/** The program, and whose it is. Undefined: nobody listens. */
async function listenerOn(port: number): Promise<string | undefined> {
  const filter = ['--listening', '--tcp', '--numeric', '--processes', '--no-header', `sport = :${port}`]
  const { stdout } = await runCommand('ss', filter)
  if (!stdout.trim()) return undefined
  const [, program = '', pid = ''] = /users:\(\("(.*?)",pid=(\d+)/.exec(stdout) ?? []
  if (!pid) return 'another program listens there'
  const { stdout: user } = await runCommand('ps', ['--no-headers', '--format', 'user:32', '--pid', pid])
  return `${program} (process ${pid}) of ${user.trim() || 'an unknown user'} listens there`
}

/** What students cannot listen on as long as that number is the usual one. */
function* lookAtFirstPort(places: readonly Place[]): Iterable<StatusLine> {
  const first = Number(readFileSync(firstPortFile, 'utf8'))
  const open = places.flatMap(({ port }) =>
    port !== undefined && port >= first && port < usualFirstPort ? [port] : [],
  )
  if (!open.length) return
  yield warning(
    'first-port',
    `programs of users may listen on port ${open.join(' and ')}`,
    `net.ipv4.ip_unprivileged_port_start is ${first} on this machine, and usually ${usualFirstPort}. One of them could take the hub’s place while its socket is closed`,
    `Remove the setting from /etc/sysctl.d, and then: sudo sysctl --write net.ipv4.ip_unprivileged_port_start=${usualFirstPort}`,
  )
}

/** As systemd shows them of the sockets that are open. */
async function listeningStreams(): Promise<Set<string>> {
  const { stdout } = await runCommand('systemctl', ['show', '--property=ActiveState,Listen', ...hubSockets])
  const open = stdout.split('\n\n').filter(block => block.includes('ActiveState=active'))
  return new Set(
    open.flatMap(block => [...block.matchAll(/^Listen=(.*) \(Stream\)$/gm)].map(([, stream = '']) => stream)),
  )
}

function asShown({ stream }: Place): string {
  return /^\d+$/.test(stream) ? `[::]:${stream}` : stream
}

function shown({ stream, port }: Place): string {
  return stream === String(port) ? `port ${port}` : stream
}
