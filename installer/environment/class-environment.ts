/**
 * The Python environment of the class, PREFIX/user: root's, read by everybody, written by nobody else.
 *
 * uv makes it with the machine's own Python, at its final place, because the programs in it hold their path. While it is being made or
 * changed, a file beside it says which of the two (PREFIX/user.unfinished). One whose making was broken off is removed and made again, from
 * what uv has downloaded already. An environment that was there before, of TLJH or made by hand, is kept, and what is missing is added; where
 * a change of it was broken off, packages may be known to it whose files are not all there, so the next run puts ours in anew.
 *
 * One whose Python has gone with an upgrade of the system gets the machine's new one, our packages, and those that were added to it. What
 * else lies in it (kernels in other languages, settings) stays.
 *
 * uv outlives an installer that is killed. So all that changes the environment runs under one lock (PREFIX/hub/uv.lock), and the next waits.
 *
 * uv reads no pip.conf: indexes that pip knows of, in variables or in /etc/pip.conf, are told to it.
 */
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { codeFolder, type Layout } from '../../machine/layout.ts'
import { lockFile } from '../../machine/lock-file.ts'
import { replaceFile } from '../../machine/replace-file.ts'
import { type CommandResult, runProgram } from '../../machine/run-program.ts'
import { ProblemError } from '../../problem.ts'
import { addedPackages, type FormerPython, formerPython, madeWith } from './former-python.ts'

export interface ClassEnvironment {
  /**
   * Makes it, or makes right what JupyterLab needs in it: packages that are missing, of another version than fits, or not whole, and files that
   * students cannot read. Other packages stay. Answers whether something was amiss. Throws `INSTALL_ENVIRONMENT`, with what uv said last.
   */
  ensure(): Promise<boolean>
  /**
   * Adds what a requirements file of pip's asks for, by path or URL, within the versions that ours allow. Answers whether something
   * was missing. Throws `INSTALL_REQUIREMENTS`. The environment is as it was then, if no versions were found or the packages did not
   * come; where putting them in place failed, the note is left, and the next `ensure` and `add` put all of it in anew.
   */
  add(requirements: string): Promise<boolean>
  /** Adds what it had before its Python was another, where `ensure` has found it so. Otherwise as `add`. */
  addFormer(): Promise<boolean>
}

const ownRequirements = join(import.meta.dirname, 'class-environment.txt')
const python = '/usr/bin/python3'
const uvCache = '/var/cache/tljh-ts/uv'
/** A class environment is 250 MB; on 1 Mbit/s that is over half an hour. */
const timeoutMs = 2 * 3600_000
const oldestPython = '3.9'

const faultsProgram = join(import.meta.dirname, 'class-faults.py')

/** What the note says of an environment that was whole before. Everything else, nothing too: it was being made. */
const changing = 'changing\n'

/**
 * @param environment of the process: proxies, indexes and certificates are taken from it
 * @param uvProgram in place of the one of the release
 */
