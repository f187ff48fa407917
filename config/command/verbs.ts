/**
 * What the verbs of `tljh-ts config` do, but for `edit` (config/command/edit.ts). Each answers the exit code: 0 done or nothing to do,
 * 1 a problem, 2 (`apply --dry-run`) something would change.
 *
 * What writes takes the lock first, and goes through config/change/proposal.ts. Texts on standard output are for people, unless JSON
 * was asked for.
 */
import { stringify } from 'yaml'
import { Interrupted } from '../../cli/terminal.ts'
import { ProblemError } from '../../problem.ts'
import { type Version, version, versions } from '../change/history.ts'
import { lockConfig } from '../change/lock.ts'
import {
  carryOut,
  type Desk,
  mustBeThere,
  nothingToDo,
  printFindings,
  printProposal,
  propose,
  readBytesOf,
  refuse,
  refuseKey,
  type Situation,
  survey,
} from '../change/proposal.ts'
import { showLog, showPlan, showTime } from '../change/show.ts'
import { readConfig, versionOf } from '../meaning/config.ts'
import { referenceText } from '../schema/reference.ts'
import { defaultAt, schema, schemaAt } from '../schema/schema.ts'
import { addItem, contentOf, type Path, removeItem, setKey, unsetKey, valueAt } from '../text/edit.ts'
import { hasErrors } from '../text/findings.ts'
import { parseItem, parseKey, parseValue } from '../text/keys.ts'
import { readConfigText } from '../text/read.ts'
import { effective, effectiveText, mask, maskSecrets, showDiff } from '../text/show.ts'

export interface ShowOptions {
  isEffective: boolean
  hasSecrets: boolean
  number: number | undefined
}

export function show(desk: Desk, { isEffective, hasSecrets, number }: ShowOptions): number {
  const { configFile, terminal, isJson } = desk
  const text = number === undefined ? readBytesOf(configFile).toString('utf8') : version(configFile, number).text
  if (!hasSecrets) mustBeYaml(text)
  const shown = hasSecrets ? text : maskSecrets(text)
  if (isJson) terminal.print(JSON.stringify(isEffective ? effective(contentOf(shown)) : contentOf(shown), null, 2))
  else terminal.print(isEffective ? effectiveText(contentOf(shown)) : shown)
  return 0
}

export function get(desk: Desk, key: string, { hasSecrets }: Pick<ShowOptions, 'hasSecrets'>): number {
  const { configFile, terminal, isJson } = desk
  const path = parseKey(key)
  const text = readBytesOf(configFile).toString('utf8')
  const content = contentOf(hasSecrets ? text : maskSecrets(text))
  const value = valueAt(content, path) ?? defaultAt(path)
  if (value === mask) {
    throw new ProblemError('CONFIG_SECRET', {
      what: `${key} is not shown`,
      why: 'it is a secret',
      fix: `If nobody looks over your shoulder: sudo tljh-ts config get ${key} --secrets`,
    })
  }
  if (value === undefined) {
    throw new ProblemError('CONFIG_NOT_SET', {
      what: `${key} has no value`,
      why: 'it is not set in the file, and has no default',
      fix: 'See what is set with: sudo tljh-ts config show',
    })
  }
  if (isJson) terminal.print(JSON.stringify(value, null, 2))
  else if (value === null) terminal.print('none')
  else terminal.print(typeof value === 'object' ? stringify(value, { lineWidth: 0 }) : String(value))
  return 0
}

export function set(desk: Desk, key: string, value: string): Promise<number> {
  const path = parseKey(key)
  const parsed = parseValue(value, path)
  const isSecret = schemaAt(path)?.secret === true
  return changeKey(desk, `set ${key}${isSecret ? '' : ` ${value}`}`, path, text => setKey(text, path, parsed))
}

export function unset(desk: Desk, key: string): Promise<number> {
  const path = parseKey(key)
  return changeKey(desk, `unset ${key}`, path, text => unsetKey(text, path))
}

export function addItemTo(desk: Desk, key: string, value: string): Promise<number> {
  const path = parseKey(key)
  const item = parseItem(value, path)
  return changeKey(desk, `add-item ${key} ${value}`, path, text => addItem(text, path, item), `${value} is in ${key}`)
}

export function removeItemFrom(desk: Desk, key: string, value: string): Promise<number> {
  const path = parseKey(key)
  const item = parseItem(value, path)
  return changeKey(desk, `remove-item ${key} ${value}`, path, text => removeItem(text, path, item))
}

