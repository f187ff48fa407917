/**
 * A real ACME server on a test host: Debian's caddy with a certificate authority of its own. It looks for hubs where /etc/hosts says.
 */
import type { Host } from '../host/host.ts'
import type { Layer } from '../image/image.ts'
import { debianPackages } from '../image/layers.ts'

/** The server's own name, and where it is found. */
export const acmeName = 'acme.test'
export const directoryUrl = `https://${acmeName}:14000/acme/local/directory`
/** On the host: what the server, and all that it issues, is signed by. */
export const acmeCaFile = '/etc/ssl/acme-ca.pem'

const unit = 'test-acme'
const storage = '/var/lib/test-acme'
/** The package, and no web server that starts by itself. */
export function caddyLayer(): Layer {
  return debianPackages('caddy', ['caddy'], ['caddy.service'])
}

const settings = `{
  admin off
  auto_https disable_redirects
  skip_install_trust
  storage file_system ${storage}
  http_port 14001
}
https://${acmeName}:14000 {
  tls internal
  acme_server
}
`

/**
 * Resolves when it answers. Its certificates are those of the first start.
 * @param hosts what it has for /etc/hosts, where that is to be another than the host's
 */
export async function startAcmeServer(host: Host, hosts = ''): Promise<void> {
  await host.writeFile('/etc/caddy/test', settings)
  const program = ['caddy', 'run', '--config', '/etc/caddy/test', '--adapter', 'caddyfile']
  const options = [
    '--quiet',
    '--collect',
    '--setenv=HOME=/root',
    '--property=Type=notify',
    '--property=NotifyAccess=all',
  ]
  await host.writeFile('/etc/caddy/hosts', hosts)
  const ownHosts = hosts === '' ? [] : ['--property=BindReadOnlyPaths=/etc/caddy/hosts:/etc/hosts']
  await host.run(['systemd-run', ...options, ...ownHosts, `--unit=${unit}`, ...program])
  await host.run(['cp', `${storage}/pki/authorities/local/root.crt`, acmeCaFile])
  await host.run(['chmod', '644', acmeCaFile])
}

export async function stopAcmeServer(host: Host): Promise<void> {
  await host.run(['systemctl', 'stop', unit])
}
