/**
 * Whether this machine can have an installation here, by this code. Nothing is changed, and what is refused is refused in words.
 *
 * install.sh has looked at most of it before; whoever comes without it is looked at here.
 */
import { existsSync, readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { codeFolder, type Layout, layoutIn } from '../../machine/layout.ts'
import { runProgram } from '../../machine/run-program.ts'
import { ProblemError } from '../../problem.ts'
import { unitFolder } from '../installation/units.ts'
import { versionInForce } from './places.ts'
import { isInstalled } from './services.ts'

/** Why there; below these, services do not see the files, or they are gone after a reboot. */
const closedPlaces: readonly [string, string][] = [
  ['/home', 'the services are kept out of homes'],
  ['/root', 'the services are kept out of homes'],
  ['/tmp', 'what is there is removed at times, and each service has one of its own'],
  ['/var/tmp', 'what is there is removed at times, and each service has one of its own'],
  ['/run', 'what is there is gone after a reboot'],
  ['/dev', 'what is there is gone after a reboot'],
  ['/proc', 'it is the kernel’s'],
  ['/sys', 'it is the kernel’s'],
  ...['/boot', '/etc', '/usr', '/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32'].map(systems),
  ...['apt', 'dpkg', 'private', 'systemd'].map(name => systems(`/var/lib/${name}`)),
  ...['backups', 'cache', 'log', 'mail', 'spool'].map(name => systems(`/var/${name}`)),
  ...['/var/lock', '/var/run'].map((place): [string, string] => [place, 'what is there is gone after a reboot']),
]

/** @param prefix as it was given, if it was. Throws `INSTALL_…`. */
export async function checkMachine(layout: Layout, prefix: string | undefined): Promise<void> {
  if (process.getuid?.() !== 0) throw problem('INSTALL_ROOT', 'it was not started as root', 'Start it with sudo')
  const { stdout } = await runProgram('ps', ['-o', 'comm=', '-p', '1'])
  if (stdout.trim() !== 'systemd') {
    throw problem(
      'INSTALL_SYSTEMD',
      `the first process of this machine is ${stdout.trim()}, not systemd`,
      'Use a machine or a virtual machine with systemd, such as Debian 13 on a VPS',
    )
  }
  if (prefix !== undefined) checkPrefix(prefix)
  checkPlace(layout, prefix)
  checkOther(layout)
  checkVersion(layout)
}

/** Throws `INSTALL_PREFIX` where nothing could be installed. */
export function checkPrefix(prefix: string): void {
  const refuse = (why: string) =>
    problem('INSTALL_PREFIX', `--prefix is ${prefix}, and ${why}`, 'Leave it out, or write one like --prefix /srv/tljh')
  // It stands in unit files and scripts.
  if (!/^(?:\/[A-Za-z0-9_-][A-Za-z0-9._-]*)+$/.test(prefix))
    throw refuse('it has to be an absolute path of letters, digits and . _ -')
  for (const [place, why] of closedPlaces) if (`${prefix}/`.startsWith(`${place}/`)) throw refuse(why)
  if (/^(?:\/var)?\/[^/]+$/.test(prefix)) throw refuse('it has to be a folder of its own, below one of the system’s')
}

/** The services start the code by its place. */
function checkPlace({ prefix, versions }: Layout, given: string | undefined): void {
  if (given !== undefined && given !== prefix) {
    throw problem(
      'INSTALL_PREFIX',
      `--prefix is ${given}, and this code lies in ${codeFolder}`,
      `Start the code of that installation: sudo ${layoutIn(given).hub}/node_modules/node/bin/node ${layoutIn(given).hub}/tljh-ts.ts install`,
    )
  }
  checkPrefix(prefix)
  if (dirname(codeFolder) === versions) return
  throw problem(
    'INSTALL_PLACE',
    `this code lies in ${codeFolder}, and not in a folder in ${versions}`,
    'Use install.sh, or put it there by hand',
  )
}

/** Unit names, accounts and sockets are those of one installation. */
function checkOther({ hub }: Layout): void {
  const file = join(unitFolder, 'tljh-hub.service')
  if (!existsSync(file)) return
  const other = /^ExecStart=(\S+)\/node_modules\/node\/bin\/node /m.exec(readFileSync(file, 'utf8'))?.[1]
  if (!other || other === hub || !existsSync(other)) return
  throw problem(
    'INSTALL_OTHER',
    `there is another installation on this machine, ${dirname(dirname(other))}`,
    'A machine has one. Go on with that one, or take it off first: sudo tljh-ts uninstall',
  )
}

/** What is installed is upgraded by what knows how: with a copy of the state, and a way back. */
function checkVersion(layout: Layout): void {
  const inForce = versionInForce(layout)
  const own = basename(codeFolder)
  if (inForce === undefined || inForce === own || !isInstalled(layout)) return
  throw problem(
    'INSTALL_UPGRADE',
    `version ${inForce} is installed here, and this is ${own}`,
    `An installation is not an upgrade. To upgrade: sudo tljh-ts upgrade ${own}`,
  )
}

function systems(place: string): [string, string] {
  return [place, 'what is there is the system’s']
}

function problem(code: string, why: string, fix: string): ProblemError {
  return new ProblemError(code, { what: 'Nothing was installed', why, fix })
}
