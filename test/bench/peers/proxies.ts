/**
 * The proxies that ours is measured beside, on the same host and in front of the same upstream: configurable-http-proxy from its
 * registry, with the routes that JupyterHub gives it, and Debian's nginx with one worker, which knows nothing of sessions.
 *
 * configurable-http-proxy reaches the upstream over TCP, as JupyterHub has it do; nginx keeps connections to the users' sockets.
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Host } from '../../harness/host/host.ts'
import type { Layer } from '../../harness/image/image.ts'
import { putOwnNode } from './own-node.ts'

const VERSION = '5.3.0'
const FOLDER = '/opt/peer/proxy'
const NODE = `${FOLDER}/node`
const TOKEN = 'bench'
const START_LIMIT_MS = 30_000

export const peerPorts = { chp: 8001, nginx: 8002 }
const apiPort = 8011

export const peerNames = { chp: `configurable-http-proxy ${VERSION}`, nginx: 'nginx of the host’s Debian, 1 worker' }

/** The two of them, and wrk. */
export function proxiesLayer(): Layer {
  const packages = ['nginx-light', 'wrk']
  const proxy = `configurable-http-proxy@${VERSION}`
  return {
    name: 'proxies',
    inputs: { version: 1, packages, proxy },
    async build(root) {
      const env = { DEBIAN_FRONTEND: 'noninteractive' }
      await root.run(['apt-get', 'update', '--quiet'], { env })
      await root.run(['apt-get', 'install', '--yes', '--quiet', '--no-install-recommends', ...packages], { env })
      await root.run(['systemctl', 'disable', 'nginx'])
      await mkdir(join(root.path, FOLDER), { recursive: true, mode: 0o755 })
      await root.onMachine([
        ...['npm', 'install', '--prefix', join(root.folder, FOLDER), '--loglevel=error', '--no-audit', '--no-fund'],
        proxy,
      ])
    },
  }
}

/** Starts both as units, `chp` and `peer-nginx`. Resolves when they answer. @param upstreamPort of the upstream on TCP */
export async function startPeers(host: Host, users: readonly string[], upstreamPort: number): Promise<void> {
  await putOwnNode(host, NODE)
  const run = (unit: string, argv: readonly string[], ...more: string[]) =>
    host.run(['systemd-run', '--quiet', `--unit=${unit}`, '--property=LimitNOFILE=65536', ...more, '--', ...argv])

  await run(
    'chp',
    [
      ...[NODE, `${FOLDER}/node_modules/configurable-http-proxy/bin/configurable-http-proxy`],
      ...[
        '--ip=127.0.0.1',
        `--port=${peerPorts.chp}`,
        '--api-ip=127.0.0.1',
        `--api-port=${apiPort}`,
        '--log-level=warn',
      ],
    ],
    `--setenv=CONFIGPROXY_AUTH_TOKEN=${TOKEN}`,
  )
  await host.writeFile('/etc/nginx/peer.conf', nginxConfiguration(users))
  await run('peer-nginx', ['/usr/sbin/nginx', '-c', '/etc/nginx/peer.conf'])

  for (const user of users) {
    const route = `http://127.0.0.1:${apiPort}/api/routes/user/${user}`
    const target = JSON.stringify({ target: `http://127.0.0.1:${upstreamPort}` })
    await untilItWorks(host, ['curl', '-fsS', '-H', `Authorization: token ${TOKEN}`, '-d', target, route])
  }
  for (const port of Object.values(peerPorts)) {
    await untilItWorks(host, ['curl', '-fsS', '-o', '/dev/null', `http://127.0.0.1:${port}/user/${users[0]}/small`])
  }
}

async function untilItWorks(host: Host, argv: readonly string[]): Promise<void> {
  const end = performance.now() + START_LIMIT_MS
  for (;;) {
    const { code, stderr } = await host.run(argv, { check: false })
    if (code === 0) return
    if (performance.now() > end) throw new Error(`${argv.join(' ')}: ${stderr}`)
    await delay(100)
  }
}

function nginxConfiguration(users: readonly string[]): string {
  const upstreams = users.map(user => `upstream ${user} { server unix:/run/tljh/users/${user}/socket; keepalive 64; }`)
  const locations = users.map(user => `location /user/${user}/ { proxy_pass http://${user}; }`)
  return `
user root;
daemon off;
worker_processes 1;
worker_rlimit_nofile 65536;
pid /run/peer-nginx.pid;
error_log stderr error;
events { worker_connections 32768; }
http {
  access_log off;
  keepalive_requests 10000000;
  map $http_upgrade $hop { default upgrade; '' ''; }
  ${upstreams.join('\n  ')}
  server {
    listen 127.0.0.1:${peerPorts.nginx} backlog=4096;
    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $hop;
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_read_timeout 1h;
    ${locations.join('\n    ')}
  }
}
`
}