export function classEnvironment(layout: Layout, environment: NodeJS.ProcessEnv, uvProgram?: string): ClassEnvironment {
  const place = layout.classEnvironment
  const [unfinished, formerList] = notesOf(layout)
  const ownPython = join(place, 'bin/python')
  const env = networkSettings(environment)
  /** An earlier run has left a change half done. */
  const wasChanging = readIfThere(unfinished) === changing

  async function run(program: readonly string[]): Promise<CommandResult> {
    const [file, args] = alone(layout, program)
    return await runProgram(file, args, { env, timeoutMs })
  }

  async function uv(args: readonly string[]): Promise<CommandResult> {
    return await run([uvProgram ?? findUv(), '--color=never', '--no-progress', ...args])
  }

  const install = (...files: string[]) => [
    ...['pip', 'install', '--python', ownPython, '--compile-bytecode'],
    ...files.flatMap(file => ['--requirement', file]),
  ]

  /** Of an environment that is there. The note stays where files of it may be missing. */
  async function change(files: readonly string[], again: readonly string[] = []): Promise<CommandResult> {
    replaceFile(unfinished, changing)
    const result = await uv([...install(...files), ...(wasChanging ? ['--reinstall'] : again)])
    await setModes()
    // Before it has found versions that fit, uv touches nothing.
    const isUntouched = !wasChanging && !/^[ \t]*Resolved \d/m.test(result.stderr)
    if (result.code === 0 || isUntouched) rmSync(unfinished)
    return result
  }

  /** The list is kept until what it names is there: the packages that it was read from are out of use from then on. */
  async function givePython(former: FormerPython | undefined): Promise<void> {
    await checkPython()
    if (former) replaceFile(formerList, addedPackages(former, readFileSync(ownRequirements, 'utf8')))
    replaceFile(unfinished, changing)
    succeed(await uv(['venv', '--allow-existing', '--seed', '--python', python, place]))
  }

  return {
    async ensure() {
      if (existsSync(place) && (wasChanging || !existsSync(unfinished))) {
        const former = await formerPython(place)
        let again: readonly string[] = []
        // Where that was broken off, the Python may be there without its pip.
        if (former || (wasChanging && existsSync(formerList))) await givePython(former)
        else {
          if (!existsSync(ownPython)) throw foreign(place)
          const hadOtherModes = await setModes()
          again = wasChanging ? [] : await faults()
          if (!wasChanging && again.length === 0) return hadOtherModes
        }
        succeed(await change([ownRequirements], again))
        return true
      }
      await checkPython()
      replaceFile(unfinished, 'making\n')
      // Under the lock, as an uv may still be at work in it.
      succeed(await run(['rm', '--recursive', '--force', '--one-file-system', '--', place]))
      succeed(await uv(['venv', '--seed', '--python', python, place]))
      succeed(await uv(install(ownRequirements)))
      await setModes()
      rmSync(unfinished)
      return true
    },
    async add(requirements) {
      const isUrl = /^https?:\/\//.test(requirements)
      const file = isUrl || isAbsolute(requirements) ? requirements : resolve(requirements)
      if (!isUrl && !existsSync(file)) throw notAdded(requirements, 'there is no such file', requirements)
      const result = await change([ownRequirements, file])
      if (result.code !== 0)
        throw notAdded(requirements, `${reasonOf(result.stderr)}\n${lastLines(result.stderr)}`, file)
      return /^[ \t]*Installed \d/m.test(result.stderr)
    },
    async addFormer() {
      if (!existsSync(formerList)) return false
      await this.add(formerList)
      const folders = readdirSync(join(place, 'lib')).filter(name => /^python\d/.test(name))
      for (const name of folders.filter(name => name !== `python${madeWith(place)}`))
        rmSync(join(place, 'lib', name), { recursive: true })
      rmSync(formerList)
      return true
    },
  }

  /**
   * All may read, and none but root write. Answers whether a mode was another: packages bring files with modes of their own, and so does a pip
   * under another umask. uv leaves a lock that everybody may write to, and so hold.
   */
  async function setModes(): Promise<boolean> {
    rmSync(join(place, '.lock'), { force: true })
    // chmod(1) by itself writes to each of 20,000 files, right or not; on an overlay that copies them all.
    const wrong = [
      ...['-perm', '/022', '-o', '!', '-perm', '-044', '-o', '-type', 'd', '!', '-perm', '-011'],
      ...['-o', '-perm', '/111', '!', '-perm', '-011'],
    ]
    const args = [
      '-H',
      place,
      '!',
      '-type',
      'l',
      '(',
      ...wrong,
      ')',
      '-print',
      '-exec',
      'chmod',
      'go+rX,go-w',
      '{}',
      '+',
    ]
    return (await runProgram('find', args, { timeoutMs: 300_000 })).stdout !== ''
  }

  /** What uv is to put in anew, as its options: nothing, packages by name, or where the environment cannot tell, all. */
  async function faults(): Promise<string[]> {
    const input = readFileSync(ownRequirements, 'utf8')
    const { code, stdout } = await runProgram(ownPython, ['-I', faultsProgram], { input })
    if (code !== 0) return ['--reinstall']
    return stdout.split('\n').flatMap(name => (name ? ['--reinstall-package', name] : []))
  }
}

/** What lies beside an environment that is not whole: what was being done, and which packages it had with its Python before. */
export function notesOf({ classEnvironment: place }: Layout): [unfinished: string, formerList: string] {
  return [`${place}.unfinished`, `${place}.former-packages.txt`]
}

/**
 * The command line by which a program that changes the class's environment waits until no other one does, whoever has started that. The lock
 * is root's alone: whoever may open it can hold it.
 */
export function alone({ versions }: Layout, program: readonly string[]): [file: string, args: string[]] {
  return ['flock', ['--no-fork', lockFile(join(dirname(versions), 'uv.lock')), ...program]]
}

/** The one of the release, else the machine's. */
function findUv(): string {
  const own = join(codeFolder, 'bin/uv')
  if (existsSync(own)) return own
  for (const folder of ['/usr/local/bin', '/usr/bin', '/root/.local/bin']) {
    if (existsSync(join(folder, 'uv'))) return join(folder, 'uv')
  }
  throw problem(
    'the program uv is not there, which installs Python’s packages',
    'It is part of each release; in a checkout, put it there: sudo python3 -m venv /opt/uv && sudo /opt/uv/bin/pip install uv && ' +
      'sudo ln -s /opt/uv/bin/uv /usr/local/bin/uv',
  )
}

async function checkPython(): Promise<void> {
  const program = `import sys; sys.exit(sys.version_info < (${oldestPython.replace('.', ', ')}))`
  const isThere = existsSync(python)
  if (isThere && (await runProgram(python, ['-I', '-c', program])).code === 0) return
  throw problem(
    isThere ? `${python} is older than Python ${oldestPython}` : `there is no ${python}`,
    'Use one of the systems that README names, and see: sudo apt-get install python3',
  )
}

