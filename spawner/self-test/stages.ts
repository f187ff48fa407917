/**
 * The stages of a self-test, from an account that is made to one that is gone: what a student's first minute takes of this machine.
 *
 * The server is planned as everybody's is (spawner/server/plan.ts), with the limits in force for somebody whom the configuration does not name. What
 * was begun is taken back whatever comes, and also where a self-test was killed (spawner/self-test/guest.ts).
 */
import { chmodSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { openConfigFile } from '../../config/change/in-force.ts'
import type { Config } from '../../config/meaning/config.ts'
import { limitsOf } from '../../config/meaning/limits.ts'
import { homesElsewhere } from '../../config/users/machine-accounts.ts'
import { shortUnixName, type UserName, unixName } from '../../config/users/names.ts'
import type { Layout } from '../../machine/layout.ts'
import { runProgram } from '../../machine/run-program.ts'
import { ProblemError, type ProblemText } from '../../problem.ts'
import { SystemBus } from '../../systemd/bus.ts'
import { lastLines } from '../../systemd/journal.ts'
import { clearUnit, startCleared } from '../../systemd/start-anew.ts'
import {
  createUnits,
  escapeUnitName,
  type UnitName,
  type UnitState,
  type Units,
  unitName,
} from '../../systemd/units.ts'
import { createAccounts, umaskOf } from '../accounts/ensure.ts'
import { createAccountRemoval } from '../accounts/remove.ts'
import { describeEnd } from '../server/how-it-ended.ts'
import { serverUnitName, usersJournal } from '../server/names.ts'
import { planServer, type ServerPlan } from '../server/plan.ts'
import { inviteGuest } from './guest.ts'
import { speakTo } from './jupyter-client.ts'

export interface StageResult {
  /** One word, for programs. */
  name: string
  /** What was done, for people. */
  title: string
  milliseconds: number
  /** Of the one that failed. */
  problem?: Pick<ProblemText, 'what' | 'why' | 'fix'>
}

export interface SelfTestOptions {
  layout: Layout
  /** Told at the end of each stage. */
  report: (stage: StageResult) => void
  /** Aborted: no further stage begins, and what was made is removed. */
  signal: AbortSignal
}

interface Tested {
  layout: Layout
  config: Config
  /** The group tljh-hub, by number. */
  hubGid: number
  user: UserName
  units: Units
  signal: AbortSignal
}

type RunStage = <T>(name: string, title: string, work: () => Promise<T>) => Promise<T>

const logLines = 12
const numbers = 1000
/** The answer is not in the question. */
const cell = `print(sum(n * n for n in range(${numbers})))`
const rightAnswer = String(Array.from({ length: numbers }, (_, n) => n * n).reduce((sum, square) => sum + square, 0))

/** Runs all stages. Answers whether a cell ran, and all was taken back. Throws what could not even begin. */
export async function runStages({ layout, report, signal }: SelfTestOptions): Promise<boolean> {
  const config = openConfigFile(layout.configFile, () => undefined).current()
  const hubGid = await hubGroup()
  await using bus = new SystemBus()
  const units = createUnits(bus)
  let isWell = true

  const stage: RunStage = async (name, title, work) => {
    const start = performance.now()
    const took = () => Math.round(performance.now() - start)
    try {
      const result = await work()
      report({ name, title, milliseconds: took() })
      return result
    } catch (error) {
      isWell = false
      const { what, why, fix } = problemOf(error, title)
      report({ name, title, milliseconds: took(), problem: { what, why, fix } })
      throw new StageFailed()
    }
  }
  const accountRemoval = createAccountRemoval(layout, units)
  async function takeBack(user: UserName): Promise<void> {
    await accountRemoval.remove(user)
    await clearUnit(units, mountOf(layout, user))
    rmSync(socketFolder(layout, user), { recursive: true, force: true })
  }

  try {
    await using guest = await stage('name', 'a user for the test, who is nobody else', () =>
      inviteGuest(layout, config, takeBack),
    )
    try {
      await useServer({ layout, config, hubGid, user: guest.user, units, signal }, stage)
    } finally {
      await stage('removal', 'removal of the account and its home', () => guest.remove())
    }
  } catch (error) {
    if (!(error instanceof StageFailed)) throw error
  }
  return isWell
}

/** It has been reported. */
class StageFailed extends Error {}

/** What a student does, and what happens to a student who does it. */
async function useServer(tested: Tested, stage: RunStage): Promise<void> {
  const { layout, config, hubGid, user, units, signal } = tested
  const until = <T>(work: Promise<T>) => Promise.race([work, aborted(signal)])
  // Not to be left in the middle: what is made after the removal would stay.
  const account = await stage('account', 'an account with a home', () =>
    createAccounts(() => undefined).ensure(user, { isAdmin: false, memberships: new Map() }),
  )
  const mountinfo = readFileSync('/proc/self/mountinfo', 'utf8')
  const otherHomes = config.auth.kinds.includes('pam') ? homesElsewhere(account.home) : []
  const umask = await umaskOf(account)
  const surroundings = { layout, config, hubGid, mountinfo, otherHomes, umask, hasOwnSettings: true }
  const plan = planServer(user, account, surroundings)
  await stage('server', `a server, with ${limitsInWords(limitsOf(config, user))}`, () => {
    // As the spawner makes it.
    mkdirSync(layout.userSockets, { recursive: true })
    chmodSync(layout.userSockets, 0o711)
    return until(startServer(tested, plan))
  })
  const socket = `${socketFolder(layout, user)}/socket`
  const jupyter = speakTo({ socket, user, prefix: `${config.baseUrl}user/${user}/`, signal })
  await stage('page', 'the page of JupyterLab', () => answered(tested, jupyter.open()))
  const kernel = await stage('kernel', 'a kernel', () => answered(tested, jupyter.startKernel()))
  await stage('cell', 'a cell with a sum', () => answered(tested, rightly(jupyter.run(kernel, cell))))
  await stage('stop', 'the end of the server', () => until(clearUnit(units, plan.name)))
}

async function startServer({ user, units, signal }: Tested, plan: ServerPlan): Promise<void> {
  const { name, properties, mount } = plan
  const job = await startCleared(units, { name, properties, auxiliary: [mount], isWanted: () => !signal.aborted })
  const result = (await job?.done) ?? 'canceled'
  const unit = await units.inspectUnit(name)
  if (unit?.active === 'active') return
  const [end, lines] = unit ? [describeEnd(unit), await logOf(unit)] : [undefined, '']
  throw new ProblemError('SELF_TEST_SERVER', {
    what: `The test server, ${name}, did not start`,
    why: `${end?.why ?? `systemd gives '${result}' as the reason`}${unit ? ` (Result=${unit.result})` : ''}${lines}`,
    fix: `${fixOf(unit?.result ?? '', lines)} All lines: sudo journalctl --namespace=${usersJournal} _SYSTEMD_UNIT=${name}; those of ${user} stay there`,
  })
}

/** What is most often behind it. */
function fixOf(result: string, lines: string): string {
  const complete = 'Complete the Python environment of the class, which keeps what is in it: sudo tljh-ts install.'
  if (/ModuleNotFoundError|ImportError|No such file or directory/.test(lines) || result === 'exit-code') return complete
  if (result === 'oom-kill' || result === 'signal') {
    return 'If the limit of memory is what ended it, JupyterLab needs 150 MB to start: sudo tljh-ts config set limits.memory 1G.'
  }
  if (result === 'timeout') return 'See what keeps the machine busy: top. Then try again: sudo tljh-ts self-test.'
  return 'Mend what the last lines say, and try again: sudo tljh-ts self-test.'
}

/** The work, if the server does what it should; else a problem with its last lines. */
async function answered<T>({ user, units, signal }: Tested, work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (cause) {
    if (signal.aborted) throw interrupted()
    const name = serverUnitName(unixName(user))
    const unit = await units.inspectUnit(name)
    const why = cause instanceof Error ? cause.message : String(cause)
    const end = unit?.active === 'active' ? '' : `; the server has ended (Result=${unit?.result ?? 'unknown'})`
    throw new ProblemError('SELF_TEST_ANSWER', {
      what: 'The test server runs, and does not do what it should',
      why: `${why}${end}${unit ? await logOf(unit) : ''}`,
      fix: `${fixOf('exit-code', '')} If that does not help, the lines above say what is amiss`,
      cause,
    })
  }
}

async function rightly(printed: Promise<string>): Promise<void> {
  const answer = (await printed).trim()
  if (answer !== rightAnswer) throw new Error(`the cell printed ${JSON.stringify(answer)} instead of ${rightAnswer}`)
}

async function logOf(unit: UnitState): Promise<string> {
  const lines = await lastLines({ unit, count: logLines, namespace: usersJournal }).catch(() => [])
  return lines.length ? `. Its last lines:\n${lines.map(({ text }) => `    ${text}`).join('\n')}` : ''
}

/** As spawner/server/plan.ts has it. Nobody else will ever have one of that name, so it does not stay as those of users do. */
function socketFolder({ userSockets }: Layout, user: UserName): string {
  return `${userSockets}/${shortUnixName(unixName(user))}`
}

function mountOf(layout: Layout, user: UserName): UnitName {
  return unitName(`${escapeUnitName(socketFolder(layout, user).slice(1))}.mount`)
}

function aborted(signal: AbortSignal): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>()
  const stop = () => reject(interrupted())
  if (signal.aborted) stop()
  else signal.addEventListener('abort', stop, { once: true })
  return promise
}

