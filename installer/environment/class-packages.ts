/**
 * What is in the Python environment of the class, as a list that can be installed elsewhere. uv does it where we brought it, else pip. Programs
 * of the environment run isolated (`-I`): no variable and nothing in a folder of a user's is taken for a module.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Layout } from '../../machine/layout.ts'
import { runProgram } from '../../machine/run-program.ts'
import { alone, networkSettings } from './class-environment.ts'

const readTimeoutMs = 120_000
/** A big one, over a slow network. */
const installTimeoutMs = 2 * 3600_000

function python({ classEnvironment }: Layout): string {
  return join(classEnvironment, 'bin/python')
}

/** Such as `3.11.2`; undefined where there is no environment. */
export async function classPython(layout: Layout): Promise<string | undefined> {
  if (!existsSync(python(layout))) return undefined
  const program = 'import platform; print(platform.python_version())'
  const { code, stdout } = await runProgram(python(layout), ['-I', '-c', program], { timeoutMs: readTimeoutMs })
  return code === 0 ? stdout.trim() : undefined
}

/** A line for each package, `name==version`; undefined where there is no environment, or none that answers. */
export async function frozenPackages(layout: Layout): Promise<string | undefined> {
  if (!existsSync(python(layout))) return undefined
  const uv = join(layout.hub, 'bin/uv')
  const [file, ...args] = existsSync(uv)
    ? [uv, 'pip', 'freeze', '--quiet', '--python', python(layout)]
    : [python(layout), '-I', '-m', 'pip', 'freeze', '--disable-pip-version-check']
  const { code, stdout } = await runProgram(file, args, { timeoutMs: readTimeoutMs, env: { UV_NO_CACHE: '1' } })
  return code === 0 ? stdout : undefined
}

/**
 * Installs what such a list names. Answers why it could not.
 * @param environment of the process: proxies, indexes and certificates are taken from it
 */
export async function installPackages(
  layout: Layout,
  listFile: string,
  environment: NodeJS.ProcessEnv,
): Promise<string | undefined> {
  if (!existsSync(python(layout))) return `there is no ${layout.classEnvironment}`
  const uv = join(layout.hub, 'bin/uv')
  const program = existsSync(uv)
    ? [uv, 'pip', 'install', '--quiet', '--python', python(layout), '--requirement', listFile]
    : [
        python(layout),
        '-I',
        '-m',
        'pip',
        'install',
        '--quiet',
        '--disable-pip-version-check',
        '--requirement',
        listFile,
      ]
  const [file, args] = alone(layout, program)
  const ofPip = Object.fromEntries(Object.entries(environment).filter(([name]) => name.startsWith('PIP_')))
  const env = { ...ofPip, ...networkSettings(environment) }
  const { code, stderr } = await runProgram(file, args, { timeoutMs: installTimeoutMs, env })
  return code === 0 ? undefined : (stderr.split('\n').findLast(line => line.trim() !== '') ?? `code ${code}`)
}
