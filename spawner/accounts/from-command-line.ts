/** What the command line, as root, does with the accounts of this machine, in its own process. */
import type { UserName } from '../../config/users/names.ts'
import type { Layout } from '../../machine/layout.ts'
import { SystemBus } from '../../systemd/bus.ts'
import type { ClearableUnits } from '../../systemd/start-anew.ts'
import { createUnits } from '../../systemd/units.ts'
import { type AccountRemoval, createAccountRemoval } from './remove.ts'
import { createRenamings, type Renamings } from './rename.ts'

export interface ThisMachine extends AccountRemoval, Disposable {
  isKnown(user: UserName): Promise<boolean>
  renamings: Renamings
}

/** Nobody is spoken to before there is something to do: the bus takes whoever connects for who they are at that moment. */
export function thisMachine(layout: Layout): ThisMachine {
  let bus: SystemBus | undefined
  const connected = () => {
    bus ??= new SystemBus()
    return createUnits(bus)
  }
  const units: ClearableUnits = {
    inspectUnit: name => connected().inspectUnit(name),
    startTransientUnit: (...call) => connected().startTransientUnit(...call),
    stopUnit: name => connected().stopUnit(name),
    killUnit: name => connected().killUnit(name),
    resetFailedUnit: name => connected().resetFailedUnit(name),
  }
  const renamings = createRenamings(layout, units)
  return {
    ...createAccountRemoval(layout, units),
    isKnown: renamings.isKnown,
    renamings,
    [Symbol.dispose]: () => bus?.close(),
  }
}
