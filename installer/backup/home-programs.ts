/**
 * Programs that read or write a home for a backup or a restore, each as its owner (systemd/owner-program.ts), with the limits that the
 * configuration gives that owner. The bus is spoken to when there is something to do.
 */

import { openConfigFile } from '../../config/change/in-force.ts'
import { limitsOf } from '../../config/meaning/limits.ts'
import { isUserName } from '../../config/users/names.ts'
import type { Layout } from '../../machine/layout.ts'
import { SystemBus } from '../../systemd/bus.ts'
import { type OwnerProgram, type OwnerProgramPlan, startOwnerProgram } from '../../systemd/owner-program.ts'
import { clearUnit } from '../../systemd/start-anew.ts'
import { createUnits, escapeUnitName, type Units, unitName } from '../../systemd/units.ts'
import { accountPrefix, type BackedUpAccount } from './manifest.ts'

/** Whose home it is. */
export type HomeOwner = Pick<BackedUpAccount, 'name' | 'user'>

export type HomeProgramPlan = Pick<
  OwnerProgramPlan,
  'argv' | 'folder' | 'input' | 'isFolderWritable' | 'lent' | 'mostFileBytes' | 'mostSeconds'
> & {
  /** What it does, as a word for the name of its unit. */
  task: string
}

export interface HomePrograms extends Disposable {
  /** What it writes is to be read from `stdout`. Throws `SYSTEMD_…`, `OWNER_PROGRAM`. */
  start(owner: HomeOwner, plan: HomeProgramPlan): Promise<OwnerProgram>
  /** Ends the server of that account, if it runs. */
  stopServer(owner: HomeOwner): Promise<void>
}

export function openHomePrograms(layout: Pick<Layout, 'configFile' | 'run'>): HomePrograms {
  const config = openConfigFile(layout.configFile, () => undefined).current()
  let bus: SystemBus | undefined
  const units = (): Units => {
    bus ??= new SystemBus()
    return createUnits(bus)
  }
  const shortName = ({ name }: HomeOwner) => escapeUnitName(name.slice(accountPrefix.length))
  return {
    start: (owner, { task, ...plan }) =>
      startOwnerProgram(units(), layout.run, {
        ...plan,
        name: unitName(`tljh-home-${task}-${shortName(owner)}.service`),
        description: `Home of ${owner.user}: ${task}`,
        account: owner.name,
        limits: isUserName(owner.user) ? limitsOf(config, owner.user) : config.limits,
        output: 'stream',
      }),
    stopServer: owner => clearUnit(units(), unitName(`tljh-user-${shortName(owner)}.service`)),
    [Symbol.dispose]: () => bus?.close(),
  }
}
