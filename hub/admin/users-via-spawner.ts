/**
 * The people's work (hub/admin/users.ts) as the hub itself can do it: the database is its own, the configuration is written by the spawner in the
 * administrator's name, and of the machine it has the spawner's verbs and nothing else.
 */
import type { DatabaseSync } from 'node:sqlite'
import type { ConfigFile } from '../../config/change/in-force.ts'
import { type UserName, unixName } from '../../config/users/names.ts'
import { runProgram } from '../../machine/run-program.ts'
import { ProblemError } from '../../problem.ts'
import type { SpawnerClient } from '../../spawner/client/client.ts'
import type { Audit } from '../../systemd/audit/audit.ts'
import { readOnDisk } from './config-draft.ts'
import { createPeople, type Machine, type People } from './users.ts'

export interface ProposalNeeds {
  config: ConfigFile
  /** The path of the file itself. */
  configFile: string
  /** Who writes it. */
  spawner: Pick<SpawnerClient, 'propose' | 'services' | 'archive'>
  db: DatabaseSync
  audit: Audit
}

export function peopleFor(hub: ProposalNeeds, admin: UserName): People {
  const { config, db, spawner, audit } = hub
  return createPeople({
    config: config.current,
    change: (how, edit) => proposeEdit(hub, admin, how, edit),
    withState: async <Result>(work: (state: DatabaseSync) => Result | Promise<Result>) => work(db),
    machine: machineBehind(spawner),
    audit,
    who: admin,
  })
}

/** Edits the file as it is now. Throws what the spawner refuses it for. */
export async function proposeEdit(
  hub: Pick<ProposalNeeds, 'configFile' | 'spawner'>,
  admin: UserName,
  how: string,
  edit: (text: string) => string,
): Promise<void> {
  const { text: before, version: baseVersion } = readOnDisk(hub)
  const text = edit(before)
  if (text !== before) await hub.spawner.propose({ admin, text, baseVersion, isAtOnce: false, how })
}

function machineBehind(spawner: ProposalNeeds['spawner']): Machine {
  return {
    archive: user => spawner.archive(user),
    remove: () =>
      Promise.reject(onMachineOnly('An account is deleted without an archive', 'user delete NAME --remove-home')),
    isKnown: async user => (await runProgram('getent', ['passwd', unixName(user)])).code === 0,
    renamings: {
      begun: () => undefined,
      begin() {
        throw onMachineOnly('Somebody is renamed', 'user rename OLD NEW')
      },
      carryOut: () => Promise.reject(onMachineOnly('Somebody is renamed', 'user rename OLD NEW')),
      end: () => undefined,
    },
  }
}

function onMachineOnly(what: string, command: string): ProblemError {
  return new ProblemError('ON_MACHINE_ONLY', {
    what: `${what} on the machine alone`,
    why: 'the hub, which faces the internet, has no power to do it',
    fix: `Do it there: sudo tljh-ts ${command}`,
  })
}