/** `state` says how it is where there is nothing to do. */
async function changeKey(
  desk: Desk,
  how: string,
  path: Path,
  edit: (text: string) => string,
  state = `${path.join('.')} has that value`,
): Promise<number> {
  await using _lock = await lock(desk, how)
  const situation = await survey(desk)
  mustBeThere(situation, desk)
  const text = edit(situation.text)
  if (text === situation.text) return nothingToDo(`${state} already`, desk)
  const proposal = propose(text, situation, desk)
  if (!proposal.plan) return refuseKey(proposal, path.join('.'), situation)
  printProposal(proposal, situation, desk)
  return await carryOut(proposal, how, situation, desk)
}

/** `file` is undefined for the file on disk, and `-` for standard input. */
export async function validate(desk: Desk, file: string | undefined): Promise<number> {
  const { terminal, isJson } = desk
  const name = nameOfFile(file ?? desk.configFile)
  const bytes = await readGiven(file ?? desk.configFile, desk)
  const situation = await survey({ ...desk, services: undefined })
  const known = bytes.equals(situation.bytes) ? situation.onDisk : undefined
  const { findings } = propose(bytes, situation, desk, known)
  const isValid = !hasErrors(findings)
  if (isJson) terminal.print(JSON.stringify({ valid: isValid, findings }, null, 2))
  else printFindings(findings, bytes.toString('utf8'), name, terminal)
  if (!isJson && isValid) terminal.print(`${name} is valid${findings.length ? ', with remarks' : ''}.`)
  if (!isJson && !isValid) terminal.complain(`${name} is not valid.`)
  return isValid ? 0 : 1
}

export interface ApplyOptions {
  isDryRun: boolean
  /** Nobody is asked. */
  isSure: boolean
}

export async function apply(desk: Desk, file: string, { isDryRun, isSure }: ApplyOptions): Promise<number> {
  const bytes = await readGiven(file, desk)
  const name = nameOfFile(file)
  if (isDryRun) {
    const situation = await survey(desk)
    const proposal = propose(bytes, situation, desk)
    if (!proposal.plan) return refuse(proposal, name, desk)
    const changes = !bytes.equals(situation.bytes)
    if (!changes) return nothingToDo('the file on disk is the same', desk)
    if (desk.isJson) desk.terminal.print(JSON.stringify({ wouldChange: true, plan: proposal.plan.lines }, null, 2))
    else preview(situation, proposal.text, name, desk)
    printProposal(proposal, situation, desk)
    return 2
  }
  return bring(desk, bytes, { name, how: `apply ${name}`, isSure })
}

export async function rollback(
  desk: Desk,
  number: number | undefined,
  { isSure }: Pick<ApplyOptions, 'isSure'>,
): Promise<number> {
  const found = number === undefined ? previous(desk) : version(desk.configFile, number)
  return bring(desk, Buffer.from(found.text), {
    name: `version ${found.number}`,
    how: `rollback ${found.number}`,
    isSure,
  })
}

interface Bringing {
  name: string
  how: string
  isSure: boolean
}

/** Brings a whole text into force, after asking where there is somebody to be asked. */
async function bring(desk: Desk, bytes: Buffer, { name, how, isSure }: Bringing): Promise<number> {
  await using _lock = await lock(desk, how)
  const situation = await survey(desk)
  if (bytes.equals(situation.bytes)) return nothingToDo('the file on disk is the same', desk)
  const proposal = propose(bytes, situation, desk)
  if (!proposal.plan) return refuse(proposal, name, desk)
  if (!desk.isJson) preview(situation, proposal.text, name, desk)
  printProposal(proposal, situation, desk)
  if (!isSure && !desk.isJson && desk.terminal.isInteractive) {
    try {
      if ((await desk.terminal.ask('Apply?', ['yes', 'no'])) !== 'y') return discarded(desk)
    } catch (error) {
      if (!(error instanceof Interrupted)) throw error
      desk.terminal.print('')
      discarded(desk)
      return 130
    }
  }
  return await carryOut(proposal, how, situation, desk)
}

function preview(situation: Situation, text: string, name: string, { configFile, terminal }: Desk): void {
  terminal.print(showDiff(situation.text, text, { from: configFile, to: name, hasColour: terminal.hasColour }))
}

function discarded({ terminal }: Desk): number {
  terminal.print('Nothing was changed.')
  return 0
}

