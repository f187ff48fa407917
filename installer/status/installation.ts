/** Whether what was installed is whole: version, configuration, the Python environment of the class, backups. */
import { readFileSync, realpathSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { endpointsOf, parseConfig, readConfig, versionOf } from '../../config/meaning/config.ts'
import { checkMachine, factsOfMachine } from '../../config/meaning/machine-checks.ts'
import type { Layout } from '../../machine/layout.ts'
import { runProgram } from '../../machine/run-program.ts'
import { lastBackup } from '../backup/backup.ts'
import { formerPython, madeWith } from '../environment/former-python.ts'
import { get } from '../installation/health.ts'
import { versionInForce } from '../steps/places.ts'
import { readJournal } from '../upgrade/journal.ts'
import { bad, type Check, good, type StatusLine, warning } from './lines.ts'

const hourMs = 3600_000
/** One night may be missed: the machine was off. */
const oldBackupMs = 60 * hourMs
/** Asked of JupyterLab; on a small machine that does other things it takes a while. */
const pythonTimeoutMs = 75_000
const nobody = ['--reuid=65534', '--regid=65534', '--clear-groups', '--no-new-privs', '--']

export function installationChecks(layout: Layout): Check[] {
  return [
    { name: 'version', run: async () => [lookAtVersion(layout)] },
    { name: 'configuration', run: async () => [await lookAtConfiguration(layout)] },
    { name: 'class-environment', run: async () => [await lookAtClass(layout)] },
    { name: 'backup', run: async () => [await lookAtBackup(layout)] },
  ]
}

function lookAtVersion(layout: Layout): StatusLine {
  const version = versionInForce(layout)
  const { passage } = readJournal(layout)
  const complete = 'Complete it; nobody’s files are touched: sudo tljh-ts install'
  if (passage) {
    const { kind, from, to } = passage
    const text = `the ${kind} from ${from} to ${to} was broken off`
    return bad('version', text, 'it is neither done nor undone', `Go on with it: sudo tljh-ts ${kind}`)
  }
  if (version === undefined) {
    return bad('version', 'no version is in force', `${layout.hub} leads nowhere`, complete)
  }
  if (isThere(join(dirname(layout.versions), 'installing'))) {
    return bad('version', `tljh-ts ${version} is not completely installed`, 'the installation was broken off', complete)
  }
  return good('version', `tljh-ts ${version} in ${layout.prefix}`)
}

async function lookAtConfiguration(layout: Layout): Promise<StatusLine> {
  const { configFile: file } = layout
  const name = 'configuration'
  const edit = 'sudo tljh-ts config edit, or an earlier one: sudo tljh-ts config log'
  if (!isThere(file)) {
    return bad(
      name,
      `${file} is not there`,
      'somebody has moved or removed it',
      'sudo tljh-ts config log shows earlier ones',
    )
  }
  const bytes = readFileSync(file)
  const { read, config, findings } = readConfig(bytes)
  const all = config ? [...findings, ...checkMachine(read, factsOfMachine(file, endpointsOf(config)))] : findings
  const error = all.find(({ severity }) => severity === 'error')
  if (error) {
    const what = config ? 'does not fit this machine' : 'is not valid, so the last good one is in force'
    return bad(name, `${file} ${what}`, `line ${error.line}: ${error.what}; ${error.why}`, `${error.fix}: ${edit}`)
  }
  const asked = await get({ socketPath: layout.spawnerSocket, path: '/config' }).catch(() => undefined)
  if (asked === undefined) {
    const why = 'the spawner, which knows, does not answer'
    return warning(
      name,
      `${file} is valid; whether it is in force is not known`,
      why,
      'sudo systemctl restart tljh-spawner',
    )
  }
  const runs = JSON.parse(asked) as { spawner: string; hub?: string }
  const own = versionOf(bytes)
  if (runs.spawner !== own || (runs.hub ?? own) !== own) {
    return warning(name, `${file} is valid, and not in force`, 'it was changed by hand', 'sudo tljh-ts config reload')
  }
  const first = all.find(({ severity }) => severity === 'warning')
  if (!first) return good(name, `${file} is valid and in force`)
  return warning(name, `${file} is in force`, `line ${first.line}: ${first.what}; ${first.why}`, first.fix)
}

/** Asked as nobody, because that is how students come by it, and because it is no program of ours. */
async function lookAtClass({ classEnvironment: place }: Layout): Promise<StatusLine> {
  const name = 'class-environment'
  const complete = 'Complete it, which keeps what is in it: sudo tljh-ts install'
  const program = 'import jupyterlab.labapp, jupyter_server, ipykernel; print(jupyterlab.__version__)'
  const python = [join(place, 'bin/python'), '-I', '-B', '-c', program]
  const { code, stdout, stderr } = await runProgram('setpriv', [...nobody, ...python], {
    timeoutMs: pythonTimeoutMs,
    env: { HOME: '/nonexistent' },
  })
  if (code !== 0) {
    const former = await formerPython(place)
    if (former) {
      const now = former.now ? `this machine has Python ${former.now} now` : 'that is not on this machine any more'
      const fix = 'Give it the new one; its packages are installed again, and its files stay: sudo tljh-ts install'
      return bad(
        name,
        `JupyterLab does not start in ${place}`,
        `it was made with Python ${former.version}, and ${now}`,
        fix,
      )
    }
    const why = stderr.split('\n').at(-1) || `Python ended with code ${code}`
    return bad(name, `JupyterLab does not start in ${place}`, why, complete)
  }
  const isForeign = ['(', '-perm', '-o=w', '-o', '-not', '-user', 'root', ')']
  // uv leaves an empty one that all may write: it is a lock, and holds nothing.
  const isMeant = ['-not', '-type', 'l', '-not', '-path', join(place, '.lock')]
  const foreign = await runProgram('find', [place, '-xdev', ...isMeant, ...isForeign, '-print', '-quit'])
  const found = foreign.stdout.trim()
  if (found) {
    const fix = `sudo chown --recursive --no-dereference root: ${place} && sudo chmod --recursive go-w ${place}`
    return bad(name, `others than root can change ${place}`, `${found} is theirs, or all may write it`, fix)
  }
  const closed = ['(', '-type', 'd', '-not', '-perm', '-o=rx', '-o', '-type', 'f', '-not', '-perm', '-o=r', ')']
  const unread = await runProgram('find', [place, '-xdev', '-not', '-path', join(place, '.lock'), ...closed, '-print'])
  const files = unread.stdout.split('\n').filter(Boolean)
  if (files.length > 0) {
    const what = `students cannot read ${files.length} files and folders in ${place}`
    return bad(name, what, `such as ${files[0]}: packages with them do not work, or no server starts`, complete)
  }
  const text = `JupyterLab ${stdout.trim()} in ${place}, which root alone can change`
  const [made, next] = [madeWith(place), await nextPython(place)]
  if (made === undefined || next === undefined || made === next) return good(name, text)
  const why = `it was made with Python ${made}, and the next upgrade of this machine brings Python ${next}: no server starts then`
  return warning(
    name,
    text,
    why,
    'After that upgrade: sudo tljh-ts install. It installs its packages again, and keeps the rest',
  )
}

/**
 * Which Python an upgrade of the machine’s packages brings to the environment, such as `3.13`. Known from when apt has read the new
 * release’s lists; undefined where the environment has a Python of its own.
 */
async function nextPython(place: string): Promise<string | undefined> {
  if (realpathSync(join(place, 'bin/python')) !== realpathSync('/usr/bin/python3')) return undefined
  const { stdout } = await runProgram('apt-cache', ['policy', 'python3']).catch(() => ({ stdout: '' }))
  return /^ *Candidate: (\d+\.\d+)/m.exec(stdout)?.[1]
}

async function lookAtBackup(layout: Layout): Promise<StatusLine> {
  const { isEnabled } = parseConfig(readFileSync(layout.configFile)).backup
  const last = await lastBackup(layout)
  const start = 'sudo tljh-ts backup. Why there was none: sudo journalctl --unit=tljh-backup'
  if (!last) {
    const since = statSync(layout.versions, { throwIfNoEntry: false })?.birthtimeMs ?? Date.now()
    const isNew = Date.now() - since < oldBackupMs
    if (isNew || !isEnabled)
      return good('backup', isEnabled ? 'no backup yet: the first comes tonight' : 'no backup, and none is wanted')
    return warning('backup', 'there is no backup', 'the nightly one has not worked yet', start)
  }
  const text = `the last backup is ${last.file}, of ${new Date(last.time).toISOString().slice(0, 16).replace('T', ' ')} UTC`
  if (isEnabled && Date.now() - last.time > oldBackupMs) {
    return warning('backup', text, 'the nightly ones after it have not worked', start)
  }
  return good('backup', text)
}

function isThere(file: string): boolean {
  return statSync(file, { throwIfNoEntry: false }) !== undefined
}
