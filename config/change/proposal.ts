/**
 * A change of the configuration by a command, from what is there to what is said about it afterwards:
 *
 *   survey (what is on disk, what is in force, who has a server that runs) → propose (checked, with its plan) →
 *   carry out (config/change/apply.ts)
 *
 * The caller holds the lock from before the survey until the end, so nothing that is shown is out of date when it is done.
 */
import { readFileSync } from 'node:fs'
import type { Terminal } from '../../cli/terminal.ts'
import { ProblemError } from '../../problem.ts'
import { type Config, configIn, endpointsOf, parseConfig, type Reading, readConfig } from '../meaning/config.ts'
import { checkMachine, factsOfMachine, type MachineFacts } from '../meaning/machine-checks.ts'
import type { Plain } from '../text/edit.ts'
import { type Finding, hasErrors, showFinding, sortFindings, visible } from '../text/findings.ts'
import type { ConfigText } from '../text/read.ts'
import { maskedKeys, maskSecrets } from '../text/show.ts'
import { applyConfig } from './apply.ts'
import { newestGood, type Version, versions } from './history.ts'
import { type Plan, planChange, type RunningServer } from './plan.ts'
import type { Services } from './services.ts'
import { showPlan } from './show.ts'

/** What every command works with. */
export interface Desk {
  configFile: string
  services: Services | undefined
  /** Who called the command, for the history. */
  who: string
  terminal: Terminal
  /** For a program: results are printed as JSON, and nothing else is. */
  isJson: boolean
  /** Limits count now, whatever a server uses. */
  isAtOnce: boolean
}

export interface Situation {
  /** Of the file on disk; empty where there is none. */
  bytes: Buffer
  text: string
  onDisk: Reading
  inForce: Config
  running: readonly RunningServer[]
  /** Undefined where they do not answer. */
  services: Services | undefined
  machine: MachineFacts
}

export interface CheckedChange {
  text: string
  /** Undefined where the text alone has an error, whatever the machine is like. */
  config: Config | undefined
  /** Of the text, with the errors first. */
  findings: Finding[]
  /** Undefined where a finding is an error. */
  plan: Plan | undefined
}

export async function survey({ configFile, services, terminal }: Desk): Promise<Situation> {
  const bytes = readBytesOf(configFile)
  const text = bytes.toString('utf8')
  const onDisk = readConfig(bytes)
  const inForce = (bytes.length ? onDisk.config : undefined) ?? newestGood(configFile) ?? parseConfig('')
  const machine = factsOfMachine(configFile, endpointsOf(inForce))
  try {
    const running = (await services?.status())?.running ?? []
    return { bytes, text, onDisk, inForce, running, services, machine }
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error
    terminal.complain(`note: the services do not answer (${error.why}), so a change counts when they run again`)
    return { bytes, text, onDisk, inForce, running: [], services: undefined, machine }
  }
}

/**
 * For commands that change a part of the file: it must not be that the rest of it is what was lost. Throws `CONFIG_GONE`.
 */
export function mustBeThere({ bytes }: Situation, { configFile }: Desk): void {
  const newest = versions(configFile).at(-1)
  if (bytes.length || !newest) return
  throw new ProblemError('CONFIG_GONE', {
    what: `${configFile} is empty or not there, though it was`,
    why: 'a change of it now would lose everything else',
    fix: 'Put the newest version back with: sudo tljh-ts config rollback',
  })
}

/** Checks a text, here and now, and says what it would do. Nothing is changed. `reading` is of that text, where somebody has read it before. */
export function propose(
  source: string | Uint8Array,
  { inForce, running, machine }: Pick<Situation, 'inForce' | 'running' | 'machine'>,
  { isAtOnce }: Pick<Desk, 'isAtOnce'>,
  reading: Reading = readConfig(source),
): CheckedChange {
  const text = typeof source === 'string' ? source : Buffer.from(source).toString('utf8')
  const { read, config } = reading
  const own = [...emptyFindings(read), ...maskFindings(read), ...(config ? checkMachine(read, machine) : [])]
  const findings = sortFindings([...reading.findings, ...own])
  const plan = config && !hasErrors(own) ? planChange(inForce, config, running, { isAtOnce }) : undefined
  return { text, config, findings, plan }
}

/** What is empty is most often the output of something that failed, and the services do not take it (config/change/in-force.ts). */
function emptyFindings({ text, findings, finding }: ConfigText): Finding[] {
  if (text !== '' || findings.length > 0) return []
  return [
    finding('error', [], {
      what: 'The file is empty',
      why: 'that is most often a mistake, and would lock everybody out',
      fix: 'Write {} for a configuration in which nothing is set',
    }),
  ]
}

