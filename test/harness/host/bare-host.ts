/**
 * A host with nothing of ours in it but the checkout, and this process's own connection to its systemd: the socket of the
 * host's bus can be reached through /proc, and root outside is root inside.
 */
import { SystemBus } from '../../../systemd/bus.ts'
import { createUnits, type UnitName, type Units, unitName } from '../../../systemd/units.ts'
import { type WatchEvent, Watcher } from '../../../systemd/watcher.ts'
import { debian } from '../image/layers.ts'
import { bootHost, type Host } from './host.ts'

export const NODE = '/opt/tljh/hub/current/node_modules/node/bin/node'
export const CODE = '/opt/tljh/hub/current'

export interface HostBus extends AsyncDisposable {
  host: Host
  bus: SystemBus
  units: Units
}

export async function bootHostBus(): Promise<HostBus> {
  const host = await bootHost({ layers: [debian()] })
  const bus = new SystemBus({ socket: `${host.rootPath}/run/dbus/system_bus_socket` })
  return {
    host,
    bus,
    units: createUnits(bus),
    async [Symbol.asyncDispose]() {
      bus.close()
      await host.close()
    },
  }
}

/** Only for what never comes. */
const patienceMs = 120_000

/** A unit name that no other test uses. */
export function testUnit(text: string): UnitName {
  return unitName(`test-${text}.service`)
}

/** A watcher whose events can be waited for, in their order. */
export class Events implements Disposable {
  readonly #events: WatchEvent[] = []
  readonly #watcher: Watcher
  #wake = Promise.withResolvers<void>()

  constructor(bus: SystemBus, pattern: string) {
    this.#watcher = new Watcher({
      bus,
      pattern,
      onProblem: () => {},
      onEvent: event => {
        this.#events.push(event)
        this.#wake.resolve()
        this.#wake = Promise.withResolvers<void>()
      },
    })
  }

  /** Takes events off until one is as wanted, and gives it. */
  async next(isWanted: (event: WatchEvent) => boolean): Promise<WatchEvent> {
    const late = Promise.withResolvers<never>()
    const passed: WatchEvent[] = []
    const timer = setTimeout(() => {
      const told = passed.map(event => JSON.stringify(event)).join('\n')
      late.reject(new Error(`no such event came within ${patienceMs / 1000} s, but these:\n${told}`))
    }, patienceMs)
    try {
      for (;;) {
        const event = this.#events.shift()
        if (event && isWanted(event)) return event
        if (event) passed.push(event)
        if (!event) await Promise.race([this.#wake.promise, late.promise])
      }
    } finally {
      clearTimeout(timer)
    }
  }

  /** What came and was not taken. */
  rest(): WatchEvent[] {
    return this.#events.splice(0)
  }

  [Symbol.dispose](): void {
    this.#watcher.close()
  }
}
