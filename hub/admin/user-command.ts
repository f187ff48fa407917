/**
 * `tljh-ts user`: reads the command line, and calls the verb (hub/admin/user-verbs.ts).
 */
import { join } from 'node:path'
import type { parseArgs } from 'node:util'
import { misused, readVerb, type VerbText } from '../../cli/arguments.ts'
import { Interrupted, openTerminal, type Streams } from '../../cli/terminal.ts'
import { openConfigFile } from '../../config/change/in-force.ts'
import { lockConfig } from '../../config/change/lock.ts'
import {
  carryOut,
  type Desk,
  mustBeThere,
  printProposal,
  propose,
  refuseKey,
  survey,
} from '../../config/change/proposal.ts'
import type { Services } from '../../config/change/services.ts'
import type { Layout } from '../../machine/layout.ts'
import type { Server } from '../../spawner/client/protocol.ts'
import { createAudit } from '../../systemd/audit/audit.ts'
import { usualCodeLifeMs } from '../credentials/one-time-codes.ts'
import { mustBeRootOrHub, withHubState } from '../state/as-hub.ts'
import { importRoster } from './user-import.ts'
import * as verbs from './user-verbs.ts'
import { createPeople, type Machine } from './users.ts'

export interface Surroundings {
  layout: Layout
  /** Undefined where the hub is not installed. */
  services: Services | undefined
  servers(): Promise<Server[]>
  machine: Machine
  streams: Streams
  environment: NodeJS.ProcessEnv
}

const options = {
  admin: { type: 'boolean' },
  group: { type: 'string' },
  password: { type: 'boolean' },
  expires: { type: 'string' },
  'if-unset': { type: 'boolean' },
  'dry-run': { type: 'boolean' },
  yes: { type: 'boolean' },
  sheet: { type: 'string' },
  delimiter: { type: 'string' },
  'remove-home': { type: 'boolean' },
  idle: { type: 'string' },
  all: { type: 'boolean' },
  json: { type: 'boolean' },
} as const

type Values = ReturnType<typeof parseArgs<{ options: typeof options; allowPositionals: true }>>['values']

interface Verb extends VerbText {
  options: readonly (keyof typeof options)[]
  run(desk: verbs.UserDesk, args: string[], values: Values): Promise<number>
}

const many = Number.POSITIVE_INFINITY

