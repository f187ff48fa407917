/**
 * Debian's nginx, Caddy and Apache on a test host, before the hub: with the configurations that docs/behind-proxy.md gives people, letter by
 * letter but for the name and the ports.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Host } from '../host/host.ts'
import { CHECKOUT } from '../image/cache.ts'
import type { Layer } from '../image/image.ts'
import { debianPackages } from '../image/layers.ts'

export const frontProxies = ['nginx', 'caddy', 'apache'] as const
export type FrontProxy = (typeof frontProxies)[number]

/** The ports for https. */
export const portOf: Readonly<Record<FrontProxy, number>> = { nginx: 8443, caddy: 8444, apache: 8445 }

/** The names of the blocks in the page. */
const blockOf: Readonly<Record<FrontProxy, string>> = { nginx: 'nginx', caddy: 'caddyfile', apache: 'apache' }
const certificate = '/etc/ssl/hub/cert.pem'
const key = '/etc/ssl/hub/key.pem'

/** The packages, and no web server that starts by itself. */
export function frontProxyLayer(): Layer {
  const packages = ['nginx-light', 'caddy', 'apache2']
  return debianPackages('web-servers', packages, ['nginx.service', 'caddy.service', 'apache2.service'])
}

/** Starts all three for the hub at its unix socket. Resolves when they listen. */
export async function startFrontProxies(host: Host, name: string, tls: { key: string; chain: string }): Promise<void> {
  await host.writeFile(key, tls.key, { mode: 0o644 })
  await host.writeFile(certificate, tls.chain, { mode: 0o644 })
  await Promise.all([startNginx(host, name), startCaddy(host, name), startApache(host, name)])
}

async function startNginx(host: Host, name: string): Promise<void> {
  await host.run(['rm', '--force', '/etc/nginx/sites-enabled/default'])
  await host.writeFile('/etc/nginx/sites-enabled/hub', fromThePage('nginx', name))
  await host.run(['nginx', '-t', '-q'])
  await startService(host, 'nginx', 'forking', ['nginx'])
}

async function startCaddy(host: Host, name: string): Promise<void> {
  const block = fromThePage('caddy', name)
  // No authority would give it a certificate here, and the ports for asking one are others'.
  const site = replaced(block, '{\n', `{\n\ttls ${certificate} ${key}\n`)
  const globals = '{\n\tadmin off\n\tauto_https disable_redirects\n}\n'
  await host.writeFile('/etc/caddy/Caddyfile', globals + site)
  const program = ['caddy', 'run', '--config', '/etc/caddy/Caddyfile', '--adapter', 'caddyfile']
  await startService(host, 'caddy', 'notify', program)
}

async function startApache(host: Host, name: string): Promise<void> {
  const port = portOf.apache
  await host.run(['a2dissite', '-q', '000-default'])
  await host.run(['a2enmod', '-q', 'proxy', 'proxy_http', 'headers', 'ssl'])
  await host.writeFile('/etc/apache2/ports.conf', `Listen ${port}\nListen ${plainPort(port)}\n`)
  await host.writeFile('/etc/apache2/sites-available/hub.conf', fromThePage('apache', name))
  await host.run(['a2ensite', '-q', 'hub'])
  await host.run(['apachectl', 'configtest'])
  await startService(host, 'apache', 'forking', ['apachectl', 'start'])
}

/** What Debian's own unit sets: else apachectl asks for that unit. */
const ofApache = '--setenv=APACHE_STARTED_BY_SYSTEMD=true'

async function startService(host: Host, name: string, type: string, program: readonly string[]): Promise<void> {
  const options = ['--quiet', `--unit=test-${name}`, `--service-type=${type}`, '--setenv=HOME=/root', ofApache]
  await host.run(['systemd-run', ...options, '--property=NotifyAccess=all', ...program])
}

/** Of all the page's words only these are others: the name, and the ports. */
function fromThePage(kind: FrontProxy, name: string): string {
  const page = readFileSync(join(CHECKOUT, 'docs/behind-proxy.md'), 'utf8')
  const block = page.split(`\`\`\`${blockOf[kind]}\n`)[1]?.split('```')[0]
  if (!block) throw new Error(`docs/behind-proxy.md has no configuration for ${kind}`)
  const port = portOf[kind]
  const named = replaced(block, 'hub.example.org', name)
  switch (kind) {
    case 'nginx':
      return [' ', ' [::]:'].reduce((text, all) => {
        const moved = replaced(text, `listen${all}443 `, `listen${all}${port} `)
        return replaced(moved, `listen${all}80;`, `listen${all}${plainPort(port)};`)
      }, named)
    case 'caddy':
      return replaced(named, `${name} {`, `https://${name}:${port} {`)
    case 'apache':
      return replaced(replaced(named, '*:443>', `*:${port}>`), '*:80>', `*:${plainPort(port)}>`)
  }
}

const plainPort = (port: number) => port + 1000

function replaced(text: string, old: string, wanted: string): string {
  if (!text.includes(old)) throw new Error(`${JSON.stringify(old)} is not in:\n${text}`)
  return old === '{\n' ? text.replace(old, wanted) : text.replaceAll(old, wanted)
}
