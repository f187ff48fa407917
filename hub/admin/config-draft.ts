/**
 * A configuration that an administrator is writing in the browser: its text, what it was made from, and what is said of it.
 *
 * It is checked and planned by the same code as `tljh-ts config edit` (config/change/proposal.ts). What the hub says here is for the
 * person alone: the spawner, who writes the file, checks everything again.
 */

import type { ConfigFile } from '../../config/change/in-force.ts'
import { propose, readBytesOf } from '../../config/change/proposal.ts'
import { type Config, endpointsOf, versionOf } from '../../config/meaning/config.ts'
import { factsOfMachine } from '../../config/meaning/machine-checks.ts'
import { type Finding, hasErrors } from '../../config/text/findings.ts'
import { showDiff } from '../../config/text/show.ts'
import type { SpawnerClient } from '../../spawner/client/client.ts'

export interface Draft {
  text: string
  /** The version (config/meaning/config.ts) of the file that it was made from. */
  baseVersion: string
  isAtOnce: boolean
}

export interface Examination {
  /** The file as it is now. */
  onDisk: { text: string; version: string }
  /** The worst first. */
  findings: Finding[]
  isValid: boolean
  /** Like `diff -u` from the file as it is now, without its head. Empty where nothing differs. */
  diff: string
  /** What it does, in sentences without a full stop; empty where nobody notices anything, or it is not valid. */
  plan: string[]
  /** Whether some servers use more than they may, so that it has to be asked whether limits count at once. */
  hasLater: boolean
  /** Whether the hub itself moves, so that this page loses it. */
  moves: { port: number; baseUrl: string } | undefined
  /** Whether somebody has changed the file since the draft was begun. */
  isStale: boolean
}

export interface ExaminationNeeds {
  config: ConfigFile
  /** The path of the file itself. */
  configFile: string
  spawner: Pick<SpawnerClient, 'services'>
}

/** Throws `CONFIG_UNREADABLE`. */
export function readOnDisk({ configFile }: Pick<ExaminationNeeds, 'configFile'>): Examination['onDisk'] {
  const bytes = readBytesOf(configFile)
  return { text: bytes.toString('utf8'), version: versionOf(bytes) }
}

/** Throws `CONFIG_UNREADABLE`. */
export async function examine(draft: Draft, around: ExaminationNeeds): Promise<Examination> {
  const onDisk = readOnDisk(around)
  const { services } = around.spawner
  const running = await services.status().then(
    status => status.running,
    () => undefined,
  )
  const inForce = around.config.current()
  const situation = {
    bytes: Buffer.from(onDisk.text),
    text: onDisk.text,
    inForce,
    running: running ?? [],
    services,
    machine: factsOfMachine(around.configFile, endpointsOf(inForce)),
  }
  const { config, findings, plan } = propose(draft.text, situation, draft)
  const isMoving = plan?.addressChanges || plan?.baseUrlChanges
  return {
    onDisk,
    findings,
    isValid: plan !== undefined && !hasErrors(findings),
    diff: difference(onDisk.text, draft.text),
    plan: plan ? [...plan.lines, ...(running ? [] : [unknownServers])] : [],
    hasLater: plan !== undefined && plan.limitsLater.length > 0,
    moves: config && isMoving ? newPlace(config) : undefined,
    isStale: onDisk.version !== draft.baseVersion,
  }
}

const unknownServers = 'what it does to servers that run is not known: the service that starts them does not answer'

/** The lines that differ, without the names of the two files. */
export function difference(before: string, after: string): string {
  const names = { from: 'before', to: 'after', hasColour: false }
  return showDiff(before, after, names).replace(/^--- .*\n\+\+\+ .*\n/, '')
}

/**
 * What a browser sent, with the line endings of the file: a text field has line feeds, and a form sends it with carriage
 * returns before them.
 */
export function textFromForm(sent: string, onDisk: string): string {
  const text = sent.replace(/\r\n?/g, '\n')
  return onDisk.includes('\r\n') ? text.replaceAll('\n', '\r\n') : text
}

function newPlace({ http, baseUrl }: Config): Examination['moves'] {
  return { port: (http.tls ?? http).port, baseUrl }
}
