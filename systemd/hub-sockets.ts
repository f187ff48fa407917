/**
 * The sockets on which systemd listens for the hub: one unit for each address, so that a change of one closes no other.
 *
 * What always holds:
 *   1. A unit belongs to the release; its address stands in a drop-in beside it. Without one, it is not started.
 *   2. A socket whose address stays is open all the time, also while another moves or cannot be had.
 *   3. A socket moves only to an address that no other program has, and from 1024 on only where none has the port at any address.
 *      Otherwise the former address stays open.
 *   4. From 1024 on, tljh-ports.service holds each port of the hub bound, too (systemd/hold-ports.py). So no process of a user's takes
 *      it while the socket is closed, nor beside the hub, at another address of the machine.
 *
 * A socket cannot be started while its service runs ("already active, refusing"). But a restart of tljh-hub.service starts those
 * that are missing between its two halves: systemd orders the start of a socket before its service, and after its stop.
 */
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { isIPv6 } from 'node:net'
import { join } from 'node:path'
import { firstUnprivileged, isOpenFor, readEndpoint } from '../machine/endpoints.ts'
import { holdLock, lockFile } from '../machine/lock-file.ts'
import { replaceFile } from '../machine/replace-file.ts'
import { countIn, runProgram } from '../machine/run-program.ts'
import { ProblemError, type ProblemText } from '../problem.ts'

export interface HubAddresses {
  /** Empty: all addresses, of both families. */
  address: string
  port: number
  /** In place of an address and a port. Only root and this group may connect. */
  socket?: { path: string; group: string } | undefined
  /** Where it listens with TLS. */
  tls?: { address: string; port: number } | undefined
  /** One more, at the address of the one with TLS, if there is one, or the first. */
  visitPort?: number | undefined
}

/** One address, and the unit that has it. */
export interface Place {
  unit: string
  /** The key of the configuration that says where. */
  key: string
  /** As ListenStream= has it. */
  stream: string
  /** Undefined: it is a unix socket. */
  port: number | undefined
  /** Of a unix socket. */
  group?: string
}

export const mainSocket = 'tljh-hub.socket'
const httpsSocket = 'tljh-hub-https.socket'
const visitSocket = 'tljh-hub-visit.socket'
/** Those that only some configurations have. */
export const furtherSockets = [httpsSocket, visitSocket]
export const hubSockets = [mainSocket, ...furtherSockets]
export const portHolder = 'tljh-ports.service'
const hubService = 'tljh-hub.service'
/** Units that get drop-ins here. */
export const unitsWithDropIns = [...hubSockets, portHolder]

/** A file that is there while the hub moves, beside the ports. It has to outlive a spawner that is killed, and a plug that is pulled. */
const moving = 'moving'

const usualUnitFolder = '/etc/systemd/system'
const commandTimeoutMs = 60_000
/** How often the holder is asked again where its answer is missing. */
const mostTries = 20

export function placesOf({ address, port, socket, tls, visitPort }: HubAddresses): Place[] {
  const main = { unit: mainSocket, key: 'http.port' }
  const first: Place = socket
    ? { ...main, key: 'http.address', stream: socket.path, port: undefined, group: socket.group }
    : { ...main, stream: written(address, port), port }
  return [
    first,
    ...(tls ? [{ unit: httpsSocket, key: 'https.port', stream: written(tls.address, tls.port), port: tls.port }] : []),
    ...(visitPort === undefined
      ? []
      : [
          {
            unit: visitSocket,
            key: 'admins.visit_port',
            stream: written(tls ? tls.address : address, visitPort),
            port: visitPort,
          },
        ]),
  ]
}

export interface SettleOptions {
  /** The hub is started anew in any case. */
  restartsHub?: boolean
  /** What could not be had is tried again, also where systemd knows of no failure. */
  isRetry?: boolean
  /** Breaks off. What was ordered goes on, and whoever settles next does the rest. */
  signal?: AbortSignal
  /** Told before it is. */
  onRestart?: () => void
  unitFolder?: string
}

/**
 * Has systemd listen there and nowhere else, and starts the hub anew where that takes it. Answers what could not be had; all else
 * is done. Throws `HUB_SOCKETS` where systemd does not do what it is told. An installation and the spawner do it one after the other.
 */
