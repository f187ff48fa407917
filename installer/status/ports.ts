/** Whether systemd listens at each of the hub's addresses, and who does where it cannot. */
import { readFileSync } from 'node:fs'
import {
  type Endpoint,
  firstUnprivileged,
  isInTheWay,
  isOpenFor,
  obstacleTo,
  readEndpoint,
  showEndpoint,
} from '../../machine/endpoints.ts'
import type { Layout } from '../../machine/layout.ts'
import { runProgram } from '../../machine/run-program.ts'
import {
  cannotListen,
  isListening,
  openStreams,
  type Place,
  placesOf,
  socketStates,
} from '../../systemd/hub-sockets.ts'
import { configInForce } from '../installation/health.ts'
import { bad, type Check, good, type StatusLine, warning } from './lines.ts'

const firstPortFile = '/proc/sys/net/ipv4/ip_unprivileged_port_start'

export function portChecks(layout: Layout): Check[] {
  return [{ name: 'ports', run: () => lookAtPorts(layout) }]
}

async function lookAtPorts(layout: Layout): Promise<StatusLine[]> {
  const { http, visitPort } = await configInForce(layout)
  const places = placesOf({ ...http, visitPort })
  const states = await socketStates()
  const own = openStreams(states).flatMap(stream => readEndpoint(stream) ?? [])
  const lost = places.filter(place => !isListening(place, states))
  const lines = await Promise.all(lost.map(place => lineOf(place, own)))
  if (!lost.length) lines.push(good('ports', `systemd listens for the hub at ${places.map(shown).join(', ')}`))
  return [...lines, ...lookAtFirstPort(places)]
}

async function lineOf(place: Place, own: readonly Endpoint[]): Promise<StatusLine> {
  const { what, why, fix } = cannotListen(place)
  const wanted = readEndpoint(place.stream)
  if (!wanted) return bad('ports', what, why, fix)
  const who = await otherAt(wanted, own)
  return bad('ports', what, who ?? `nobody listens there; see: sudo journalctl --unit=${place.unit}`, fix)
}

/** The program that is in the way, and whose it is. Undefined: there is none. */
async function otherAt(wanted: Endpoint, own: readonly Endpoint[]): Promise<string | undefined> {
  const filter = ['--listening', '--tcp', '--numeric', '--processes', '--no-header', `sport = :${wanted.port}`]
  const { stdout } = await runProgram('ss', filter)
  const obstacle = obstacleTo(wanted, otherListeners(stdout, own))
  if (!obstacle) return undefined
  const { program, pid } = obstacle
  const where = isInTheWay(wanted, obstacle) ? 'there' : `at ${showEndpoint(obstacle)}`
  if (!pid) return `another program listens ${where}`
  const { stdout: user } = await runProgram('ps', ['--no-headers', '--format', 'user:32', '--pid', pid])
  return `${program} (process ${pid}) of ${user.trim() || 'an unknown user'} listens ${where}`
}

interface Listener extends Endpoint {
  program: string
  /** Empty where ss(8) does not know. */
  pid: string
}

/** From what ss(8) prints, without the hub's own sockets. */
export function otherListeners(text: string, own: readonly Endpoint[]): Listener[] {
  return text.split('\n').flatMap(line => {
    const endpoint = readEndpoint(line.split(/\s+/)[3] ?? '')
    if (!endpoint || own.some(one => isOpenFor(one, endpoint))) return []
    const [, program = '', pid = ''] = /users:\(\("(.*?)",pid=(\d+)/.exec(line) ?? []
    return [{ ...endpoint, program, pid }]
  })
}

/** What students cannot listen on as long as that number is the usual one. */
function* lookAtFirstPort(places: readonly Place[]): Iterable<StatusLine> {
  const first = Number(readFileSync(firstPortFile, 'utf8'))
  const open = places.flatMap(({ port }) =>
    port !== undefined && port >= first && port < firstUnprivileged ? [port] : [],
  )
  if (!open.length) return
  yield warning(
    'first-port',
    `programs of users may listen on port ${open.join(' and ')}`,
    `net.ipv4.ip_unprivileged_port_start is ${first} on this machine, and usually ${firstUnprivileged}. One of them could take the hub’s place while its socket is closed`,
    `Remove the setting from /etc/sysctl.d, and then: sudo sysctl --write net.ipv4.ip_unprivileged_port_start=${firstUnprivileged}`,
  )
}

function shown({ stream, port }: Place): string {
  return stream === String(port) ? `port ${port}` : stream
}
