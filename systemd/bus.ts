/**
 * The connection to systemd over the system bus.
 *
 * What always holds:
 *   - A call gets an answer or a `ProblemError`: when the connection drops all pending calls are rejected, when it is
 *     down a call waits for it as long as it takes to come back, but not longer than a few seconds.
 *   - The connection comes back by itself (after 50 ms, then twice as long each time, at most 1 s). Signals that were
 *     sent meanwhile are lost, so listeners are told by `onGap` and have to look at the state anew.
 *   - Only systemd is listened to. Everybody on the machine may send a signal straight to any connection on the bus
 *     (the default policy allows it), so a signal counts only if the sender is the connection that owns systemd's name.
 *   - At most 100 calls are on the way at once: dbus-daemon refuses the 129th (`max_replies_per_connection`).
 */
import { createClient, DBusError, type Message, type MessageBus, TimeoutError } from 'dbus-native'
import { ProblemError } from '../problem.ts'

/** A call to systemd. `body` has one value for each complete type of `signature`. */
export interface BusCall {
  path: string
  interface: string
  member: string
  signature?: string
  body?: readonly unknown[]
}

export interface BusSignal {
  path: string
  interface: string
  member: string
  body: readonly unknown[]
}

export interface BusListener {
  onSignal(signal: BusSignal): void
  /** Signals may have been missed: the connection was lost and is back, or systemd has loaded its units again. */
  onGap(): void
  /** The bus was closed for good. */
  onClose?(problem: ProblemError): void
}

export interface BusOptions {
  /** The socket of the bus. */
  socket?: string
  /** How long systemd may take to answer, 25 s as in libdbus and sd-bus. */
  callTimeoutMs?: number
  /** How long a call waits for a connection that is down. */
  connectTimeoutMs?: number
}

export const MANAGER_PATH = '/org/freedesktop/systemd1'
export const MANAGER = 'org.freedesktop.systemd1.Manager'
export const PROPERTIES = 'org.freedesktop.DBus.Properties'
const SYSTEMD = 'org.freedesktop.systemd1'
const DAEMON = { destination: 'org.freedesktop.DBus', path: '/org/freedesktop/DBus', interface: 'org.freedesktop.DBus' }

const FIRST_RETRY_MS = 50
const LAST_RETRY_MS = 1_000
const CALLS_AT_ONCE = 100
/** From the D-Bus specification: the type of a message that is a signal. */
const SIGNAL = 4

/** What the system bus's own match rules let through to us. */
const MATCH_RULES = [
  `type='signal',sender='${SYSTEMD}',path_namespace='${MANAGER_PATH}'`,
  `type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='${SYSTEMD}'`,
]

export class SystemBus implements Disposable {
  readonly #socket: string
  readonly #callTimeoutMs: number
  readonly #connectTimeoutMs: number
  readonly #listeners = new Set<BusListener>()
  readonly #turns: (() => void)[] = []
  #callsUnderWay = 0
  /** Resolves when the connection stands; replaced when it falls. */
  #link = Promise.withResolvers<MessageBus>()
  #isUp = false
  #current: MessageBus | undefined
  #retryMs = FIRST_RETRY_MS
  #retryTimer: NodeJS.Timeout | undefined
  #lastFailure: unknown
  #hasBeenUp = false
  #isClosed = false

  /** Starts to connect, and does not wait for it: calls do. */
  constructor({
    socket = '/run/dbus/system_bus_socket',
    callTimeoutMs = 25_000,
    connectTimeoutMs = 5_000,
  }: BusOptions = {}) {
    this.#socket = socket
    this.#callTimeoutMs = callTimeoutMs
    this.#connectTimeoutMs = connectTimeoutMs
    this.#connect()
  }