export async function settleSockets(wanted: readonly Place[], options: SettleOptions = {}): Promise<ProblemText[]> {
  const { restartsHub = false, isRetry = false, unitFolder = usualUnitFolder, signal } = options
  const isToDo = async () => restartsHub || isRetry || (await isUnsettled(wanted, unitFolder))
  if (!(await isToDo())) return []
  await using _turn = await takeTurn(unitFolder, signal)
  // Whoever had the turn before may have done it.
  if (!(await isToDo())) return []
  return await settleNow(wanted, options)
}

async function settleNow(
  wanted: readonly Place[],
  { restartsHub: isAsked = false, unitFolder = usualUnitFolder, onRestart = () => {}, signal }: SettleOptions,
): Promise<ProblemText[]> {
  const systemctl = commander(signal)
  // The files tell nothing of a move that broke off after they were written: the hub may be stopped, or still be where it was.
  const restartsHub = isAsked || isMoving(unitFolder)
  const before = readAddresses(unitFolder)
  const states = await socketStates()
  const isUp = (unit: string) => states.get(unit)?.isUp === true
  const addressesOf = (unit: string) => before.get(unit) ?? []
  // Earlier versions had all addresses in one unit. It stays like that until one of them changes.
  if (!restartsHub && isUp(mainSocket) && isSame(addressesOf(mainSocket), wanted)) return []

  const all = [...before.values(), wanted].flat().map(({ stream }) => stream)
  const { held, taken } = await hold(all, openStreams(states), unitFolder, systemctl)
  // Where an address stays, nothing is to be had: another program may have the port at another address, and had it before the hub.
  const stays = (place: Place) => isUp(place.unit) && isSame(addressesOf(place.unit), [place])
  const isToBeHad = (place: Place) => place.port === undefined || stays(place) || !taken.has(place.port)

  const closing: string[] = []
  replace(dropInFolder(unitFolder, portHolder), moving, '')
  let isWritten = false
  for (const unit of hubSockets) {
    const place = wanted.find(one => one.unit === unit)
    if (place && !isToBeHad(place)) continue
    if (!writeDropIn(unitFolder, unit, place && socketSettings(place))) continue
    isWritten = true
    // Of several addresses in one unit, systemd keeps the one that stays when it reads the files again.
    const isKept = place !== undefined && isSame(addressesOf(unit).slice(0, 1), [place])
    if (!isKept && isUp(unit)) closing.push(unit)
  }
  if (isWritten) await systemctl('daemon-reload')
  if (closing.length) await systemctl('stop', ...closing)
  const isMissing = wanted.some(place => isToBeHad(place) && !isUp(place.unit))
  if (restartsHub || closing.length || isMissing) {
    onRestart()
    // What fails is told below, for each socket.
    await systemctl('restart', hubService).catch(() => undefined)
    // Then nobody knows whether it was ordered at all, and the note of the move stays.
    signal?.throwIfAborted()
  }

  const now = await socketStates()
  rmSync(join(dropInFolder(unitFolder, portHolder), moving), { force: true })
  const lost = wanted.filter(place => !isToBeHad(place) || !now.get(place.unit)?.isUp)
  // What was there before is to be had back.
  const ports = portsIn(wanted.map(({ stream }) => stream))
  const isGuarded =
    portsIn(all).length === ports.length && ports.every(port => port < firstUnprivileged || held.has(port))
  if (!lost.length && !isGuarded) await guard(wanted, unitFolder, systemctl)
  return lost.map(cannotListen)
}

export interface SocketState {
  isUp: boolean
  hasFailed: boolean
  /** Where it listens if it is up, as systemd writes it. */
  streams: string[]
}

/** Of each unit. */
export async function socketStates(): Promise<Map<string, SocketState>> {
  const { stdout } = await runProgram('systemctl', ['show', '--property=Id,ActiveState,Listen', ...hubSockets])
  return readSocketStates(stdout)
}

/** From what `systemctl show` says of several units. */
export function readSocketStates(text: string): Map<string, SocketState> {
  return new Map(
    text.split('\n\n').map(block => {
      const value = (name: string) => new RegExp(`^${name}=(.*)$`, 'm').exec(block)?.[1] ?? ''
      const streams = [...block.matchAll(/^Listen=(.*) \(Stream\)$/gm)].map(([, stream = '']) => stream)
      const state = value('ActiveState')
      return [value('Id'), { isUp: state === 'active', hasFailed: state === 'failed', streams }]
    }),
  )
}

/** Whether one of the units that are up listens there. */
export function isListening({ stream }: Pick<Place, 'stream'>, states: ReadonlyMap<string, SocketState>): boolean {
  const wanted = readEndpoint(stream)
  return openStreams(states).some(open => {
    const endpoint = readEndpoint(open)
    return wanted && endpoint ? isOpenFor(wanted, endpoint) : open === stream
  })
}

