/**
 * What a version's folder says of itself: `release.json` and `release.pub`, which `npm run release` puts into it.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { codeFolder } from '../../machine/layout.ts'

export interface Release {
  version: string
  /** As Node.js names it: `x64`, `arm64`. */
  arch: string
  /** Where it came from, and where later ones are. Without a slash at the end. */
  site: string
}

/** Of the code that runs, or of another version's folder. Undefined in a checkout, which comes from nowhere. */
export async function releaseIn(folder: string = codeFolder): Promise<Release | undefined> {
  const text = await readFile(join(folder, 'release.json'), 'utf8').catch(() => undefined)
  if (text === undefined) return undefined
  const { version = '', arch = '', site = '' } = JSON.parse(text) as Partial<Release>
  return { version, arch, site: site.replace(/\/+$/, '') }
}

/** Who may sign what comes after the version in that folder: in the form of allowed_signers (ssh-keygen(1)). */
export function signersIn(folder: string = codeFolder): string {
  return join(folder, 'release.pub')
}