/** `uvEnvironment` with what pip is told on this machine. */
export function networkSettings(environment: NodeJS.ProcessEnv): Record<string, string> {
  return uvEnvironment(environment, readIfThere('/etc/pip.conf'))
}

/** What uv gets of the process's variables, and what follows from those that only pip knows. */
export function uvEnvironment(environment: NodeJS.ProcessEnv, pipConf: string): Record<string, string> {
  const passed = Object.entries(environment).filter(
    ([name, value]) =>
      value !== undefined && /^(https?_proxy|no_proxy|all_proxy|netrc|ssl_cert_(file|dir)|uv_\w+)$/i.test(name),
  ) as [string, string][]
  const { PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_CERT, REQUESTS_CA_BUNDLE, PIP_TRUSTED_HOST } = environment
  const ofPip = {
    UV_DEFAULT_INDEX: PIP_INDEX_URL ?? optionOf(pipConf, 'index-url'),
    UV_INDEX: PIP_EXTRA_INDEX_URL ?? optionOf(pipConf, 'extra-index-url'),
    UV_INSECURE_HOST: PIP_TRUSTED_HOST ?? optionOf(pipConf, 'trusted-host'),
    SSL_CERT_FILE: PIP_CERT ?? REQUESTS_CA_BUNDLE ?? optionOf(pipConf, 'cert'),
  }
  const told = Object.fromEntries(passed)
  if (told.UV_INDEX_URL) told.UV_DEFAULT_INDEX ??= told.UV_INDEX_URL
  for (const [name, value] of Object.entries(ofPip)) if (value) told[name] ??= value
  delete told.UV_INDEX_URL
  return {
    ...told,
    HOME: '/root',
    UV_CACHE_DIR: uvCache,
    UV_PYTHON_DOWNLOADS: 'never',
    // The certificates that this machine trusts, with those that its owner added.
    UV_SYSTEM_CERTS: 'true',
  }
}

/** Of a section of pip.conf that counts for an installation. Several values stand on lines of their own. */
function optionOf(pipConf: string, name: string): string | undefined {
  const sections = pipConf.split(/^(?=\[)/m).filter(text => /^\[(global|install)\]/.test(text))
  const found = sections.flatMap(
    text => new RegExp(`^${name}\\s*[=:]\\s*((?:.*)(?:\\n[ \\t]+.*)*)`, 'm').exec(text)?.[1] ?? [],
  )
  return found.at(-1)?.trim().split(/\s+/).join(' ') || undefined
}

function readIfThere(file: string): string {
  return existsSync(file) ? readFileSync(file, 'utf8') : ''
}

function succeed({ code, stderr }: CommandResult): void {
  if (code === 0) return
  throw problem(
    `${reasonOf(stderr)}\n${lastLines(stderr)}`,
    'Start the same command again: what was downloaded is kept, and it goes on where it was',
  )
}

/** What uv says, in a sentence. */
function reasonOf(stderr: string): string {
  const reasons: [RegExp, string][] = [
    [/No space left on device|os error 28/i, 'the disk is full (df -h)'],
    [
      /invalid peer certificate|UnknownIssuer|certificate/i,
      'the package index has a certificate that this machine does not trust',
    ],
    [
      /dns error|failed to lookup|name resolution/i,
      'the package index was not found: the network is down, or needs a proxy (export https_proxy=…)',
    ],
    [/timed? ?out|operation timed/i, 'the package index did not answer in time'],
    [
      /error sending request|Connection (?:refused|reset)|network is unreachable|tcp connect|Failed to fetch/i,
      'the package index could not be reached, or the connection broke',
    ],
    [
      /was not found in the package registry|no version of|no versions of|not found in the/i,
      'the package index does not have a package that is asked for',
    ],
    [/unsatisfiable|No solution found/i, 'there are no versions of the packages that fit each other'],
    [/Failed to build|build backend/i, 'a package could not be built on this machine'],
  ]
  return reasons.find(([pattern]) => pattern.test(stderr))?.[1] ?? 'uv could not install the packages'
}

function lastLines(stderr: string): string {
  return stderr
    .split('\n')
    .slice(-8)
    .map(line => `    uv: ${line}`)
    .join('\n')
}

function foreign(place: string): ProblemError {
  return problem(
    `${place} is there, and is no Python environment`,
    `Nothing in it was touched. Move it away: sudo mv ${place} ${place}.old. Then start the same command again`,
  )
}

function problem(why: string, fix: string): ProblemError {
  return new ProblemError('INSTALL_ENVIRONMENT', { what: 'The Python environment of the class was not made', why, fix })
}

function notAdded(requirements: string, why: string, file: string): ProblemError {
  return new ProblemError('INSTALL_REQUIREMENTS', {
    what: `What ${requirements} asks for is not in the Python environment of the class`,
    why,
    fix: `The hub runs without it. Mend that, and try again: sudo tljh-ts install --requirements ${file}`,
  })
}
