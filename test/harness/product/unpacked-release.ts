/**
 * A release at its place on a host, as install.sh leaves it: unpacked, and nothing done with it yet.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Host } from '../host/host.ts'
import { execute } from '../host/run-program.ts'
import { cacheFolders } from '../image/cache.ts'
import { packTestVersion } from './release-tree.ts'

export const version = '0.1.0'
const folder = `/opt/tljh/hub/versions/${version}`

/** The command line of the release that was placed. */
export const PLACED: readonly string[] = [`${folder}/node_modules/node/bin/node`, `${folder}/tljh-ts.ts`]

export interface Release extends AsyncDisposable {
  place(host: Host): Promise<void>
}

/** Makes a release of the checkout, to be placed on as many hosts, as often, as one likes. */
export async function makeRelease(): Promise<Release> {
  const base = join(cacheFolders().downloads, 'releases')
  await mkdir(base, { recursive: true })
  const scratch = await mkdtemp(join(base, '.placed-'))
  const file = join(scratch, 'release.tar.gz')
  await packTestVersion({ version }, { site: 'http://127.0.0.1', signers: '', file })
  return {
    async place(host) {
      const target = join(host.rootPath, folder)
      await mkdir(target, { recursive: true, mode: 0o755 })
      const unpack = ['tar', '--extract', '--gzip', `--file=${file}`, `--directory=${target}`, '--strip-components=1']
      await execute([...unpack, '--no-same-owner'])
    },
    [Symbol.asyncDispose]: () => rm(scratch, { recursive: true, force: true }),
  }
}
