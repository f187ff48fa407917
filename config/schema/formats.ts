/**
 * What texts and amounts in the configuration must be beyond their type, by the name of the schema's `format`; and for each,
 * in words, why a value is not one and how to write it.
 *
 * Sources: RFC 1123 (domains), useradd(8) and groupadd(8) (groups of the machine), environ(7).
 */
import { isIP } from 'node:net'
import { adminsGroup, isUserName, usersGroup } from '../users/names.ts'
import { authenticatorKind, authenticatorNames } from './auth.ts'
import { frontSocket, readNetwork, readOrigin } from './networks.ts'
import { readBytes, readCpus } from './quantities.ts'

export interface Format {
  accepts(value: string | number): boolean
  /** Continues 'because', as in 'it is not an amount of memory'. */
  why: string
  fix: string
}

const text = (accepts: (value: string) => boolean) => (value: string | number) =>
  typeof value === 'string' && accepts(value)

const label = '[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?'
const domain = new RegExp(`^(?=.{1,253}$)(?:${label}\\.)+${label}$`)
const mail = new RegExp(`^[^\\s@<>()\\[\\]\\\\,;:"]{1,64}@(?:${label}\\.)+${label}$`)

export const formats: Readonly<Record<string, Format>> = {
  bytes: {
    accepts: value => readBytes(value) !== undefined,
    why: 'it is not an amount of memory of at least 16M',
    fix: 'Write it like 512M or 1.5G, or as a number of bytes',
  },
  cpus: {
    accepts: value => readCpus(value) !== undefined,
    why: 'it is not a share of processor time of at least 1%',
    fix: 'Write it like 0.5 or 50% for half a core, 2 for two cores',
  },
  'user-name': {
    accepts: text(isUserName),
    why: 'it cannot be a user name',
    fix: 'Write it with 1 to 64 of the letters a to z, digits and . _ @ -, beginning and ending with a letter or a digit',
  },
  authenticator: {
    accepts: text(value => authenticatorKind(value) !== undefined),
    why: 'there is no such way in',
    fix: `Write one of: ${authenticatorNames.filter(name => !name.includes('.')).join(', ')}. TLJH’s long names are taken as well`,
  },
  'group-name': {
    accepts: text(value => /^[a-z0-9][a-z0-9._-]{0,63}$/i.test(value)),
    why: 'it cannot be the name of a group',
    fix: 'Write it with up to 64 letters, digits and . _ -',
  },
  'unix-group': {
    accepts: text(value => /^[a-z_][a-z0-9_-]{0,31}$/.test(value) && !keptGroups.has(value)),
    why: 'it cannot be a group to put users in',
    fix: 'Write it with up to 32 small letters, digits, - and _. Administrators are named in users.admin; groups that are as good as root are not given out here',
  },
  'base-url': {
    accepts: text(value => /^\/(?:[A-Za-z0-9._~-]+\/)*$/.test(value) && !/\/\.{1,2}\//.test(value)),
    why: 'it is not a path that begins and ends with a slash',
    fix: 'Write it like /class/, or / for none',
  },
  ip: {
    accepts: text(value => value === '' || isIP(value) !== 0),
    why: 'it is not an address of the internet protocol',
    fix: 'Write it like 192.0.2.7 or ::1, or leave it empty for all addresses of the machine',
  },
  'listen-address': {
    accepts: text(value => value === '' || value === frontSocket || isIP(value) !== 0),
    why: `it is not an address of the internet protocol, nor ${frontSocket}`,
    fix: `Write it like 192.0.2.7 or ::1, as ${frontSocket} for a web server in front, or leave it empty for all addresses of the machine`,
  },
  'socket-group': {
    accepts: text(value => /^[a-z_][a-z0-9_-]{0,31}$/.test(value) && !value.startsWith('jupyter')),
    why: 'it is not the group of a web server',
    fix: 'Write the group that the web server runs as: www-data for nginx and Apache, caddy for Caddy',
  },
  network: {
    accepts: text(value => readNetwork(value) !== undefined),
    why: 'it is no address of the internet protocol, and no network of less than all of them',
    fix: 'Write it like 192.0.2.7 or ::1, or a network like 10.1.0.0/16',
  },
  origin: {
    accepts: text(value => readOrigin(value) !== undefined),
    why: 'it is not an address that begins with https:// or http:// and ends with the name of a machine',
    fix: 'Write it like https://hub.example.org, and what stands behind that in base_url',
  },
  domain: {
    accepts: text(value => domain.test(value)),
    why: 'it is not a domain name',
    fix: 'Write it like hub.example.org, without https:// and without a slash',
  },
  'https-url': {
    accepts: text(value => URL.parse(value)?.protocol === 'https:'),
    why: 'it is not an address that begins with https://',
    fix: 'Write it like https://acme.example.org/directory',
  },
  'dotted-word': {
    accepts: text(value => /^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/.test(value)),
    why: 'it has something else in it than letters, digits, dots and hyphens',
    fix: 'Write it with letters, digits, dots and hyphens, beginning and ending with a letter or a digit',
  },
  email: {
    accepts: text(value => mail.test(value)),
    why: 'it is not an e-mail address',
    fix: 'Write it like teacher@example.org',
  },
  path: {
    accepts: text(value => value === '' || /^\/[^\0]*$/.test(value)),
    why: 'it is not the whole path of a file',
    fix: 'Write it from the root on, like /etc/ssl/hub.pem',
  },
  token: {
    accepts: text(value => /^[\x21-\x7e]{24,256}$/.test(value)),
    why: 'it is not 24 to 256 letters, digits and signs without spaces',
    fix: 'Take what this prints: openssl rand -hex 32',
  },
  'environment-name': {
    accepts: text(value => /^[A-Za-z_][A-Za-z0-9_]*$/.test(value) && !reserved.test(value)),
    why: 'it cannot be the name of a variable here',
    fix: 'Write it with letters, digits and _; PATH, HOME, and what begins with JUPYTER or TLJH are the hub’s own to set',
  },
}

/** Of the hub's own, and those with which one becomes root or reads everybody's password. */
export const keptGroups: ReadonlySet<string> = new Set([
  ...['tljh-hub', usersGroup, adminsGroup],
  ...['root', 'sudo', 'wheel', 'admin', 'shadow', 'disk', 'kmem'],
])

/** What the server's plan sets, and what would let one setting break every server. */
const reserved =
  /^(?:PATH|HOME|USER|LOGNAME|SHELL|MEM_LIMIT|CPU_LIMIT|NOTIFY_SOCKET|LD_.*|PYTHON(?:HOME|PATH|STARTUP)|JUPYTER.*|TLJH.*)$/
