/**
 * The Python environment of a class whose Python has gone: an upgrade of the system to its next release brings another
 * /usr/bin/python3 (3.11 in Debian 12, 3.13 in Debian 13), which finds none of the packages.
 *
 * No Python can be asked then what was installed. So it is read from the files that pip and uv leave beside each package
 * (`NAME.dist-info`, as the Python Packaging User Guide has it).
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { runProgram } from '../../machine/run-program.ts'

export interface FormerPython {
  /** Such as `3.11`. */
  version: string
  /** Of the Python that is there now; undefined where the environment leads to none. */
  now: string | undefined
  /** Where its packages lie. */
  sitePackages: string
}

interface Package {
  name: string
  version: string
  /** Names of packages that it needs, whatever is wanted of it. */
  needs: readonly string[]
  /** As a requirement, where it came from no index. */
  origin: string | undefined
}

/** What every environment has, and a new one brings. */
const seeds = ['pip', 'setuptools', 'wheel']
const askTimeoutMs = 60_000

/** The Python that an environment was made with, as major and minor number. Undefined where it is none of venv's or uv's. */
export function madeWith(place: string): string | undefined {
  return /^version(?:_info)? *= *(\d+\.\d+)/m.exec(readIfThere(join(place, 'pyvenv.cfg')))?.[1]
}

/** Undefined where the environment has the Python that it was made with. */
export async function formerPython(place: string): Promise<FormerPython | undefined> {
  const version = madeWith(place)
  const sitePackages = join(place, `lib/python${version}/site-packages`)
  if (!version || !existsSync(sitePackages)) return undefined
  const now = await versionOf(join(place, 'bin/python'))
  return now === version ? undefined : { version, now, sitePackages }
}

async function versionOf(python: string): Promise<string | undefined> {
  if (!existsSync(python)) return undefined
  const program = 'import sys; print("%d.%d" % sys.version_info[:2])'
  const { code, stdout } = await runProgram(python, ['-I', '-S', '-c', program], { timeoutMs: askTimeoutMs })
  return code === 0 ? stdout.trim() : undefined
}

/**
 * What was added to such an environment, as a requirements file without versions: those that there were need not exist for
 * another Python. Left out is what another package brings, and what `own`, a requirements file, asks for.
 */
export function addedPackages({ sitePackages, version }: FormerPython, own: string): string {
  const packages = packagesIn(sitePackages)
  const known = new Set([...seeds, ...own.split('\n').map(nameOf), ...packages.flatMap(({ needs }) => needs)])
  const added = packages.filter(({ name }) => !known.has(name)).toSorted((a, b) => (a.name < b.name ? -1 : 1))
  const lines = added.map(one => `${one.origin ?? one.name}  # ${one.version} with Python ${version}`)
  return `# What the class environment had beside its own packages, with the Python before.\n${lines.map(line => `${line}\n`).join('')}`
}

function packagesIn(folder: string): Package[] {
  return readdirSync(folder)
    .filter(name => name.endsWith('.dist-info'))
    .flatMap(name => {
      const [head = ''] = readIfThere(join(folder, name, 'METADATA')).split(/\r?\n\r?\n/)
      const all = (key: string) =>
        [...head.matchAll(new RegExp(`^${key}: *(.*?)\\r?$`, 'gm'))].map(found => found[1] ?? '')
      const [found] = all('Name')
      if (!found) return []
      // What is needed for an extra alone may have been installed for its own sake.
      const needs = all('Requires-Dist').filter(text => !/;.*\bextra\b/.test(text))
      const [version = '?'] = all('Version')
      return [{ name: nameOf(found), version, needs: needs.map(nameOf), origin: originOf(join(folder, name)) }]
    })
}

/** Where it came from, if not from an index: a repository, a file or a folder, as direct_url.json says. */
function originOf(distInfo: string): string | undefined {
  const text = readIfThere(join(distInfo, 'direct_url.json'))
  if (!text) return undefined
  const { url, vcs_info } = JSON.parse(text) as {
    url: string
    vcs_info?: { vcs: string; commit_id: string; requested_revision?: string }
  }
  return vcs_info ? `${vcs_info.vcs}+${url}@${vcs_info.requested_revision ?? vcs_info.commit_id}` : url
}

/** Of a requirement, in the one spelling that counts. */
function nameOf(requirement: string): string {
  return (/^[A-Za-z0-9._-]*/.exec(requirement)?.[0] ?? '').toLowerCase().replace(/[-_.]+/g, '-')
}

function readIfThere(file: string): string {
  return existsSync(file) ? readFileSync(file, 'utf8') : ''
}