/** What was printed with its secrets masked must not come back as if the mask were the secret. */
function maskFindings({ content, finding }: ConfigText): Finding[] {
  return maskedKeys(content as Plain).map(key =>
    finding('error', key.split('.'), {
      what: `${key} is a mask, not the secret`,
      why: 'the file was made from what was shown without --secrets',
      fix: 'Write the secret itself, or begin with: sudo tljh-ts config show --secrets',
    }),
  )
}

/** Prints the findings with the lines around them. */
export function printFindings(findings: readonly Finding[], text: string, file: string, terminal: Terminal): void {
  const shown = maskSecrets(text)
  for (const finding of findings) {
    const lines = showFinding(finding, shown, file).split('\n')
    // A key may hold anything, too.
    terminal.complain(`${lines.map(visible).join('\n')}\n`)
  }
}

/** Prints the warnings that the text before did not have, and what the change does. */
export function printProposal({ findings, plan, text }: CheckedChange, situation: Situation, desk: Desk): void {
  const known = new Set(situation.onDisk.findings.map(({ what }) => what))
  const added = findings.filter(({ what }) => !known.has(what))
  printFindings(added, text, desk.configFile, desk.terminal)
  if (plan && !desk.isJson) desk.terminal.print(showPlan(plan))
}

/** Brings the proposal into force, and says how to go back. Answers the exit code. */
export async function carryOut(
  proposal: CheckedChange,
  how: string,
  situation: Situation,
  desk: Desk,
): Promise<number> {
  const { configFile, who, terminal, isAtOnce, isJson } = desk
  const { text, plan } = proposal
  const config = configIn(proposal)
  const added = await applyConfig(
    { text, config, who, how: shortened(how), isAtOnce },
    { configFile, services: situation.services },
  )
  const back = versionBefore(versions(configFile), added)
  if (isJson) {
    const result = { changed: true, version: added.number, previous: back?.number ?? null, plan: plan?.lines ?? [] }
    terminal.print(JSON.stringify(result, null, 2))
    return 0
  }
  const state = situation.services ? 'In force now' : 'Written'
  terminal.print(`${state}: version ${added.number}.`)
  if (back) terminal.print(`To go back: sudo tljh-ts config rollback ${back.number}`)
  return 0
}

/** A message of many lines may have been set. */
function shortened(how: string): string {
  return how.length <= 120 ? how : `${how.slice(0, 120)}…`
}

export function nothingToDo(why: string, { terminal, isJson }: Desk): number {
  terminal.print(isJson ? JSON.stringify({ changed: false, reason: why }, null, 2) : `Nothing to do: ${why}.`)
  return 0
}

/** The newest version before `version` that is another one. */
export function versionBefore(
  known: readonly Version[],
  version: Pick<Version, 'number' | 'text'>,
): Version | undefined {
  return known.findLast(({ number, text }) => number < version.number && text !== version.text)
}

/** For a command that was given a whole text: says what is wrong with it. Answers the exit code. */
export function refuse({ findings, text }: CheckedChange, file: string, { terminal, isJson }: Desk): number {
  if (isJson) terminal.print(JSON.stringify({ changed: false, findings }, null, 2))
  printFindings(findings, text, file, terminal)
  const count = findings.filter(({ severity }) => severity === 'error').length
  terminal.complain(`Nothing was changed: ${count === 1 ? 'there is one error' : `there are ${count} errors`}.`)
  return 1
}

/**
 * For a command that changed one key: what is wrong is wrong with the key and value that were typed, or was wrong in the file
 * before. Throws `CONFIG_INVALID`.
 */
export function refuseKey({ findings }: CheckedChange, key: string, situation: Situation): never {
  const before = situation.onDisk.findings
  const errors = findings.filter(({ severity }) => severity === 'error')
  const mine = errors.find(({ what }) => !before.some(known => known.what === what))
  const worst = mine ?? errors[0]
  if (mine || !hasErrors(before) || !worst) {
    throw new ProblemError('CONFIG_INVALID', {
      what: `${key} was not changed: ${worst?.what ?? 'the configuration would not be valid'}`,
      why: worst?.why ?? 'no reason is known',
      fix: worst?.fix ?? 'See: sudo tljh-ts config validate',
    })
  }
  throw new ProblemError('CONFIG_INVALID', {
    what: `${key} was not changed: the file on disk is not valid, ${worst.what} (line ${worst.line})`,
    why: worst.why,
    fix: `${worst.fix}; mend it with: sudo tljh-ts config edit`,
  })
}

/** Empty where there is no file. Throws `CONFIG_UNREADABLE`. */
export function readBytesOf(file: string): Buffer {
  try {
    return readFileSync(file)
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return Buffer.alloc(0)
    throw new ProblemError('CONFIG_UNREADABLE', {
      what: `${file} could not be read`,
      why: cause instanceof Error ? cause.message : String(cause),
      fix: 'See whether it is a file, and whether the disk is in order',
      cause,
    })
  }
}