const known: Readonly<Record<string, Verb>> = {
  list: {
    usage: 'list [--json]',
    line: 'says who there is, who may enter, and who was last here when',
    more: '',
    count: [0, 0],
    options: ['json'],
    run: desk => verbs.list(desk),
  },
  add: {
    usage: 'add NAME… [--admin] [--group GROUP] [--password] [--expires DAYS] [--json]',
    line: 'lets people in, and makes a one-time code for each who has no password',
    more: `  --admin          as administrators
  --group GROUP    puts them into that group of the configuration, too
  --password       makes a password for each, which counts at once, instead of a code
  --expires DAYS   how long a code counts: 14 days without it`,
    count: [1, many],
    options: ['admin', 'group', 'password', 'expires', 'json'],
    run: (desk, names, { admin = false, group, password = false, expires }) =>
      verbs.add(desk, names, { isAdmin: admin, group }, { hasPassword: password, lifeMs: lifeOf(expires) }),
  },
  invite: {
    usage: 'invite NAME… [--expires DAYS] [--if-unset] [--json]',
    line: 'makes new one-time codes for people who may enter, such as those who have forgotten their password',
    more: `The password they have counts until they choose a new one. No file is touched.

  --expires DAYS   how long the code counts: 14 days without it
  --if-unset       only for those who have no password`,
    count: [1, many],
    options: ['expires', 'if-unset', 'json'],
    run: (desk, names, { expires, 'if-unset': ifUnset = false }) =>
      verbs.invite(desk, names, { lifeMs: lifeOf(expires), ifUnset }),
  },
  import: {
    usage:
      'import ROSTER.csv|- [--group GROUP] [--dry-run] [--yes] [--sheet FILE.html] [--password] [--expires DAYS] [--delimiter CHARACTER]',
    line: 'lets in everybody on a class list, after showing what will happen to each row',
    more: `The list is CSV as spreadsheets and learning platforms write it, with or without a line of headings. A user name is taken from
the column of user names, else from the e-mail address, else made of the name. The same list again changes nothing for those who are there.

  --group GROUP       puts them into that group of the configuration, too
  --dry-run           shows the table, and changes nothing
  --yes               does not ask
  --sheet FILE.html   writes a sheet to print and cut, with a slip for each; there must be no such file yet
  --password          makes passwords, which count at once, instead of one-time codes
  --expires DAYS      how long the codes count: 14 days without it
  --delimiter ;       what stands between columns, where it is not found out`,
    count: [1, 1],
    options: ['group', 'dry-run', 'yes', 'sheet', 'password', 'expires', 'delimiter'],
    run: (
      desk,
      [file = ''],
      { group, 'dry-run': isDryRun = false, yes = false, sheet, password = false, expires, delimiter },
    ) =>
      importRoster(desk, file, {
        ...{ group, isDryRun, isSure: yes, sheet, delimiter: delimiter === '\\t' ? '\t' : delimiter },
        credential: { hasPassword: password, lifeMs: lifeOf(expires) },
      }),
  },
  passwd: {
    usage: 'passwd NAME [--if-unset]',
    line: 'gives somebody a new password, read from standard input; whoever was in with the old one is out',
    more: '  --if-unset   only where there is none',
    count: [1, 1],
    options: ['if-unset'],
    run: (desk, [name = ''], { 'if-unset': ifUnset = false }) => verbs.passwd(desk, name, { ifUnset }),
  },
  rename: {
    usage: 'rename OLD NEW',
    line: 'gives somebody another name, in all lists, with password, account and files',
    more: `The server is stopped. The home moves to its new place; what programs wrote into files with its old path (environments made with venv or
conda) has to be made anew. If it is cut off, the same command completes it.`,
    count: [2, 2],
    options: [],
    run: (desk, [from = '', to = '']) => verbs.rename(desk, from, to),
  },
  disable: {
    usage: 'disable NAME…',
    line: 'shuts people out at once, and stops their servers; nothing of theirs is touched',
    more: '',
    count: [1, many],
    options: [],
    run: (desk, names) => verbs.disable(desk, names),
  },
  enable: {
    usage: 'enable NAME…',
    line: 'lets them in again',
    more: '',
    count: [1, many],
    options: [],
    run: (desk, names) => verbs.enable(desk, names),
  },
  delete: {
    usage: 'delete NAME… [--remove-home] [--dry-run] [--yes]',
    line: 'takes people out of all lists and deletes their accounts; their homes are archived',
    more: `Archives are in /opt/tljh/archives. An account is deleted after its archive was written and read back. If it is cut off, the same
command completes it.

  --remove-home   makes no archive: the files are gone
  --dry-run       says what would happen
  --yes           does not ask`,
    count: [1, many],
    options: ['remove-home', 'dry-run', 'yes'],
    run: (desk, names, { 'remove-home': removesHome = false, 'dry-run': isDryRun = false, yes = false }) =>
      verbs.depart(desk, { names }, { verb: 'delete', hasArchive: !removesHome, isDryRun, isSure: yes }),
  },
  archive: {
    usage: 'archive NAME…|--group GROUP|--idle DAYS|--all [--dry-run] [--yes]',
    line: 'the same for the end of a semester: deletes accounts, and keeps their homes as archives',
    more: `Administrators stay, unless they are named.

  --group GROUP   the members of that group of the configuration
  --idle DAYS     those who were not here for so long and whose server does not run
  --all           everybody
  --dry-run       says what would happen
  --yes           does not ask`,
    count: [0, many],
    options: ['group', 'idle', 'all', 'dry-run', 'yes'],
    run: (desk, names, { group, idle, all = false, 'dry-run': isDryRun = false, yes = false }) =>
      verbs.depart(
        desk,
        { names, group, idleDays: idle === undefined ? undefined : daysOf(idle, '--idle'), isAll: all },
        { verb: 'archive', hasArchive: true, isDryRun, isSure: yes },
      ),
  },
  'import-hashes': {
    usage: 'import-hashes',
    line: 'takes over password hashes of another hub (bcrypt), for import-tljh',
    more: `Standard input is JSON: [{"user": "ann", "hash": "$2b$12$…"}, …]. Who has a password here keeps that.`,
    count: [0, 0],
    options: [],
    run: desk => verbs.importHashes(desk),
  },
  unlink: {
    usage: 'unlink NAME',
    line: 'forgets who somebody is at another site (GitHub, a university): the next who comes from there by that name gets it',
    more: '',
    count: [1, 1],
    options: [],
    run: (desk, [name = '']) => verbs.unlink(desk, name),
  },
  'second-factor-off': {
    usage: 'second-factor-off NAME',
    line: 'switches off the second factor of somebody who has lost the device and the recovery codes',
    more: 'Be sure who it is that asks you for it.',
    count: [1, 1],
    options: [],
    run: (desk, [name = '']) => verbs.secondFactorOff(desk, name),
  },
}