  /**
   * Calls a method of systemd.
   * @param onAnswer called with the answer before any signal that came after it is passed on; a promise is too late for
   *   that, because one read of the socket brings many messages
   * @returns the values of the answer; 64-bit integers are `bigint`, variants are bare, dictionaries are objects
   * @throws ProblemError SYSTEMD_NO_SUCH_UNIT, SYSTEMD_UNIT_EXISTS, SYSTEMD_REFUSED, SYSTEMD_DENIED,
   *   SYSTEMD_UNAVAILABLE or SYSTEMD_NO_ANSWER (with these two the call may have had its effect all the same)
   */
  async call(call: BusCall, onAnswer?: (values: readonly unknown[]) => void): Promise<readonly unknown[]> {
    if (this.#callsUnderWay < CALLS_AT_ONCE) this.#callsUnderWay++
    else await new Promise<void>(resolve => this.#turns.push(resolve))
    try {
      return await invoke(await this.#connected(), { ...call, destination: SYSTEMD }, this.#callTimeoutMs, onAnswer)
    } catch (error) {
      throw problemOf(error, call)
    } finally {
      const next = this.#turns.shift()
      if (next) next()
      else this.#callsUnderWay--
    }
  }

  /** Passes all signals of systemd's objects to `listener`, until the function that is returned is called. */
  listen(listener: BusListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Closes the connection for good; pending calls are rejected. */
  close(): void {
    this.#isClosed = true
    clearTimeout(this.#retryTimer)
    const problem = unavailable('the connection was closed by this program')
    for (const listener of [...this.#listeners]) listener.onClose?.(problem)
    this.#listeners.clear()
    this.#link.promise.catch(() => {})
    this.#link.reject(problem)
    this.#current?.connection.stream.destroy()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  async #connected(): Promise<MessageBus> {
    const late = Promise.withResolvers<never>()
    const timer = setTimeout(() => late.reject(unavailable(this.#lastFailure)), this.#connectTimeoutMs)
    try {
      return await Promise.race([this.#link.promise, late.promise])
    } finally {
      clearTimeout(timer)
    }
  }

  #connect(): void {
    // Only EXTERNAL: the bus knows who we are from the socket, and the other ways would read files in a home.
    const bus = createClient({ socket: this.#socket, authMethods: ['EXTERNAL'], timeout: this.#callTimeoutMs })
    this.#current = bus
    const { connection } = bus
    const giveUp = setTimeout(() => connection.stream.destroy(new Error('no answer')), this.#connectTimeoutMs)
    connection.on('error', error => {
      this.#lastFailure = error
      connection.stream.destroy()
    })
    // The end of the stream alone leaves our half open.
    connection.on('end', () => connection.stream.destroy())
    connection.on('close', () => {
      clearTimeout(giveUp)
      this.#down()
    })
    this.#subscribe(bus).then(
      () => {
        clearTimeout(giveUp)
        this.#up(bus)
      },
      error => {
        this.#lastFailure = error
        connection.stream.destroy()
      },
    )
  }

  /** Asks for the signals before anything else is asked for, so that none is missed. */
  async #subscribe(bus: MessageBus): Promise<void> {
    let owner: unknown
    let isReloading = false
    bus.connection.on('message', message => {
      if (message.type !== SIGNAL) return
      if (message.sender === 'org.freedesktop.DBus' && message.member === 'NameOwnerChanged') {
        // systemd executes itself anew (an upgrade does that): a new connection is the one way to be sure of it.
        if (message.body?.[0] === SYSTEMD) bus.connection.stream.destroy()
      } else if (owner !== undefined && message.sender === owner) isReloading = this.#dispatch(message, isReloading)
    })
    for (const rule of MATCH_RULES)
      await invoke(bus, { ...DAEMON, member: 'AddMatch', signature: 's', body: [rule] }, this.#callTimeoutMs)
    await invoke(
      bus,
      { destination: SYSTEMD, path: MANAGER_PATH, interface: MANAGER, member: 'Subscribe' },
      this.#callTimeoutMs,
    )
    const name = { ...DAEMON, member: 'GetNameOwner', signature: 's', body: [SYSTEMD] }
    owner = (await invoke(bus, name, this.#callTimeoutMs))[0]
  }

  #up(bus: MessageBus): void {
    if (this.#isClosed) return
    this.#retryMs = FIRST_RETRY_MS
    this.#isUp = true
    this.#link.resolve(bus)
    if (this.#hasBeenUp) for (const listener of [...this.#listeners]) listener.onGap()
    this.#hasBeenUp = true
  }

  #down(): void {
    this.#current = undefined
    if (this.#isClosed) return
    if (this.#isUp) this.#link = Promise.withResolvers<MessageBus>()
    this.#isUp = false
    this.#retryTimer = setTimeout(() => this.#connect(), this.#retryMs)
    this.#retryMs = Math.min(this.#retryMs * 2, LAST_RETRY_MS)
  }

  /** Tells the listeners of a signal. While systemd loads its units again it says that all are gone, which is not so. */
  #dispatch(message: Message, wasReloading: boolean): boolean {
    const { path = '', member = '', body = [] } = message
    const isReloading = member === 'Reloading' ? body[0] === true : wasReloading
    if (wasReloading && !isReloading) for (const listener of [...this.#listeners]) listener.onGap()
    if (isReloading) return true
    const signal = { path, interface: message.interface ?? '', member, body }
    for (const listener of [...this.#listeners]) listener.onSignal(signal)
    return false
  }
}

function invoke(
  bus: MessageBus,
  { body, ...header }: BusCall & { destination: string },
  timeout: number,
  onAnswer?: (values: readonly unknown[]) => void,
): Promise<readonly unknown[]> {
  return new Promise((resolve, reject) => {
    bus.invoke(body ? { ...header, body: [...body] } : header, { timeout }, (error, ...values: unknown[]) => {
      if (error) return reject(error)
      onAnswer?.(values)
      resolve(values)
    })
  })
}

const NO_SUCH_UNIT = new Set(['NoSuchUnit', 'NoUnitForPID', 'NoUnitForInvocationID'])
const NOT_THERE = new Set(['Disconnected', 'ServiceUnknown', 'NameHasNoOwner', 'ShuttingDown'])

/** The sentence for an error of the bus, of systemd, or of the connection. */
function problemOf(error: unknown, call: BusCall): ProblemError {
  if (error instanceof ProblemError) return error
  if (!(error instanceof DBusError))
    return new ProblemError('SYSTEMD_REFUSED', {
      what: `systemd could not be asked (${call.member})`,
      why: error instanceof Error ? error.message : String(error),
      fix: 'this is a mistake in this program; please report it',
      cause: error,
    })
  const kind = error.dbusName?.split('.').at(-1) ?? ''
  const why = error.message.replace(/\.$/, '')
  if (NO_SUCH_UNIT.has(kind))
    return new ProblemError('SYSTEMD_NO_SUCH_UNIT', {
      what: `systemd has no such unit (${call.member})`,
      why,
      fix: 'it has ended, or was never started; see what there is with `systemctl list-units --all`',
      cause: error,
    })
  if (kind === 'UnitExists')
    return new ProblemError('SYSTEMD_UNIT_EXISTS', {
      what: `systemd has a unit of that name already (${call.member})`,
      why,
      fix: 'stop it, or forget its failure with `systemctl reset-failed UNIT`, and try again',
      cause: error,
    })
  if (error instanceof TimeoutError || kind === 'NoReply' || kind === 'Timeout' || kind === 'TimedOut')
    return new ProblemError('SYSTEMD_NO_ANSWER', {
      what: `systemd did not answer (${call.member})`,
      why,
      fix: 'the machine may be very busy: wait a minute, then look at `systemctl list-jobs`',
      cause: error,
    })
  if (NOT_THERE.has(kind) || error.dbusName?.includes('.Spawn.')) return unavailable(error)
  if (kind === 'AccessDenied' || kind === 'InteractiveAuthorizationRequired')
    return new ProblemError('SYSTEMD_DENIED', {
      what: `systemd does not let this program do that (${call.member})`,
      why,
      fix: 'only root may: run it with sudo',
      cause: error,
    })
  return new ProblemError('SYSTEMD_REFUSED', {
    what: `systemd refused (${call.member})`,
    why,
    fix: 'see the last lines of `journalctl _PID=1`',
    cause: error,
  })
}

function unavailable(cause: unknown): ProblemError {
  return new ProblemError('SYSTEMD_UNAVAILABLE', {
    what: 'systemd cannot be reached over the system bus',
    why: rootOf(cause)?.replace(/\.$/, '') ?? 'there is no connection yet',
    fix: 'see `systemctl status dbus` (without dbus nothing can be started); it is tried again by itself',
    ...(cause === undefined ? {} : { cause }),
  })
}

/** That a call was cut off says less than what cut the connection. */
function rootOf(cause: unknown): string | undefined {
  if (typeof cause === 'string') return cause
  return cause instanceof Error ? (rootOf(cause.cause) ?? cause.message) : undefined
}