export function openStreams(states: ReadonlyMap<string, SocketState>): string[] {
  return [...states.values()].flatMap(({ isUp, streams }) => (isUp ? streams : []))
}

/** Keeps the ports from all other programs. */
export async function guardPorts(wanted: readonly Place[], unitFolder = usualUnitFolder): Promise<void> {
  await using _turn = await takeTurn(unitFolder)
  await guard(wanted, unitFolder, commander())
}

async function guard(wanted: readonly Place[], unitFolder: string, systemctl: Systemctl): Promise<void> {
  const streams = wanted.map(({ stream }) => stream)
  await hold(streams, openStreams(await socketStates()), unitFolder, systemctl)
}

/** Whether systemd listens elsewhere, a move broke off, or a socket has failed. What somebody has stopped is left alone. */
async function isUnsettled(wanted: readonly Place[], unitFolder = usualUnitFolder): Promise<boolean> {
  if (isMoving(unitFolder)) return true
  if (!isSame([...readAddresses(unitFolder).values()].flat(), wanted)) return true
  const states = await socketStates()
  return wanted.some(({ unit }) => states.get(unit)?.hasFailed)
}

/**
 * All addresses in one unit, as earlier versions have it: for a way back to one. They close for a moment, because a socket that
 * is open takes no second address.
 */
export async function joinSockets(wanted: readonly Place[], unitFolder = usualUnitFolder): Promise<void> {
  if (wanted.length === 1) return
  await using _turn = await takeTurn(unitFolder)
  const systemctl = commander()
  const streams = wanted.map(({ stream }) => `ListenStream=${stream}\n`)
  if (!writeDropIn(unitFolder, mainSocket, `[Socket]\nListenStream=\n${streams.join('')}FreeBind=yes\n`)) return
  await systemctl('daemon-reload')
  await systemctl('stop', hubService, mainSocket)
  // What holds the ports shares them with no socket of such a version. Where it is gone with its unit, there is nothing to stop.
  await systemctl('stop', portHolder).catch(() => undefined)
  await systemctl('start', mainSocket)
}

export function cannotListen({ key, stream, port }: Place): ProblemText {
  if (port === undefined) {
    return {
      what: `The hub cannot listen at ${stream}`,
      why: 'systemd could not make that socket',
      fix: `See: sudo journalctl --unit=${mainSocket}`,
    }
  }
  return {
    what: `The hub cannot listen on port ${port} (${key})`,
    why: 'another program of this machine listens there',
    fix: `Stop that program, and the hub takes the port by itself. See which: sudo ss --listening --tcp --processes sport = :${port}. Or choose another port: sudo tljh-ts config set ${key} NUMBER`,
  }
}

type Address = Pick<Place, 'stream' | 'group'>

/** What stands in the drop-ins. */
function readAddresses(unitFolder: string): Map<string, Address[]> {
  return new Map(
    hubSockets.map(unit => {
      const text = read(dropIn(unitFolder, unit)) ?? ''
      const group = /^SocketGroup=(.+)$/m.exec(text)?.[1]
      const streams = [...text.matchAll(/^ListenStream=(.+)$/gm)]
      return [unit, streams.map(([, stream = '']) => ({ stream, ...(group === undefined ? {} : { group }) }))]
    }),
  )
}

function socketSettings({ key, stream, port, group }: Place): string {
  const lines = [`# Written by tljh-ts from ${key}.`, '[Socket]', 'ListenStream=', `ListenStream=${stream}`]
  if (group !== undefined) lines.push('SocketUser=root', `SocketGroup=${group}`, 'SocketMode=0660', 'RemoveOnStop=yes')
  // An address that comes up later (a network that is slow at boot) is waited for by the kernel, not refused by systemd.
  else lines.push('FreeBind=yes')
  // Else the port could not be held beside it. Only root's sockets may share it.
  if (port !== undefined && port >= firstUnprivileged) lines.push('ReusePort=yes')
  return `${lines.join('\n')}\n`
}

interface Holding {
  held: Set<number>
  /** By another program. */
  taken: Set<number>
}

