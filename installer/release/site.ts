/**
 * The folder that is published, and that install.sh and `tljh-ts upgrade` read:
 *
 *   install.sh
 *   releases, releases.sig                 one version a line, the oldest first
 *   X.Y.Z/tljh-ts-X.Y.Z-linux-ARCH.tar.gz
 *   X.Y.Z/tljh-ts-X.Y.Z.cdx.json           the bill of materials
 *   X.Y.Z/SHA256SUMS, SHA256SUMS.sig
 *
 * The list names a version only after its files are whole, so the folder can be served while a release is added.
 */
import { existsSync } from 'node:fs'
import { chmod, mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { sha256 } from './archive.ts'
import { stopped } from './programs.ts'
import { allowedSigners, type Signer, sign } from './signing.ts'
import type { Arch } from './tools.ts'

export interface Site {
  folder: string
  /** Where the folder will be read, without a slash at the end. */
  url: string
  signer: Signer
}

const template = join(dirname(import.meta.dirname), 'install.sh')

/** Checks an address that goes into a shell script, and takes the slash off its end. */
export function siteUrl(text: string): string {
  const url = URL.parse(text)
  if (!url || !/^https?:$/.test(url.protocol) || url.search || url.hash || !/^[\w:/.%~[\]-]+$/.test(url.href)) {
    throw stopped(`${JSON.stringify(text)} is no address of a site`, 'Write it like --site https://example.org/tljh-ts')
  }
  return url.href.replace(/\/+$/, '')
}

export function archiveName(version: string, arch: Arch): string {
  return `tljh-ts-${version}-linux-${arch}.tar.gz`
}

/** Signs the files that lie in the version's folder of the site, and names the version in the list. */
export async function publish({ folder, url, signer }: Site, version: string): Promise<void> {
  const files = (await readdir(join(folder, version))).filter(name => name.startsWith('tljh-ts-')).toSorted()
  const lines = await Promise.all(files.map(async name => `${await sha256(join(folder, version, name))}  ${name}\n`))
  await writeSigned(join(folder, version, 'SHA256SUMS'), lines.join(''), signer)

  const list = join(folder, 'releases')
  const known = existsSync(list) ? (await readFile(list, 'utf8')).split('\n').filter(Boolean) : []
  const versions = [...new Set([...known, version])].toSorted(byAge)
  await writeSigned(list, versions.map(name => `${name}\n`).join(''), signer)

  const text = await readFile(template, 'utf8')
  const script = join(folder, 'install.sh')
  const signers = (await allowedSigners(signer)).trim()
  await writeFile(
    `${script}.new`,
    text.replaceAll('@SITE@', () => url).replaceAll('@SIGNERS@', () => signers),
  )
  await chmod(`${script}.new`, 0o755)
  await rename(`${script}.new`, script)
}

async function writeSigned(path: string, content: string, signer: Signer): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, content)
  await sign(path, signer)
}

/** Orders versions: 0.9.0, 0.10.0-rc.1, 0.10.0. */
export function byAge(one: string, other: string): number {
  const [[a, preA], [b, preB]] = [parts(one), parts(other)]
  for (const [index, number] of a.entries()) if (number !== b[index]) return number - (b[index] ?? 0)
  if (preA === preB) return 0
  // A version without an addition comes after those that led to it.
  if (!preA || !preB) return preA ? -1 : 1
  return preA.localeCompare(preB, 'en', { numeric: true })
}

function parts(version: string): [number[], string] {
  const [numbers = '', ...pre] = version.split('-')
  return [numbers.split('.').map(Number), pre.join('-')]
}
