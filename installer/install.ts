/**
 * `tljh-ts install --admin NAME[:PASSWORD]`: puts this version in force on a machine where it lies at its place
 * (/opt/tljh/hub/current): accounts, folders, configuration, units.
 *
 * Each step looks first and makes what is missing, so it may be run again over an installation, and after a run that
 * was cut off. It never touches a home, and of a configuration that is there it changes the list of administrators alone.
 */
import { existsSync } from 'node:fs'
import { chmod, chown, mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { isMap, parseDocument } from 'yaml'
import { runCommand } from '../commands.ts'
import { hubAddress } from '../config/address.ts'
import { storingKinds } from '../config/authenticators.ts'
import { parseConfig } from '../config/config.ts'
import { parseUserName, type UserName } from '../config/names.ts'
import type { Layout } from '../config/paths.ts'
import { ProblemError } from '../problem.ts'
import { setListenAddress } from '../systemd/address.ts'

export interface Installation {
  address: string
  admin: UserName
  /** With which the administrator chooses a password; undefined where there is one already, or passwords are kept elsewhere. */
  invitation: { code: string; link: string } | undefined
}

const hubAccount = 'tljh-hub'
const sockets = ['tljh-hub.socket', 'tljh-spawner.socket', 'tljh-pam.socket']
const services = ['tljh-spawner.service', 'tljh-hub.service']
/** Whoever installs is there to use it. */
const codeDays = 3
const unitFolder = '/etc/systemd/system'

const sudoers = `# Made by tljh-ts. Administrators of the hub are administrators of the machine.
%jupyterhub-admins ALL = (ALL) NOPASSWD: ALL
# With this, sudo keeps their PATH, and so the Python environment of the class.
Defaults exempt_group = jupyterhub-admins
`

const sshd = `# Made by tljh-ts. Users of the hub work in its limits; an ssh session would be outside of them.
Match Group jupyterhub-users,!jupyterhub-admins
    DenyGroups jupyterhub-users
Match all
`

const polkit = `// Made by tljh-ts. A user manager that lingers would be outside of the limits of the user's server.
polkit.addRule(function (action, subject) {
  if (action.id.indexOf('org.freedesktop.login1.set-') === 0 && subject.isInGroup('jupyterhub-users')
      && !subject.isInGroup('jupyterhub-admins')) return polkit.Result.NO
})
`

const usersJournal = `# Made by tljh-ts. What users' servers write is kept apart, so that it pushes nothing else out of the journal.
[Journal]
SystemMaxUse=500M
RuntimeMaxUse=64M
`

const pamService = `# Made by tljh-ts. How the hub checks passwords of this machine's accounts, where auth.type names pam.
@include common-auth
@include common-account
`

/** Installs, and tells `report` what it does. Throws a `ProblemError` (`INSTALL_…`) that says which step failed and why. */
export async function install(
  layout: Layout,
  adminName: string,
  report: (line: string) => void,
): Promise<Installation> {
  const colon = adminName.indexOf(':')
  const admin = parseUserName(colon < 0 ? adminName : adminName.slice(0, colon))
  const password = colon < 0 ? '' : adminName.slice(colon + 1)
  await checkMachine()
  report('accounts')
  const hubGid = await ensureAccounts()
  report('the users’ place on the machine')
  await ensureConfinement()
  report('folders')
  await ensureFolders(layout, hubGid)
  report('configuration')
  await ensureConfig(layout, admin, hubGid)
  report('units')
  await ensureUnits(layout)
  report('services')
  await startServices(layout)
  const address = await hubAddress(parseConfig(await readFile(layout.configFile)))
  if (password) await setPassword(layout, admin, password)
  return { address, admin, invitation: await invite(layout, admin) }
}

async function checkMachine(): Promise<void> {
  if (process.getuid?.() !== 0) {
    throw problem('INSTALL_ROOT', 'it was not started as root', 'Start it with sudo')
  }
  const { stdout } = await runCommand('ps', ['-o', 'comm=', '-p', '1'])
  if (stdout.trim() !== 'systemd') {
    throw problem(
      'INSTALL_SYSTEMD',
      `the first process of this machine is ${stdout.trim()}, not systemd`,
      'Use a machine or a virtual machine with systemd, such as Debian 12 on a VPS',
    )
  }
}

/** The hub's own account and the groups that TLJH's users know. Answers the number of the hub's group. */
async function ensureAccounts(): Promise<number> {
  for (const group of [hubAccount, 'jupyterhub-users', 'jupyterhub-admins']) {
    await must('groupadd', ['--system', '--force', group])
  }
  const { code } = await runCommand('getent', ['passwd', hubAccount])
  if (code !== 0) {
    const account = ['--system', `--gid=${hubAccount}`, '--no-create-home', '--home-dir=/nonexistent']
    await must('useradd', [...account, '--shell=/usr/sbin/nologin', '--comment=tljh-ts hub', hubAccount])
  }
  const sudoersFile = '/etc/sudoers.d/jupyterhub-admins'
  await replace(sudoersFile, sudoers, 0o440)
  await must('visudo', ['--check', '--quiet', `--file=${sudoersFile}`])
  const { stdout } = await must('getent', ['group', hubAccount])
  return Number(stdout.split(':')[2])
}

/** Ways around the limits that the machine offers to every account, closed for the users of the hub. */
async function ensureConfinement(): Promise<void> {
  if (existsSync('/etc/ssh/sshd_config.d')) {
    await replace('/etc/ssh/sshd_config.d/tljh-ts.conf', sshd, 0o644)
    await runCommand('systemctl', ['try-reload-or-restart', 'ssh.service'])
  }
  await replace('/etc/pam.d/tljh-ts', pamService, 0o644)
  await replace('/etc/systemd/journald@tljh-users.conf', usersJournal, 0o644)
  if (existsSync('/etc/polkit-1/rules.d')) await replace('/etc/polkit-1/rules.d/40-tljh-ts.rules', polkit, 0o644)
}

async function ensureFolders({ configFile, state, archives }: Layout, hubGid: number): Promise<void> {
  await mkdir(dirname(configFile), { recursive: true })
  await chown(dirname(configFile), 0, hubGid)
  await chmod(dirname(configFile), 0o750)
  await mkdir(state, { recursive: true })
  await must('chown', ['--recursive', `${hubAccount}:${hubAccount}`, state])
  await chmod(state, 0o700)
  // Homes of people who have left.
  await mkdir(archives, { recursive: true })
  await chown(archives, 0, 0)
  await chmod(archives, 0o700)
}

async function ensureConfig({ configFile }: Layout, admin: UserName, hubGid: number): Promise<void> {
  const old = await readFile(configFile, 'utf8').catch(() => undefined)
  const document = parseDocument(old ?? firstConfig)
  const { users } = parseConfig(String(document))
  if (!users.admin.has(admin)) {
    const admins = [...users.admin, admin]
    if (!isMap(document.get('users'))) document.set('users', document.createNode({}))
    document.setIn(['users', 'admin'], admins)
  }
  const text = String(document)
  parseConfig(text)
  if (text !== old) await replace(configFile, text, 0o640)
  await chown(configFile, 0, hubGid)
  await chmod(configFile, 0o640)
}

const firstConfig = `# The hub's configuration. Change it with: sudo tljh-ts config edit
users:
  admin: []
  # Who may log in beside the administrators. Add them with: sudo tljh-ts user add NAME
  allowed: []
# What each user's server may use. Without a line, as much as the machine has.
limits:
  # memory: 1G
  # cpu: 2
`

async function ensureUnits({ hub }: Layout): Promise<void> {
  const source = join(import.meta.dirname, 'units')
  for (const name of await readdir(source)) {
    await replace(join(unitFolder, name), await readFile(join(source, name), 'utf8'), 0o644)
  }
  const node = join(hub, 'node_modules/node/bin/node')
  const program = `exec ${node} --disable-warning=ExperimentalWarning ${join(hub, 'tljh-ts.ts')}`
  await replace('/usr/local/bin/tljh-ts', `#!/bin/sh\n${program} "$@"\n`, 0o755)
  // What TLJH's users type.
  await replace('/usr/local/bin/tljh-config', `#!/bin/sh\n${program} config "$@"\n`, 0o755)
  await mkdir('/etc/bash_completion.d', { recursive: true })
  const { stdout } = await must('/usr/local/bin/tljh-ts', ['config', 'completion'])
  await replace('/etc/bash_completion.d/tljh-ts', stdout, 0o644)
}

async function startServices({ configFile }: Layout): Promise<void> {
  const { http, visitPort } = parseConfig(await readFile(configFile))
  setListenAddress('tljh-hub.socket', { ...http, visitPort })
  await must('systemctl', ['daemon-reload'])
  await must('systemctl', ['enable', '--quiet', ...sockets, ...services])
  await must('systemctl', ['start', ...sockets])
  // A first installation starts them; a later one puts the version that now lies there in force.
  await must('systemctl', ['restart', ...services], { timeoutMs: 60_000 })
}

async function setPassword({ hub }: Layout, admin: UserName, password: string): Promise<void> {
  const program = [join(hub, 'tljh-ts.ts'), 'user', 'passwd', admin]
  await must(join(hub, 'node_modules/node/bin/node'), program, { input: `${password}\n` })
}

/** A code for an administrator who has no password, where there are passwords of ours at all. Nobody gets to be the administrator by being the first at the page. */
async function invite({ hub, configFile }: Layout, admin: UserName): Promise<Installation['invitation']> {
  const { auth } = parseConfig(await readFile(configFile))
  if (!auth.kinds.some(kind => storingKinds.includes(kind))) return undefined
  const program = [join(hub, 'tljh-ts.ts'), 'user', 'invite', admin, '--if-unset', `--expires=${codeDays}`, '--json']
  const { stdout } = await must(join(hub, 'node_modules/node/bin/node'), program)
  const [made] = JSON.parse(stdout) as { code?: string; link?: string }[]
  return made?.code && made.link ? { code: made.code, link: made.link } : undefined
}

/** Writes beside and renames, so that the file is there whole or not at all. */
async function replace(path: string, content: string, mode: number): Promise<void> {
  const beside = `${path}.tljh-ts-new`
  await writeFile(beside, content, { mode, flush: true })
  await chmod(beside, mode)
  await rename(beside, path)
}

async function must(file: string, args: readonly string[], options?: { input?: string; timeoutMs?: number }) {
  const result = await runCommand(file, args, options)
  if (result.code === 0) return result
  throw problem(
    'INSTALL_COMMAND',
    `${[file, ...args].join(' ')} ended with code ${result.code}: ${result.stderr || result.stdout.trim()}`,
    'Mend what it says and start the installation again; it goes on where it was',
  )
}

function problem(code: string, why: string, fix: string): ProblemError {
  return new ProblemError(code, { what: 'The installation stopped', why, fix })
}
