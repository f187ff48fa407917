/**
 * How this machine's package clients reach their registries: its extra certificates, its pip, npm and apt settings.
 *
 * Machines that run tests often reach the registries through a mirror or a proxy with a certificate of its own. What
 * is set here goes to test hosts that were given a way out, and to the making of images. It is never part of the
 * product, and a host without a way out does not have it.
 */
import { existsSync, readFileSync } from 'node:fs'

/** The bundle that Debian's clients read. */
const CERTIFICATES = '/etc/ssl/certs/ca-certificates.crt'

/** Variables that tell clients where a registry is or which certificates to trust. */
const CLIENT_VARIABLES =
  /^(https?_proxy|no_proxy|all_proxy|pip_(index_url|extra_index_url|trusted_host|default_timeout)|uv_(default_)?index(_url)?|npm_config_registry)$/i

/** Variables that name a file of certificates. */
const CERTIFICATE_VARIABLES = [
  'SSL_CERT_FILE',
  'NODE_EXTRA_CA_CERTS',
  'PIP_CERT',
  'REQUESTS_CA_BUNDLE',
  'CURL_CA_BUNDLE',
]

/** Files that are taken as they are where the machine has them, by their path. */
const CLIENT_FILES = [
  CERTIFICATES,
  '/etc/pip.conf',
  '/etc/resolv.conf',
  '/etc/npmrc',
  '/usr/etc/npmrc',
  '/usr/local/etc/npmrc',
  '/etc/apt/apt.conf',
]

export interface ClientSettings {
  /** Content by absolute path. */
  files: Map<string, Buffer>
  env: Record<string, string>
}

/** Reads this machine's settings. */
export function clientSettings(environment: NodeJS.ProcessEnv = process.env): ClientSettings {
  const files = new Map<string, Buffer>()
  for (const path of CLIENT_FILES) if (existsSync(path)) files.set(path, readFileSync(path))

  const env: Record<string, string> = {}
  for (const [name, value] of Object.entries(environment))
    if (value !== undefined && CLIENT_VARIABLES.test(name)) env[name] = value
  if (files.has(CERTIFICATES)) for (const name of CERTIFICATE_VARIABLES) env[name] = CERTIFICATES

  // uv reads no pip.conf, so a mirror that is set there has to be told to it.
  const index = /^\s*index-url\s*=\s*(\S+)/m.exec(files.get('/etc/pip.conf')?.toString() ?? '')?.[1]
  if (index && !env.UV_INDEX_URL) env.UV_DEFAULT_INDEX ??= index
  return { files, env }
}
