/**
 * Bringing a configuration into force, as one transaction:
 *
 *   what is in force is in the history → the new one is in the history → the file is replaced (from here on it counts) →
 *   hub and spawner are told → both say that they run it → the login page answers where the new one says
 *
 * If anything after the replacement fails, the file before is put back, both are told again, and the reason is given. A
 * process that is killed on the way leaves one whole file, the old or the new: both services look at the file whenever
 * they need it, so they agree with it in any case.
 */
import { readFileSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { setTimeout as delay } from 'node:timers/promises'
import { replaceFile } from '../../machine/replace-file.ts'
import { isDiskFull, ProblemError } from '../../problem.ts'
import { type Config, readConfig, versionOf } from '../meaning/config.ts'
import { fromHere } from '../meaning/hub-address.ts'
import { addVersion, prune, removeVersion, type Version, versions } from './history.ts'
import type { Services } from './services.ts'

export interface Change {
  text: string
  /** What the text means. */
  config: Config
  /** The administrator, or the account that called the command. */
  who: string
  /** What is done, such as `edit`, for the history. */
  how: string
  isAtOnce?: boolean
}

export interface ApplyOptions {
  configFile: string
  /** Undefined where neither runs: during an installation. */
  services: Services | undefined
  /** Whether the login page is asked for, too; the spawner cannot, because it has no network. */
  checksPage?: boolean
  /** How long hub and spawner may take; 15 seconds if not given. */
  timeoutMs?: number
}

const pauseMs = 25

/**
 * Applies a valid text; the caller holds the lock (config/change/lock.ts) and has shown the plan. Answers the version in force.
 * Throws `CONFIG_NOT_WRITTEN` or `CONFIG_NOT_APPLIED`, and then the one before is in force.
 */
export async function applyConfig(change: Change, options: ApplyOptions): Promise<Version> {
  const { configFile, services, checksPage = true, timeoutMs = 15_000 } = options
  const { config } = change
  const before = readIfThere(configFile)
  const isNew = before === undefined || versionOf(before) !== config.version
  const known = versions(configFile).at(-1)?.number
  const added = write(configFile, () => {
    if (isNew) keepWhatIsInForce(configFile, before)
    const version = inHistory(configFile, change)
    try {
      if (isNew) replaceFile(configFile, change.text)
    } catch (error) {
      // It was never in force, and must not be what is fallen back on.
      if (version.number !== known) removeVersion(configFile, version.number)
      throw error
    }
    return version
  })
  try {
    const deadline = Date.now() + timeoutMs
    if (services) await taken(services, config, { isAtOnce: change.isAtOnce ?? false, checksPage, deadline })
  } catch (cause) {
    // A file that was edited by hand and is only now looked at has no 'before' but in the history.
    await putBack(isNew ? before : lastOther(configFile, config.version), { ...change, added }, options)
    throw new ProblemError('CONFIG_NOT_APPLIED', {
      what: 'The new configuration was not kept; the one before is in force again',
      why: cause instanceof ProblemError ? `${cause.what}: ${cause.why}` : String(cause),
      fix: cause instanceof ProblemError ? cause.fix : 'See: sudo journalctl -u tljh-hub -u tljh-spawner',
      cause,
    })
  }
  prune(configFile, config.historyLength)
  return added
}

interface Taking {
  isAtOnce: boolean
  checksPage: boolean
  /** Milliseconds since 1970. */
  deadline: number
}

/** Waits until both run it and the login page answers. Throws `CONFIG_NOT_TAKEN`. */
async function taken(services: Services, config: Config, { isAtOnce, checksPage, deadline }: Taking): Promise<void> {
  await services.reload({ isAtOnce })
  let behind = 'the hub'
  for (;;) {
    // A hub that moves is away for a moment, and so is what it last said.
    const { spawner, hub } = await services.status()
    behind = spawner === config.version ? 'the hub' : 'the spawner'
    if (spawner === config.version && hub === config.version) {
      const answer = checksPage ? await loginPage(config) : 200
      // With hosts for users, an address without a name leads to the hub's.
      if (answer === 200 || (config.userDomains !== '' && answer === 302)) return
      behind = `the login page (${answer})`
    }
    if (Date.now() > deadline) break
    await delay(pauseMs)
  }
  throw new ProblemError('CONFIG_NOT_TAKEN', {
    what: `${behind} did not take the new configuration in time`,
    why: 'it is busy, or the configuration keeps it from starting',
    fix: 'See: sudo journalctl -u tljh-hub -u tljh-spawner',
  })
}

/** The status of the login page, as a browser would ask for it; or why there is none. */
function loginPage({ http, baseUrl }: Config): Promise<number | string> {
  const options = { ...fromHere(http.tls ?? http), path: `${baseUrl}hub/login`, agent: false, timeout: 2_000 }
  return new Promise(resolve => {
    const onAnswer = (answer: IncomingMessage) => {
      answer.resume()
      resolve(answer.statusCode ?? 0)
    }
    // Which certificate there is, and for which name, is not asked here.
    const asked = http.tls
      ? httpsRequest({ ...options, rejectUnauthorized: false }, onAnswer)
      : request(options, onAnswer)
    asked.on('timeout', () => asked.destroy(new Error('it does not answer')))
    asked.on('error', error => resolve(error.message))
    asked.end()
  })
}

async function putBack(
  before: Uint8Array | undefined,
  { who, how, added }: Change & { added: Version },
  options: ApplyOptions,
): Promise<void> {
  const { configFile, services } = options
  const content = before ?? new Uint8Array()
  const text = decoded(content)
  try {
    if (text !== undefined) inHistory(configFile, { who, how: `put back, because '${how}' failed`, text })
    replaceFile(configFile, content)
  } catch (error) {
    if (!isDiskFull(error)) throw error
    // Nothing needs the version that was not kept, and its room is enough.
    removeVersion(configFile, added.number)
    replaceFile(configFile, content)
  }
  const { config } = readConfig(content)
  if (!services || !config) return
  // The first failure is what is reported; that this worked is seen in `status`.
  const taking = { isAtOnce: false, checksPage: false, deadline: Date.now() + 5_000 }
  await taken(services, config, taking).catch(() => undefined)
}

/** The version with that text, which is added where the newest is another. */
function inHistory(configFile: string, { who, how, text }: Omit<Change, 'isAtOnce' | 'config'>): Version {
  const newest = versions(configFile).at(-1)
  if (newest?.text === text) return newest
  return addVersion(configFile, { time: Date.now(), who, how, text })
}

/** What was edited by hand, or stems from before the history, can be had back as well. What is no text cannot. */
function keepWhatIsInForce(configFile: string, content: Uint8Array | undefined): void {
  const text = content && decoded(content)
  if (text !== undefined) inHistory(configFile, { who: 'somebody', how: 'edited by hand', text })
}

/** The newest that is valid and not this one. */
function lastOther(configFile: string, version: string): Uint8Array | undefined {
  const good = versions(configFile).findLast(({ text }) => versionOf(text) !== version && readConfig(text).config)
  return good && Buffer.from(good.text)
}

function readIfThere(file: string): Uint8Array | undefined {
  try {
    return readFileSync(file)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

function decoded(content: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(content)
  } catch {
    return undefined
  }
}

function write<Result>(configFile: string, work: () => Result): Result {
  try {
    return work()
  } catch (cause) {
    const isFull = isDiskFull(cause)
    throw new ProblemError('CONFIG_NOT_WRITTEN', {
      what: 'The configuration was not changed',
      why: isFull
        ? `there is no room left on the disk of ${configFile}`
        : cause instanceof Error
          ? cause.message
          : String(cause),
      fix: isFull
        ? 'Make room, and try again. Which disk is full, and whose files are the biggest: sudo tljh-ts status'
        : 'See whether the disk is in order: sudo tljh-ts status. Nothing is half done',
      cause,
    })
  }
}
