/**
 * Makes a machine ready for the tests and for trying the product, and then runs a program of the checkout with the
 * product's own Node.js:
 *
 *   node test/harness/image/prepare.mjs [PROGRAM [ARGUMENT…]]
 *
 * It runs before anything is installed, on whatever Node.js the machine has (18 is enough), so it is plain JavaScript and
 * imports nothing of ours. What is there already is left alone: on a machine that is ready it takes milliseconds. It says on
 * standard error what takes long; standard output is the program's.
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const CHECKOUT = dirname(dirname(dirname(dirname(fileURLToPath(import.meta.url)))))
const NODE = join(CHECKOUT, 'node_modules/node/bin/node')

/** Debian's packages that test hosts and the tests in a browser need on the machine. */
const PACKAGES = [
  ...['debootstrap', 'nftables', 'iproute2', 'util-linux', 'ca-certificates'],
  // Node.js itself, and a browser with letters to show.
  ...['libatomic1', 'chromium', 'fonts-dejavu-core'],
  // What releases are made with: which files are ours, uv out of its wheel, signatures.
  ...['git', 'python3', 'python3-pip', 'openssh-client'],
  // A virtual machine, and its disk.
  ...['qemu-system-x86', 'e2fsprogs'],
]

/** What a person can do something about, and no stack trace helps with. */
class PrepareError extends Error {}

try {
  checkMachine()
  installPackages()
  installDependencies()
  const [program, ...args] = process.argv.slice(2)
  if (program !== undefined) becomeProgram(program, args)
} catch (error) {
  if (!(error instanceof PrepareError)) throw error
  console.error(error.message)
  process.exit(1)
}

function checkMachine() {
  if (process.getuid?.() !== 0)
    throw new PrepareError('This needs root: test hosts are made of mounts and namespaces. Run it with sudo.')
  if (!existsSync('/usr/bin/apt-get'))
    throw new PrepareError('This machine has no apt-get: test hosts are made on Debian or Ubuntu. Use one of these.')
}

function installPackages() {
  const installed = installedPackages()
  const missing = PACKAGES.filter(name => !installed.includes(name))
  if (missing.length === 0) return
  console.error(`Installing ${missing.join(', ')} …`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  twice('apt-get', ['update', '--quiet'], env)
  twice('apt-get', ['install', '--yes', '--quiet', '--no-install-recommends', ...missing], env)
}

function installedPackages() {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is dpkg-query that fills this in
  const format = '${Package} ${db:Status-Status}\\n'
  const { stdout } = spawnSync('dpkg-query', ['--show', '--showformat', format, ...PACKAGES], { encoding: 'utf8' })
  return stdout.split('\n').flatMap(line => (line.endsWith(' installed') ? [line.split(' ')[0]] : []))
}

function installDependencies() {
  if (isUpToDate()) return
  console.error('Installing what package-lock.json says (npm install) …')
  // Not `npm ci`: it refuses a lock file without the binaries for all other platforms, and not every registry has those.
  twice('npm', ['install', '--no-save', '--loglevel=error', '--no-audit', '--no-fund'], process.env)
  if (!existsSync(NODE))
    throw new PrepareError(
      `npm install has not made ${NODE}: the install script of the package "node" did not run. ` +
        'Allow install scripts (see npm config get ignore-scripts) and start again.',
    )
}

/** Whether node_modules holds what the lock file says: npm keeps a lock file of what it has installed there. */
function isUpToDate() {
  const lock = readLock(join(CHECKOUT, 'package-lock.json'))
  const installed = readLock(join(CHECKOUT, 'node_modules/.package-lock.json'))
  if (!existsSync(NODE) || !lock || !installed) return false
  const isSame = path => installed[path] !== undefined && installed[path].integrity === lock[path].integrity
  const isWanted = path => path !== '' && !lock[path].optional
  return Object.keys(lock).filter(isWanted).every(isSame) && Object.keys(installed).every(path => path in lock)
}

function readLock(path) {
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')).packages : undefined
}

/** Runs a program that speaks to the network, a second time if the first fails: registries have bad moments. */
function twice(program, args, env) {
  const options = { cwd: CHECKOUT, env, encoding: 'utf8' }
  let result = spawnSync(program, args, options)
  if (result.status !== 0) {
    console.error(`${program} ${args[0]} has failed; trying once more …`)
    result = spawnSync(program, args, options)
  }
  if (result.status === 0) return
  const said = result.error ? result.error.message : `${result.stdout}${result.stderr}`.trim()
  throw new PrepareError(
    `${program} ${args.join(' ')} has failed twice, and this is what it said:\n${said}\n` +
      'See whether this machine reaches its package registries, and start again.',
  )
}

/** Runs the program with our outputs, passes signals to it, and ends as it does. */
function becomeProgram(program, args) {
  // Whatever way this process ends, the program hears of it and takes its hosts away.
  const argv = ['--pdeathsig', 'TERM', NODE, '--disable-warning=ExperimentalWarning', program, ...args]
  const child = spawn('setpriv', argv, { stdio: 'inherit', cwd: CHECKOUT })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.on('exit', (code, signal) => {
    process.exitCode = code ?? 128 + constants.signals[signal]
  })
}
