/**
 * Files of the machine's that bound what users of the hub can do beside their servers, and give its administrators the machine.
 */
import { existsSync } from 'node:fs'
import type { Layout } from '../../machine/layout.ts'
import { runProgram } from '../../machine/run-program.ts'
import { ProblemError } from '../../problem.ts'
import type { Changes } from '../installation/changes.ts'

const sudoersFile = '/etc/sudoers.d/jupyterhub-admins'
const sudoersOf = ({
  classEnvironment,
}: Layout) => `# Made by tljh-ts. Administrators of the hub are administrators of the machine.
%jupyterhub-admins ALL = (ALL) NOPASSWD: ALL
# Their pip is that of the class, in whatever terminal.
Defaults:%jupyterhub-admins secure_path = "${classEnvironment}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What they make for all is for all to read, whatever the umask of their own files.
Defaults:%jupyterhub-admins umask = 0022, umask_override
`

const profileFile = '/etc/profile.d/tljh-ts.sh'
const profile = `# Made by tljh-ts. In servers of the hub, login shells find python, pip and jupyter of the class, as notebooks do.
# /etc/profile sets PATH anew; what the user's own files say comes after this.
if [ -n "\${TLJH_CLASS_ENVIRONMENT-}" ]; then
  case ":$PATH:" in
    *":$TLJH_CLASS_ENVIRONMENT/bin:"*) ;;
    *) PATH=$TLJH_CLASS_ENVIRONMENT/bin:$PATH ;;
  esac
fi
`

const sshdFile = '/etc/ssh/sshd_config.d/tljh-ts.conf'
const sshd = `# Made by tljh-ts. Users of the hub work in its limits; an ssh session would be outside of them.
Match Group jupyterhub-users,!jupyterhub-admins
    DenyGroups jupyterhub-users
Match all
`

const polkitFile = '/etc/polkit-1/rules.d/40-tljh-ts.rules'
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

/** Answers whether anything was changed. What a machine does not have (sudo, sshd, polkit) needs no file. */
export async function ensureConfinement(layout: Layout, changes: Changes): Promise<boolean> {
  const done = [
    await changes.writeFile('/etc/pam.d/tljh-ts', pamService, 0o644),
    await changes.writeFile('/etc/systemd/journald@tljh-users.conf', usersJournal, 0o644),
    await changes.writeFile(profileFile, profile, 0o644),
  ]
  if (existsSync('/etc/sudoers.d')) {
    const sudoers = sudoersOf(layout)
    await checkSudoers(sudoers)
    done.push(await changes.writeFile(sudoersFile, sudoers, 0o440))
  }
  if (existsSync('/etc/polkit-1/rules.d')) done.push(await changes.writeFile(polkitFile, polkit, 0o644))
  if (existsSync('/etc/ssh/sshd_config.d')) {
    const isChanged = await changes.writeFile(sshdFile, sshd, 0o644)
    if (isChanged) await reloadSshd()
    done.push(isChanged)
  }
  return done.includes(true)
}

/** Has it read its files, where it runs. */
export async function reloadSshd(): Promise<void> {
  await runProgram('systemctl', ['try-reload-or-restart', 'ssh.service'])
}

/** A file that sudo does not understand would keep everybody from using sudo. */
async function checkSudoers(sudoers: string): Promise<void> {
  const { code, stderr } = await runProgram('visudo', ['--check', '--quiet', '--file=-'], { input: sudoers })
  if (code === 0) return
  throw new ProblemError('INSTALL_SUDOERS', {
    what: `${sudoersFile} was not written`,
    why: `sudo would not understand it: ${stderr}`,
    fix: 'See which version of sudo this is (sudo --version); 1.9 is known to work. Then start the same command again',
  })
}