function interrupted(): ProblemError {
  return new ProblemError('SELF_TEST_INTERRUPTED', {
    what: 'The self-test was not ended',
    why: 'it was interrupted',
    fix: 'Start it again: sudo tljh-ts self-test',
  })
}

function problemOf(error: unknown, title: string): ProblemText {
  if (error instanceof ProblemError) return error
  return {
    what: `This did not work: ${title}`,
    why: error instanceof Error ? error.message : String(error),
    fix: 'Mend that, and try again: sudo tljh-ts self-test',
  }
}

function limitsInWords({ memory, cpu }: ReturnType<typeof limitsOf>): string {
  const amounts = [
    memory === null ? [] : [`${Math.round(memory / 1024 ** 2)} MB of memory`],
    cpu === null ? [] : [`${cpu} processors`],
  ].flat()
  return amounts.length ? `at most ${amounts.join(' and ')}` : 'no limit of memory or processors'
}

async function hubGroup(): Promise<number> {
  const { code, stdout } = await runProgram('getent', ['group', 'tljh-hub'])
  const id = Number(stdout.split(':')[2])
  if (code === 0 && Number.isInteger(id)) return id
  throw new ProblemError('SELF_TEST_NOT_INSTALLED', {
    what: 'There is nothing to test',
    why: 'this machine has no group tljh-hub, so the hub is not installed, or not completely',
    fix: 'Install it, or complete it: sudo tljh-ts install --admin NAME',
  })
}
