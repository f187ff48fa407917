/**
 * A host on which a release is installed, with the site that it came from: what `tljh-ts upgrade` begins with.
 *
 *   await using installed = await installRelease({ versions: [{ version: '0.1.0' }, { version: '0.2.0' }] })
 *   await installed.tljhTs('upgrade', '0.2.0')
 */
import { readFile } from 'node:fs/promises'
import { bootHost, defaultLayers, type Host } from '../host/host.ts'
import type { CommandResult } from '../host/run-program.ts'
import { opensshClient } from '../image/layers.ts'
import { claiming } from './classroom.ts'
import { type ReleaseSite, serveReleases, type TestVersion } from './release-site.ts'

export interface Installed extends AsyncDisposable {
  host: Host
  site: ReleaseSite
  /** Without a slash at the end. */
  url: string
  /** The command line, as root. Does not throw. */
  tljhTs(...args: string[]): Promise<CommandResult>
  /** What lies in PREFIX/hub/versions. */
  versions(): Promise<string[]>
  /** To which of them PREFIX/hub/current leads. */
  current(): Promise<string>
}

const limitMs = 5 * 60_000

/** Installs the first of the versions, for these users, who choose a password by being first. */
export async function installRelease({
  versions,
  users = ['ann', 'bob'],
}: {
  versions: readonly TestVersion[]
  users?: readonly string[]
}): Promise<Installed> {
  const host = await bootHost({ isBare: true, layers: [...defaultLayers(), opensshClient()] })
  const site = await serveReleases({ versions, host }).catch(async error => {
    await host.close()
    throw error
  })
  const close = async () => {
    await host.close()
    await site[Symbol.asyncDispose]()
  }
  try {
    const config = `users:\n  allowed: [${users.join(', ')}]\n${claiming}`
    await host.writeFile('/opt/tljh/config/config.yaml', config, { mode: 0o640 })
    const version = versions[0]?.version ?? ''
    const folder = `/opt/tljh/hub/versions/${version}`
    await host.run(['mkdir', '-p', folder])
    const archive = await readFile(`${site.folder}${site.archivePath(version)}`)
    const unpack = ['tar', '--extract', '--gzip', '--strip-components=1', '--directory', folder]
    await host.run(unpack, { input: archive, timeoutMs: limitMs })
    const node = `${folder}/node_modules/node/bin/node`
    const install = ['install', '--admin', 'admin', '--no-self-test', '--no-progress-page']
    await host.run([node, `${folder}/tljh-ts.ts`, ...install], { timeoutMs: limitMs })
  } catch (error) {
    await close()
    throw error
  }
  return {
    ...{ host, site, url: `http://${host.address}` },
    tljhTs: (...args) => host.run(['tljh-ts', ...args], { check: false, timeoutMs: limitMs }),
    async versions() {
      return (await host.run(['ls', '-A', '/opt/tljh/hub/versions'])).stdout.split('\n').filter(Boolean)
    },
    async current() {
      return (await host.run(['readlink', '/opt/tljh/hub/current'])).stdout.trim().replace('versions/', '')
    },
    [Symbol.asyncDispose]: close,
  }
}
