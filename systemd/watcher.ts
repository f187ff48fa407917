/**
 * Watches the units whose names match a pattern, such as `tljh-user-*.service`.
 *
 * It hears what systemd announces and asks only at the start, after a gap and for a unit that is new, so nothing is
 * polled. What always holds:
 *   - A snapshot comes first, and again after each gap in the signals (a connection that was lost, a `daemon-reload`).
 *     What is not in a snapshot is gone.
 *   - Each event has the whole state at that moment. systemd announces the service's part before the unit's part, so an
 *     event is made from the second, and no event shows half a change. A state that looks as before makes no event.
 *   - The last state of a unit comes with its removal, even where systemd forgets a failed unit at once. Of a unit that is
 *     gone before it could be asked that is all that comes, and its description and load state are empty.
 *
 * The bus keeps the order of what one sender says. So what arrives before the answer to a question is older than the
 * answer and is left aside, and what arrives after it is newer.
 */
import { isDeepStrictEqual } from 'node:util'
import { ProblemError } from '../problem.ts'
import { type BusSignal, MANAGER, MANAGER_PATH, PROPERTIES, type SystemBus } from './bus.ts'
import { type UnitName, unitOfPath, unitPath } from './names.ts'
import { type Properties, readState, SERVICE_INTERFACE, UNIT_INTERFACE, type UnitState } from './state.ts'

export type WatchEvent =
  | { kind: 'snapshot'; units: UnitState[] }
  | { kind: 'changed'; unit: UnitState }
  /** systemd has forgotten the unit; this is the last that was known of it. */
  | { kind: 'removed'; unit: UnitState }

export interface WatcherOptions {
  bus: SystemBus
  /** `*` stands for any text; all else stands for itself. */
  pattern: string
  onEvent(event: WatchEvent): void
  /** Told when the units could not be asked for; it is tried again. */
  onProblem(problem: unknown): void
}

const RETRY_MS = 1_000

export class Watcher implements Disposable {
  readonly #options: WatcherOptions
  readonly #isWatched: (name: string) => boolean
  readonly #properties = new Map<UnitName, Properties>()
  /** What was announced of units that are new and have not yet answered. */
  readonly #announced = new Map<UnitName, Properties>()
  readonly #states = new Map<UnitName, UnitState>()
  readonly #stopListening: () => void
  /** Counts the snapshots, so that answers to questions of an earlier one are known as such. */
  #round = 0
  #isKnown = false
  #retryTimer: NodeJS.Timeout | undefined

  constructor(options: WatcherOptions) {
    this.#options = options
    this.#isWatched = matcher(options.pattern)
    this.#stopListening = options.bus.listen({
      onSignal: signal => this.#hear(signal),
      onGap: () => this.#begin(),
    })
    this.#begin()
  }

  /** No event comes after this. */
  close(): void {
    this.#round = -1
    clearTimeout(this.#retryTimer)
    this.#stopListening()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #begin(): void {
    if (this.#round < 0) return
    clearTimeout(this.#retryTimer)
    const round = ++this.#round
    this.#isKnown = false
    this.#properties.clear()
    this.#announced.clear()
    this.#snapshot(round).catch(problem => {
      if (round !== this.#round) return
      this.#options.onProblem(problem)
      this.#retryTimer = setTimeout(() => this.#begin(), RETRY_MS)
    })
  }

  async #snapshot(round: number): Promise<void> {
    const { bus, pattern } = this.#options
    const list = { member: 'ListUnitsByPatterns', signature: 'asas', body: [[], [pattern]] }
    const [lines] = await bus.call({ path: MANAGER_PATH, interface: MANAGER, ...list })
    if (round !== this.#round) return
    await Promise.all((lines as [UnitName][]).map(([name]) => this.#ask(name, round)))
    if (round !== this.#round) return
    this.#isKnown = true
    this.#states.clear()
    for (const [name, properties] of this.#properties) this.#states.set(name, readState(name, properties))
    this.#options.onEvent({ kind: 'snapshot', units: [...this.#states.values()] })
  }

  /** Reads all properties of a unit. A unit that is gone meanwhile is not loaded again by being asked for. */
  async #ask(name: UnitName, round: number): Promise<void> {
    const { bus } = this.#options
    try {
      await bus.call({ path: MANAGER_PATH, interface: MANAGER, member: 'GetUnit', signature: 's', body: [name] })
      const all = { path: unitPath(name), interface: PROPERTIES, member: 'GetAll', signature: 's', body: [''] }
      await bus.call(all, ([properties]) => {
        if (round !== this.#round || (properties as Properties).LoadState === 'not-found') return
        this.#announced.delete(name)
        this.#properties.set(name, properties as Properties)
      })
    } catch (error) {
      if (!(error instanceof ProblemError && error.code === 'SYSTEMD_NO_SUCH_UNIT')) throw error
    }
  }

  #hear(signal: BusSignal): void {
    if (signal.interface === PROPERTIES && signal.member === 'PropertiesChanged') this.#hearChange(signal)
    else if (signal.interface === MANAGER && signal.member === 'UnitNew') this.#hearNew(signal.body[0])
    else if (signal.interface === MANAGER && signal.member === 'UnitRemoved') this.#hearRemoved(signal.body[0])
  }

  #hearChange({ path, body }: BusSignal): void {
    const [part, changed] = body
    if (part !== UNIT_INTERFACE && part !== SERVICE_INTERFACE) return
    const name = unitOfPath(path)
    if (!name) return
    for (const known of [this.#properties, this.#announced]) {
      const before = known.get(name)
      if (before) known.set(name, { ...before, ...(changed as Properties) })
    }
    if (part === UNIT_INTERFACE) this.#tell(name)
  }

  #hearNew(id: unknown): void {
    if (typeof id !== 'string' || !this.#isWatched(id)) return
    const name = id as UnitName
    const round = this.#round
    this.#announced.set(name, {})
    this.#ask(name, round).then(
      () => round === this.#round && this.#tell(name),
      problem => {
        if (round !== this.#round) return
        this.#options.onProblem(problem)
        this.#begin()
      },
    )
  }

  #hearRemoved(id: unknown): void {
    if (typeof id !== 'string') return
    const name = id as UnitName
    const announced = this.#announced.get(name)
    this.#properties.delete(name)
    this.#announced.delete(name)
    const ended = announced && readState(name, announced)
    // A unit that never ran was only asked for, by `systemctl status` for one.
    const unit = ended?.invocationId ? ended : this.#states.get(name)
    if (!unit || !this.#isKnown) return
    this.#states.delete(name)
    this.#options.onEvent({ kind: 'removed', unit })
  }

  #tell(name: UnitName): void {
    const properties = this.#properties.get(name)
    if (!properties || !this.#isKnown) return
    const unit = readState(name, properties)
    if (isDeepStrictEqual(unit, this.#states.get(name))) return
    this.#states.set(name, unit)
    this.#options.onEvent({ kind: 'changed', unit })
  }
}

function matcher(pattern: string): (name: string) => boolean {
  const expression = new RegExp(`^${pattern.split('*').map(RegExp.escape).join('.*')}$`, 's')
  return name => expression.test(name)
}