/** Has them held, and no others, while the hub listens at `open`. Throws `HUB_SOCKETS` where nobody says what came of it. */
async function hold(
  streams: readonly string[],
  open: readonly string[],
  unitFolder: string,
  systemctl: Systemctl,
): Promise<Holding> {
  const [wanted, own] = [streams, open].map(all => [...new Set(all.filter(one => portIn(one) !== undefined))].join(' '))
  const note = (settings: string) => replace(dropInFolder(unitFolder, portHolder), 'ports.env', settings)
  for (let tries = 0; tries < mostTries; tries++) {
    note(`TLJH_STREAMS=${wanted}\nTLJH_OWN=${own}\n`)
    await systemctl('restart', portHolder)
    const { stdout } = await runProgram('systemctl', ['show', '--value', '--property=StatusText', portHolder])
    const [held, free, taken] = ['held', 'free', 'in use'].map(word => numbersBehind(word, stdout))
    const isAnswered = portsIn(streams).every(port => [held, free, taken].some(ports => ports?.has(port)))
    // Somebody may have it start anew by hand meanwhile, and the answer is gone.
    if (!held || !taken || !isAnswered) continue
    // When the machine starts, the hub listens nowhere.
    note(`TLJH_STREAMS=${wanted}\n`)
    return { held, taken }
  }
  throw new ProblemError('HUB_SOCKETS', {
    what: 'The hub was not moved to another address',
    why: `${portHolder} does not say which of its ports are free`,
    fix: `See: sudo journalctl --unit=${portHolder}`,
  })
}

function numbersBehind(word: string, status: string): Set<number> {
  return new Set(new RegExp(`${word}: ([^;]*)`).exec(status)?.[1]?.match(/\d+/g)?.map(Number))
}

type Systemctl = (...args: string[]) => Promise<void>

/** systemctl, which `signal` ends. It may wait for a unit that waits for the end of this process. */
function commander(signal?: AbortSignal): Systemctl {
  return async (...args) => {
    const { code, stderr } = await runProgram('systemctl', args, { timeoutMs: commandTimeoutMs, signal })
    if (code === 0) return
    throw new ProblemError('HUB_SOCKETS', {
      what: 'The hub could not be moved to another address',
      why: `systemctl ${args.join(' ')}: ${stderr || `code ${code}`}`,
      fix: 'See: sudo journalctl --unit="tljh-hub*" --unit=tljh-ports',
    })
  }
}

/** Disposing of the result gives the turn to the next. */
async function takeTurn(unitFolder: string, signal?: AbortSignal): Promise<AsyncDisposable> {
  const folder = dropInFolder(unitFolder, portHolder)
  mkdirSync(folder, { recursive: true })
  const turn = await holdLock(lockFile(join(folder, 'lock')), { waits: true, signal })
  signal?.throwIfAborted()
  if (turn) return turn
  throw new ProblemError('HUB_SOCKETS', {
    what: 'The hub could not be moved to another address',
    why: `${join(folder, 'lock')} could not be locked`,
    fix: 'See whether flock is there (it is of the package util-linux), and try again',
  })
}

/** Undefined: there is to be none. Answers whether it was another. */
function writeDropIn(unitFolder: string, unit: string, content: string | undefined): boolean {
  const file = dropIn(unitFolder, unit)
  if (read(file) === content) return false
  if (content === undefined) rmSync(file)
  else replace(dropInFolder(unitFolder, unit), 'address.conf', content)
  return true
}

function isMoving(unitFolder: string): boolean {
  return existsSync(join(dropInFolder(unitFolder, portHolder), moving))
}

function dropInFolder(unitFolder: string, unit: string): string {
  return join(unitFolder, `${unit}.d`)
}

function dropIn(unitFolder: string, unit: string): string {
  return join(dropInFolder(unitFolder, unit), 'address.conf')
}

/** systemd reads nothing that does not end in .conf, so half a file is never taken for one. Whoever writes has the turn (takeTurn). */
function replace(folder: string, name: string, content: string): void {
  mkdirSync(folder, { recursive: true })
  replaceFile(join(folder, name), content, { mode: 0o644 })
}

function read(file: string): string | undefined {
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined
}

function written(address: string, port: number): string {
  return address === '' ? String(port) : `${isIPv6(address) ? `[${address}]` : address}:${port}`
}

function portsIn(streams: readonly string[]): number[] {
  return [...new Set(streams.flatMap(stream => portIn(stream) ?? []))]
}

function portIn(stream: string): number | undefined {
  return stream.startsWith('/') ? undefined : countIn(/\d+$/.exec(stream)?.[0])
}

function isSame(some: readonly Address[], others: readonly Address[]): boolean {
  const isAmong = ({ stream, group }: Address) => some.some(one => one.stream === stream && one.group === group)
  return some.length === others.length && others.every(isAmong)
}
