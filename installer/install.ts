/**
 * `tljh-ts install`: puts this version in force on a machine where it lies at its place (PREFIX/hub/versions/X.Y.Z).
 *
 * First it is found out whether that can be, without a change. Then the steps follow in order, each of which makes what is missing and
 * nothing else, so the same command goes on where one was cut off, and does nothing to what is whole. It touches no home, and of a
 * configuration that is there it changes the list of administrators alone.
 *
 * What was begun and not ended is known by a note (PREFIX/hub/installing), and that an installation was once completed by another
 * (PREFIX/hub/installed): from then on, another version is an upgrade.
 */

import { openTerminal, type Streams } from '../cli/terminal.ts'
import { type Config, parseConfig } from '../config/meaning/config.ts'
import { hubAddress } from '../config/meaning/hub-address.ts'
import type { Layout } from '../machine/layout.ts'
import { ProblemError } from '../problem.ts'
import { classEnvironment } from './environment/class-environment.ts'
import { type Changes, openChanges } from './installation/changes.ts'
import { ensureCompileCache } from './installation/compile-cache.ts'
import { oneAtATime } from './installation/one-at-a-time.ts'
import { ensureUnits } from './installation/units.ts'
import { type ProgressPage, showProgressPage } from './progress-page.ts'
import { runSteps, type Step } from './step-list.ts'
import { ensureConfig, ownEndpoints, wantedConfig } from './steps/configuration.ts'
import { ensureConfinement } from './steps/confinement.ts'
import { checkMachine } from './steps/machine.ts'
import { ensureAccounts, ensureFolders, ensureVersion } from './steps/places.ts'
import {
  beginChanges,
  endChanges,
  ensureServices,
  hubAnswers,
  type InvitedAdmin,
  inviteAdmins,
  type NamedAdmin,
  selfTest,
} from './steps/services.ts'
import { settleUpgrade } from './upgrade/switch.ts'

export interface InstallOptions {
  admins: readonly NamedAdmin[]
  /** A configuration to begin with. */
  configFile: string | undefined
  /** What else the Python environment of the class is to have: a path or URL of a requirements file. */
  requirements: string | undefined
  isBehindProxy: boolean
  hasProgressPage: boolean
  hasSelfTest: boolean
  /** As it was given; it has to be where this code lies. */
  prefix: string | undefined
  /** Debian's packages that were installed for this. */
  installedPackages: readonly string[]
}

export interface Installation {
  address: string
  admins: readonly InvitedAdmin[]
  config: Config
  /** What is amiss although the hub runs. */
  complaints: readonly ProblemError[]
}

/** Where it runs. */
export interface InstallSurroundings {
  layout: Layout
  streams: Streams
  environment: NodeJS.ProcessEnv
}

/** Installs, and shows the steps. Throws a `ProblemError` that says which step failed and why; the same call then goes on. */
export async function install(options: InstallOptions, surroundings: InstallSurroundings): Promise<Installation> {
  const { layout, streams, environment } = surroundings
  // What is made is for all to read, whatever the one who calls is used to; what is not says so.
  process.umask(0o022)
  await checkMachine(layout, options.prefix)
  await using _lock = await oneAtATime('Nothing was installed')
  await settleUpgrade({ layout, report: line => void streams.stderr.write(`${line}\n`) })
  const { admins, configFile: file, isBehindProxy } = options
  const names = admins.map(({ name }) => name)
  const wanted = { admins: names, file, isBehindProxy, own: await ownEndpoints(layout) }
  const text = wantedConfig(wanted, layout, openTerminal(streams, environment))
  const config = parseConfig(text)

  const changes = openChanges(layout.changes)
  let page: ProgressPage | undefined
  const result: Result = { admins: [], complaints: [] }
  const closePage = async () => page?.close()
  const steps = planSteps({ options, surroundings, changes, text, config, result, closePage })
  if (options.hasProgressPage) {
    const titles = steps.map(({ title }) => title)
    page = await showProgressPage(titles, { ...config.http, baseUrl: config.baseUrl })
  }
  try {
    await runSteps(steps, streams, {
      begins: ({ title }) => page?.begins(title),
      ends: ({ title }) => page?.ends(title),
    })
  } catch (error) {
    await page?.fail()
    throw error
  }
  endChanges(layout)
  return { ...result, address: await hubAddress(config), config }
}