/** The newest version that is valid today and is not what is on the disk. */
function previous({ configFile }: Desk): Version {
  const text = readBytesOf(configFile).toString('utf8')
  const found = versions(configFile).findLast(one => one.text !== text && readConfig(one.text).config)
  if (found) return found
  throw new ProblemError('CONFIG_NO_VERSION', {
    what: 'There is nothing to go back to',
    why: 'the history has no other version that is valid',
    fix: 'See what there is with: sudo tljh-ts config log',
  })
}

/** The file on disk against a version, or against the newest. */
export function diff(desk: Desk, number: number | undefined): number {
  const { configFile, terminal, isJson } = desk
  const text = readBytesOf(configFile).toString('utf8')
  const other = number === undefined ? versions(configFile).at(-1) : version(configFile, number)
  if (!other) return nothingToDo('the history is empty', desk)
  const from = `version ${other.number} (${other.who}, ${showTime(other.time)}, ${other.how})`
  const lines = showDiff(other.text, text, { from, to: configFile, hasColour: terminal.hasColour && !isJson })
  if (isJson) terminal.print(JSON.stringify({ version: other.number, same: lines === '', diff: lines }, null, 2))
  else terminal.print(lines || `${configFile} is the same as ${from}.`)
  return 0
}

export function log({ configFile, terminal, isJson }: Desk): number {
  const known = versions(configFile)
  if (isJson) {
    const shown = known.map(({ number, time, who, how, text }) => {
      return { number, time: new Date(time).toISOString(), who, how, version: versionOf(text) }
    })
    terminal.print(JSON.stringify(shown, null, 2))
  } else {
    terminal.print(showLog(known, readBytesOf(configFile).toString('utf8')) || 'The history is empty.')
  }
  return 0
}

/** Brings what was edited by hand into force, and into the history. */
export async function reload(desk: Desk): Promise<number> {
  await using _lock = await lock(desk, 'reload')
  const { configFile, terminal } = desk
  const situation = await survey(desk)
  const newest = versions(configFile).at(-1)
  const good = newest && readConfig(newest.text).config
  // The services look at the file by themselves; what they did before it was edited is in the newest version.
  const before = good ? { ...situation, inForce: good } : situation
  const proposal = propose(situation.bytes, before, desk, situation.onDisk)
  if (!proposal.plan) return refuse(proposal, configFile, desk)
  if (newest?.text === situation.text && (await isTaken(situation))) {
    return nothingToDo(`version ${newest.number} is the file on disk, and is in force`, desk)
  }
  printFindings(proposal.findings, proposal.text, configFile, terminal)
  if (!desk.isJson) terminal.print(showPlan(proposal.plan))
  return await carryOut(proposal, 'reload', situation, desk)
}

async function isTaken({ services, bytes }: Situation): Promise<boolean> {
  if (!services) return true
  const { spawner, hub } = await services.status()
  const wanted = versionOf(bytes)
  return spawner === wanted && hub === wanted
}

export function showSchema({ terminal }: Desk, isMarkdown: boolean): number {
  terminal.print(isMarkdown ? referenceText() : JSON.stringify(schema, null, 2))
  return 0
}

function lock({ configFile, who }: Desk, how: string): Promise<AsyncDisposable> {
  return lockConfig(configFile, { who, how: `tljh-ts config ${how}` })
}

function nameOfFile(file: string): string {
  return file === '-' ? 'standard input' : file
}

async function readGiven(file: string, { configFile, terminal }: Desk): Promise<Buffer> {
  if (file === '-') return terminal.read()
  const bytes = readBytesOf(file)
  // No file of their own is a machine on which nothing is set; a file that somebody named must be there.
  if (bytes.length || file === configFile) return bytes
  throw new ProblemError('CONFIG_UNREADABLE', {
    what: `${file} was not read`,
    why: 'it is not there, or has nothing in it',
    fix: 'Check its name',
  })
}

/** Where secrets cannot be told from the rest. */
function mustBeYaml(text: string): void {
  const broken = readConfigText(text).findings.find(({ key, severity }) => key === '' && severity === 'error')
  if (!broken) return
  throw new ProblemError('CONFIG_NOT_YAML', {
    what: `The file is not shown: ${broken.what} (line ${broken.line})`,
    why: 'so it cannot be told which parts of it are secret',
    fix: 'Show it as it is with --secrets, or mend it with: sudo tljh-ts config edit',
  })
}
