/**
 * JupyterHub with systemdspawner and configurable-http-proxy, each from its registry, on a host of the same kind as ours:
 * the same Debian, the same class environment with `jupyterhub` added (as TLJH does; its single-user server needs it).
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { bootHost, defaultLayers, type Host, type HostOptions } from '../../harness/host/host.ts'
import type { Layer } from '../../harness/image/image.ts'
import { claiming } from '../../harness/product/classroom.ts'
import { bootProduct, type Product, TLJH_TS } from '../../harness/product/product.ts'
import { makeRelease } from '../../harness/product/unpacked-release.ts'
import type { Course } from '../measure/benchmark.ts'
import type { Student } from '../measure/student.ts'
import { putOwnNode } from './own-node.ts'

/** The newest of each. */
const VERSIONS = {
  jupyterhub: '6.1.1',
  'jupyterhub-systemdspawner': '1.0.2',
  'jupyterhub-firstuseauthenticator': '1.1.0',
  'jupyterhub-idle-culler': '2.0.0',
  'configurable-http-proxy': '5.3.0',
}

const HUB = '/opt/peer/hub'
const PROXY = '/opt/peer/proxy'
const PROXY_NODE = `${PROXY}/node`
const STATE = '/opt/peer/state'

/** It takes two seconds. */
const START_LIMIT_MS = 60_000
const POLL_MS = 50

export interface JupyterHub extends AsyncDisposable {
  host: Host
  /** Without a slash at the end. */
  url: string
  /** What it is made of, for a person. */
  versions: string
}

export interface JupyterHubOptions extends HostOptions {
  /** Whoever logs in with one of these names has an account. */
  users: readonly string[]
  /** Of each server, as systemd writes them; `Slice` and `MemoryMax` are among them. */
  limits: Readonly<Record<string, string>>
  /** The unit file of the slice. */
  slice: string
  /** Whether passwords are kept and checked, as TLJH does; without, any will do. */
  hasPasswords?: boolean
}

/** The hub in an environment of its own, and its proxy. */
function jupyterHubLayer(): Layer {
  const python = [`jupyterhub==${VERSIONS.jupyterhub}`]
  const hub = [
    ...python,
    `jupyterhub-systemdspawner==${VERSIONS['jupyterhub-systemdspawner']}`,
    `jupyterhub-firstuseauthenticator==${VERSIONS['jupyterhub-firstuseauthenticator']}`,
    `jupyterhub-idle-culler==${VERSIONS['jupyterhub-idle-culler']}`,
  ]
  const proxy = `configurable-http-proxy@${VERSIONS['configurable-http-proxy']}`
  return {
    name: 'jupyterhub',
    inputs: { version: 1, python, hub, proxy },
    async build(root) {
      const pip = ['-m', 'pip', 'install', '--quiet', '--no-cache-dir', '--disable-pip-version-check', '--compile']
      await mkdir(join(root.path, PROXY), { recursive: true, mode: 0o755 })
      await mkdir(join(root.path, STATE), { mode: 0o700 })
      await root.run(['python3', '-m', 'venv', HUB])
      await root.run([`${HUB}/bin/python`, ...pip, ...hub])
      await root.run(['/opt/tljh/user/bin/python', ...pip, ...python])
      await root.onMachine([
        ...['npm', 'install', '--prefix', join(root.folder, PROXY), '--loglevel=error', '--no-audit', '--no-fund'],
        proxy,
      ])
      await root.run(['chmod', '-R', 'go+rX', '/opt/tljh/user'])
    },
  }
}

/** Our hub and theirs, each on a host of its own, for the same people with passwords and 1 GB each. */
export async function bootSideBySide(
  users: readonly string[],
  { cleanup, report }: Pick<Course, 'cleanup' | 'report'>,
): Promise<{ product: Product; peerHub: JupyterHub }> {
  const config = `${claiming}users:\n  allowed: [${users.join(', ')}]\nlimits: { memory: 1G }\n`
  // Not the checkout: its code is not prepared (installer/installation/compile-cache.ts).
  const release = cleanup.use(await makeRelease())
  const product = cleanup.use(await bootProduct({ config, release, report }))
  const limits = { Slice: 'tljh-users.slice', MemoryMax: String(2 ** 30) }
  const slice = '[Slice]\nMemoryAccounting=yes\n'
  const peerHub = cleanup.use(await bootJupyterHub({ users, limits, slice, hasPasswords: true, report }))
  return { product, peerHub }
}

/** Boots the host and starts the hub in it, as a unit. Resolves when the hub answers. */
export async function bootJupyterHub({
  users,
  limits,
  slice,
  hasPasswords = false,
  ...options
}: JupyterHubOptions): Promise<JupyterHub> {
  const host = await bootHost({ ...options, layers: [...defaultLayers(), jupyterHubLayer()] })
  try {
    const [, program = ''] = TLJH_TS
    await host.writeFile(`/etc/systemd/system/${limits.Slice}`, slice)
    for (const user of users)
      await host.run(['useradd', '--create-home', '--user-group', '--shell=/bin/bash', `jupyter-${user}`])
    await putOwnNode(host, PROXY_NODE)
    const command = [PROXY_NODE, `${PROXY}/node_modules/configurable-http-proxy/bin/configurable-http-proxy`]
    await host.run([
      ...['systemd-run', '--quiet', '--unit=jupyterhub', `--working-directory=${STATE}`],
      `--setenv=PATH=${HUB}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
      `--setenv=PEER_LIMITS=${JSON.stringify(limits)}`,
      `--setenv=PEER_AUTHENTICATOR=${hasPasswords ? 'firstuseauthenticator.FirstUseAuthenticator' : 'dummy'}`,
      `--setenv=PEER_PROXY=${JSON.stringify(command)}`,
      ...[`${HUB}/bin/jupyterhub`, '--config', program.replace(/[^/]*$/, 'test/bench/peers/jupyterhub_config.py')],
    ])
    const url = `http://${host.address}`
    await untilItAnswers(host, url)
    return { host, url, versions: describeVersions(), [Symbol.asyncDispose]: () => host.close() }
  } catch (error) {
    await host.close()
    throw error
  }
}

/** Stops the student's server, and waits until JupyterHub and systemd both see that it is gone. */
export async function stopAtJupyterHub({ host }: JupyterHub, student: Student): Promise<void> {
  // 202: it is being stopped; 204: there is none.
  for (;;) {
    const { status, body } = await student.send('DELETE', `/hub/api/users/${student.name}/server`)
    if (status === 204) break
    if (status !== 202) throw new Error(`JupyterHub does not stop the server: ${status} ${body}`)
    await delay(POLL_MS)
  }
  await host.run(['systemctl', 'stop', `jupyter-${student.name}.service`], { check: false })
}

async function untilItAnswers(host: Host, url: string): Promise<void> {
  const end = Date.now() + START_LIMIT_MS
  for (;;) {
    const answer = await fetch(`${url}/hub/health`).catch(() => undefined)
    if (answer?.ok) return
    if (Date.now() > end) {
      const { stdout } = await host.run(['journalctl', '--unit=jupyterhub', '--no-pager', '--lines=40'], {
        check: false,
      })
      throw new Error(`JupyterHub does not answer after ${START_LIMIT_MS} ms:\n${stdout}`)
    }
    await delay(POLL_MS)
  }
}

function describeVersions(): string {
  const { jupyterhub, ...others } = VERSIONS
  const list = Object.entries(others).map(([name, version]) => `${name} ${version}`)
  return `JupyterHub ${jupyterhub} with ${list.join(' and ')}`
}