interface Result {
  admins: readonly InvitedAdmin[]
  complaints: readonly ProblemError[]
}

interface Planning {
  options: InstallOptions
  surroundings: InstallSurroundings
  changes: Changes
  /** Of the configuration that is to be in force. */
  text: string
  config: Config
  /** Filled in by the steps. */
  result: Result
  closePage: () => Promise<void>
}

function planSteps({ options, surroundings, changes, text, config, result, closePage }: Planning): Step[] {
  const { layout, environment } = surroundings
  const environmentOfClass = classEnvironment(layout, environment)
  let isChanged = beginChanges(layout)
  /** A step after which services that run are started anew. */
  const forServices = (run: () => Promise<boolean>) => async () => {
    const hasChanged = await run()
    isChanged ||= hasChanged
    return hasChanged
  }
  /** What the hub is worth having without. */
  const optional = (run: () => Promise<boolean>) => () =>
    run().catch(error => {
      if (!(error instanceof ProblemError)) throw error
      result.complaints = [...result.complaints, error]
      return false
    })
  const { requirements, installedPackages } = options

  const steps: (Step | false)[] = [
    {
      name: 'packages',
      title: 'Debian’s packages that are needed',
      run: () => changes.notePackages(installedPackages),
    },
    { name: 'accounts', title: 'the hub’s account, and groups', run: () => ensureAccounts(changes) },
    {
      name: 'confinement',
      title: 'bounds for users, rights for administrators',
      run: () => ensureConfinement(layout, changes),
    },
    { name: 'folders', title: 'folders', run: forServices(() => ensureFolders(layout, changes)) },
    {
      name: 'class-environment',
      title: 'Python and JupyterLab for the class',
      async run() {
        const isMade = await environmentOfClass.ensure()
        const isCompleted = await optional(() => environmentOfClass.addFormer())()
        return isMade || isCompleted
      },
    },
    requirements !== undefined && {
      name: 'requirements',
      title: 'Python packages that were asked for',
      run: optional(() => environmentOfClass.add(requirements)),
    },
    { name: 'configuration', title: 'configuration', run: forServices(() => ensureConfig(text, layout)) },
    { name: 'version', title: 'version in force', run: forServices(async () => ensureVersion(layout)) },
    { name: 'units', title: 'services of the system', run: forServices(() => ensureUnits(layout, changes)) },
    {
      name: 'compile-cache',
      title: 'code in the form that starts fast',
      run: () => ensureCompileCache(layout, line => surroundings.streams.stderr.write(`${line}\n`)),
    },
    {
      name: 'services',
      title: 'start of the services',
      run: () => ensureServices(layout, { isChanged, beforeSockets: closePage }),
    },
    {
      name: 'hub',
      title: 'answer of the hub',
      async run() {
        await hubAnswers(config)
        return false
      },
    },
    {
      name: 'administrators',
      title: 'administrators',
      async run() {
        result.admins = await inviteAdmins(layout, options.admins)
        return result.admins.some(({ invitation }) => invitation)
      },
    },
    options.hasSelfTest && {
      name: 'self-test',
      title: 'a server, as a student would start it',
      async run() {
        try {
          await selfTest(layout)
        } catch (error) {
          // Who has a way in should be told of it all the same.
          if (!(error instanceof ProblemError)) throw error
          result.complaints = [...result.complaints, error]
        }
        return false
      },
    },
  ]
  return steps.filter(step => step !== false)
}
