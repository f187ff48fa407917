/**
 * A host with the product installed and running, as an instructor has it after the one line.
 *
 *   await using product = await bootProduct({ config: 'limits:\n  memory: 300M\n' })
 *   const page = await fetch(`${product.url}/hub/login`)
 */
import { dirname, join } from 'node:path'
import { bootHost, type Host, type HostOptions } from '../host/host.ts'
import { visit } from '../people/visitor.ts'
import { PLACED, type Release } from './unpacked-release.ts'

export interface ProductOptions extends HostOptions {
  /** The text of /opt/tljh/config/config.yaml before the product is installed. */
  config?: string | undefined
  /** The name of the first admin. */
  admin?: string | undefined
  /** What is installed; without, the checkout. A host with a release has no tests in it. */
  release?: Release | undefined
}

export interface Product extends AsyncDisposable {
  host: Host
  /** Without a slash at the end. */
  url: string
  admin: string
  adminPassword: string
}

/** In a host, the command line of the product: `host.run([...TLJH_TS, 'config', 'show'])`. */
export const TLJH_TS: readonly string[] = [
  '/opt/tljh/hub/current/node_modules/node/bin/node',
  '/opt/tljh/hub/current/tljh-ts.ts',
]

/** In a host that has the checkout, the command line of a program that lies in it, such as `test/harness/peers/http-cases-server.ts`. */
export function checkoutProgram(path: string): string[] {
  const [node = '', program = ''] = TLJH_TS
  return [node, '--disable-warning=ExperimentalWarning', join(dirname(program), path)]
}

/** Without what takes long and tests do not need: a server at the end, and a page meanwhile. */
const installCommand = ['install', '--no-self-test', '--no-progress-page']
export const INSTALL: readonly string[] = [...TLJH_TS, ...installCommand]

/** An installation from what is on the disk already takes seconds. */
const INSTALL_TIMEOUT_MS = 5 * 60_000

/** Boots a host and installs the product in it. */
export async function bootProduct(given: ProductOptions = {}): Promise<Product> {
  const { config, admin = 'admin', release, ...options } = given
  const host = await bootHost({ ...options, isBare: release !== undefined })
  try {
    await release?.place(host)
    if (config !== undefined) await host.writeFile('/opt/tljh/config/config.yaml', config, { mode: 0o640 })
    options.report?.('installing the product')
    const { stdout } = await host.run([...(release ? PLACED : TLJH_TS), ...installCommand, '--admin', admin], {
      timeoutMs: INSTALL_TIMEOUT_MS,
    })
    const code = /^one-time code: (\S+)$/m.exec(stdout)?.[1]
    if (!code) throw new Error(`the installer printed no line "one-time code: …":\n${stdout}`)
    const url = `http://${host.address}`
    const basePath = new URL(/^address: (\S+)$/m.exec(stdout)?.[1] ?? url).pathname
    const adminPassword = 'a stapled battery'
    await choosePassword(`${url}${basePath.slice(0, -1)}`, admin, code, adminPassword)
    return { host, url, admin, adminPassword, [Symbol.asyncDispose]: () => host.close() }
  } catch (error) {
    await host.close()
    throw error
  }
}

/** As a person does who was given a one-time code. `url` has the hub's path, if any, and no slash at the end. */
export async function choosePassword(url: string, username: string, code: string, password: string): Promise<void> {
  const visitor = visit(url)
  await visitor.request(`/hub/welcome?${new URLSearchParams({ user: username, code })}`)
  const { status, body } = await visitor.post('/hub/welcome', { username, code, password, repeated: password })
  if (status !== 302 && status !== 303) throw new Error(`${username} could not choose a password: ${status} ${body}`)
}