/** Runs one command, and answers its exit code. Throws what is for the person as a `ProblemError`. */
export async function runUser(argv: readonly string[], surroundings: Surroundings): Promise<number> {
  const { streams, environment, layout } = surroundings
  const terminal = openTerminal(streams, environment)
  const asked = readVerb(argv, { command: 'user', verbs: known, options })
  if (typeof asked === 'string') {
    terminal.print(asked)
    return 0
  }
  const { verb, args, values } = asked
  mustBeRootOrHub(argv)
  const config = openConfigFile(layout.configFile, problem => terminal.complain(`note: ${problem.message}`))
  const audit = createAudit(problem => terminal.complain(`note: ${String(problem)}`))
  const who = environment.SUDO_USER || 'root'
  const isJson = values.json ?? false
  const stateFile = join(layout.state, 'hub.sqlite')
  const configDesk: Desk = {
    ...{ configFile: layout.configFile, services: surroundings.services, who, isJson: false, isAtOnce: false },
    terminal: isJson ? { ...terminal, print: () => undefined } : terminal,
  }
  const people = createPeople({
    config: config.current,
    change: (how, edit) => change(configDesk, how, edit),
    withState: work => withHubState(stateFile, work),
    machine: surroundings.machine,
    audit,
    who,
  })
  try {
    const { servers } = surroundings
    const withState: verbs.UserDesk['withState'] = work => withHubState(stateFile, work)
    return await verb.run({ people, config: config.current, withState, servers, terminal, isJson }, args, values)
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error
    terminal.print('\nNothing was changed.')
    return 130
  } finally {
    await audit.flush()
  }
}

/** One change of the configuration, under its lock, with its plan printed. Nothing happens where the edit changes nothing. */
async function change(desk: Desk, how: string, edit: (text: string) => string): Promise<void> {
  await using _lock = await lockConfig(desk.configFile, { who: desk.who, how: `tljh-ts ${how}` })
  const situation = await survey(desk)
  mustBeThere(situation, desk)
  const text = edit(situation.text)
  if (text === situation.text) return
  const proposal = propose(text, situation, desk)
  if (!proposal.plan) refuseKey(proposal, 'users', situation)
  printProposal(proposal, situation, desk)
  await carryOut(proposal, how, situation, desk)
}

function lifeOf(expires: string | undefined): number {
  return expires === undefined ? usualCodeLifeMs : daysOf(expires, '--expires') * 24 * 3600_000
}

function daysOf(text: string, option: string): number {
  if (/^\d{1,4}$/.test(text) && Number(text) > 0) return Number(text)
  throw misused(`${option} is ${JSON.stringify(text)}, which is no number of days`, `Write it like: ${option} 30`)
}
