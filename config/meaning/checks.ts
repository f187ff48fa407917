/**
 * What a configuration can get wrong although each of its values is right: names in two lists, groups that nobody is in,
 * limits for somebody who is not there. What depends on the machine is in config/meaning/machine-checks.ts.
 */
import { isIP } from 'node:net'
import { shortest } from '../../machine/endpoints.ts'
import { frontSocket, isLoopback, readNetwork, usualSocketGroup } from '../schema/networks.ts'
import type { Finding } from '../text/findings.ts'
import { type ConfigText, mostFindings } from '../text/read.ts'
import { isUserName, unixName } from '../users/names.ts'
import { isCommon, isMadeOf } from '../users/password-rules.ts'
import { authenticatorsIn, letsStrangersIn, missingOptions } from './auth.ts'

const userLists = ['allowed', 'banned', 'admin'] as const

export function checkMeaning(read: ConfigText): Finding[] {
  const checks = [
    ...[doubled, sharedAccounts, bannedElsewhere, emptyGroups, limitsOfNobody, waysIn, guessedPasswords],
    ...[ownOrigins, certificateSource, zones, webServerInFront, publicAddress],
  ]
  return checks.flatMap(check => [...Iterator.from(check(read)).take(mostFindings)])
}

function* doubled({ content, finding }: ConfigText): Iterable<Finding> {
  for (const list of userLists) {
    const seen = new Map<string, number>()
    for (const [index, name] of (content.users?.[list] ?? []).entries()) {
      if (seen.has(name)) {
        yield finding('warning', ['users', list, String(index)], {
          what: `users.${list} names ${name} twice`,
          why: 'once is enough',
          fix: 'Remove one of the two lines',
        })
      }
      seen.set(name, index)
    }
  }
}

/** Long names are cut, and two can be cut to one account (config/users/names.ts); whoever comes second would have no server. */
function* sharedAccounts({ content, finding }: ConfigText): Iterable<Finding> {
  const first = new Map<string, string>()
  for (const list of ['admin', 'allowed'] as const) {
    for (const [index, name] of (content.users?.[list] ?? []).entries()) {
      if (!isUserName(name)) continue
      const account = unixName(name)
      const other = first.get(account) ?? name
      first.set(account, other)
      if (other === name) continue
      yield finding('error', ['users', list, String(index)], {
        what: `users.${list} names ${name}`,
        why: `that name and ${other} are cut to the same account of the machine, ${account}`,
        fix: 'Give one of the two a shorter name',
      })
    }
  }
}

/** Not of users.allowed: somebody who is shut out for a while stays there. */
function* bannedElsewhere({ content, finding }: ConfigText): Iterable<Finding> {
  const banned = new Set(content.users?.banned)
  for (const [index, name] of (content.users?.admin ?? []).entries()) {
    if (!banned.has(name)) continue
    yield finding('warning', ['users', 'admin', String(index)], {
      what: `users.admin names ${name}, who is in users.banned as well`,
      why: 'banned is stronger, so this line has no effect',
      fix: 'Remove the name from one of the two lists',
    })
  }
}

function* emptyGroups({ content, finding }: ConfigText): Iterable<Finding> {
  for (const [name, group] of Object.entries(content.groups ?? {})) {
    if (group?.members?.length) continue
    yield finding('warning', ['groups', name], {
      what: `groups.${name} has no members`,
      why: 'a group that nobody is in has no effect',
      fix: `Name them: groups.${name}.members: [ann, bob]`,
    })
  }
}

function* limitsOfNobody({ content, finding }: ConfigText): Iterable<Finding> {
  const groups = Object.keys(content.groups ?? {})
  for (const name of Object.keys(content.limits?.groups ?? {})) {
    if (groups.includes(name)) continue
    yield finding('error', ['limits', 'groups', name], {
      what: `limits.groups.${name} is set`,
      why: 'there is no group of that name',
      fix: groups.length ? `The groups are: ${groups.join(', ')}` : `Make it: groups.${name}.members: [ann, bob]`,
    })
  }
  const isOpen = authenticatorsIn(content.auth ?? {}).some(kind => letsStrangersIn(kind, content.auth ?? {}))
  const known = new Set([...(content.users?.allowed ?? []), ...(content.users?.admin ?? [])])
  for (const name of Object.keys(content.limits?.users ?? {})) {
    if (isOpen || known.has(name)) continue
    yield finding('warning', ['limits', 'users', name], {
      what: `limits.users.${name} is set`,
      why: 'nobody of that name may enter',
      fix: 'Check its spelling, or add the name to users.allowed',
    })
  }
}

/** A way in that lacks what it needs would let nobody in, or anybody. */
function* waysIn({ content, finding }: ConfigText): Iterable<Finding> {
  const options = content.auth ?? {}
  const kinds = authenticatorsIn(options)
  for (const kind of kinds) {
    for (const { path, ...words } of missingOptions(kind, options)) yield finding('error', ['auth', ...path], words)
  }
}

/** A warning only: the class may have that password already. */
function* guessedPasswords({ content, finding }: ConfigText): Iterable<Finding> {
  const { DummyAuthenticator: dummy, SharedPasswordAuthenticator: shared } = content.auth ?? {}
  const passwords = [
    ['DummyAuthenticator', 'password', dummy?.password],
    ['SharedPasswordAuthenticator', 'user_password', shared?.user_password],
    ['SharedPasswordAuthenticator', 'admin_password', shared?.admin_password],
  ] as const
  for (const [section, option, password] of passwords) {
    if (!password || !(isCommon(password) || isMadeOf(password, [content.branding?.title ?? '']))) continue
    yield finding('warning', ['auth', section, option], {
      what: `auth.${section}.${option} is easy to guess`,
      why: 'very many people use it, or it is the title of the hub',
      fix: 'Choose another one. Three words that don’t belong together are good',
    })
  }
}

/** Longer ones leave no room for the label of a user: a host has at most 253 characters, a label 62. */
const longestDomain = 190

function* ownOrigins({ content, finding }: ConfigText): Iterable<Finding> {
  const { visit_port: visitPort } = content.admins ?? {}
  const { user_domains: domain } = content.https ?? {}
  if (domain && domain.length > longestDomain) {
    yield finding('error', ['https', 'user_domains'], {
      what: `https.user_domains has ${domain.length} characters`,
      why: 'a host below it would be too long for the domain name system',
      fix: `Use a name of at most ${longestDomain} characters`,
    })
  }
  if (domain && isIP(domain) !== 0) {
    yield finding('error', ['https', 'user_domains'], {
      what: `https.user_domains is ${domain}`,
      why: 'there are no hosts below a number',
      fix: 'Write the hub’s name in the domain name system, such as hub.example.org',
    })
  }
  if (!visitPort) return
  if (domain) {
    yield finding('warning', ['admins', 'visit_port'], {
      what: `admins.visit_port is ${visitPort}`,
      why: 'with https.user_domains each server has an origin of its own, so the port has no effect',
      fix: 'Remove the line',
    })
  }
  const names = { 'http.port': content.http?.port ?? 80, 'https.port': content.https?.port ?? 443 }
  for (const [key, port] of Object.entries(names)) {
    if (port !== visitPort) continue
    yield finding('error', ['admins', 'visit_port'], {
      what: `admins.visit_port is ${visitPort}, as ${key} is`,
      why: 'visits need an origin of their own, so a port of their own',
      fix: 'Choose another port, such as 8081',
    })
  }
}

/** Where https is on, there must be one way to a certificate, whole. Where it is off, what is missing does no harm. */
function* certificateSource({ content, finding }: ConfigText): Iterable<Finding> {
  const { enabled, port = 443, tls, letsencrypt, user_domains: userDomains } = content.https ?? {}
  if (!enabled) return
  const hasFiles = Boolean(tls?.key && tls.cert)
  const hasDomains = (letsencrypt?.domains ?? []).length > 0
  const one = 'Set https.tls.key and https.tls.cert (files), or https.letsencrypt.domains'
  if (Boolean(tls?.key) !== Boolean(tls?.cert)) {
    const [there, missing] = tls?.key ? ['key', 'cert'] : ['cert', 'key']
    yield finding('error', ['https', 'tls', there], {
      what: `https.tls.${there} is set, and https.tls.${missing} is not`,
      why: 'a certificate is no use without its key, nor a key without its certificate',
      fix: `Set https.tls.${missing}, too`,
    })
  } else if (!hasFiles && !hasDomains) {
    yield finding('error', ['https', letsencrypt ? 'letsencrypt' : 'enabled'], {
      what: 'https.enabled is true',
      why: letsencrypt ? 'https.letsencrypt.domains names no domain' : 'it is not said which certificate to use',
      fix: one,
    })
  }
  if (hasFiles && hasDomains) {
    yield finding('warning', ['https', 'letsencrypt'], {
      what: 'both https.tls and https.letsencrypt are set',
      why: 'the files are used, and nothing is asked of an authority',
      fix: 'Remove one of the two',
    })
  }
  if (userDomains && hasDomains && !hasFiles) {
    yield finding('error', ['https', 'user_domains'], {
      what: `https.user_domains is ${userDomains}, and the certificate comes from https.letsencrypt`,
      why: `hosts below ${userDomains} need a certificate for *.${userDomains}, which an authority gives only to who can write in the domain name system; and one for each user would publish their names in the authorities’ logs`,
      fix: `Get a certificate for ${userDomains} and *.${userDomains} by another program (as with certbot, by DNS), and name its files in https.tls`,
    })
  }
  for (const [index, domain] of (letsencrypt?.domains ?? []).entries()) {
    if (isIP(domain) === 0) continue
    yield finding('error', ['https', 'letsencrypt', 'domains', String(index)], {
      what: `https.letsencrypt.domains has ${domain}`,
      why: 'certificates are for names',
      fix: 'Write the hub’s name in the domain name system, such as hub.example.org',
    })
  }
  if (port === (content.http?.port ?? 80)) {
    yield finding('error', ['https', 'port'], {
      what: `https.port is ${port}, as http.port is`,
      why: 'one port cannot be both',
      fix: 'Leave https.port at 443 and http.port at 80',
    })
  }
}

/** An address that counts on one network alone (RFC 4007, 11) is none to keep a port at, nor for a browser's address line. */
function* zones({ content, finding }: ConfigText): Iterable<Finding> {
  for (const section of ['http', 'https'] as const) {
    const address = content[section]?.address
    if (!address?.includes('%')) continue
    yield finding('error', [section, 'address'], {
      what: `${section}.address is ${JSON.stringify(address)}`,
      why: `the hub can’t listen at an address with a zone (${address.slice(address.indexOf('%'))})`,
      fix: 'Write an address without a zone, such as 192.0.2.7 or ::1, or leave it empty for all addresses of the machine',
    })
  }
}

/** What goes together with another web server in front, and what does not. */
function* webServerInFront({ content, finding }: ConfigText): Iterable<Finding> {
  const {
    mode,
    address,
    port = 80,
    trusted_proxies: written,
    socket_group: group = usualSocketGroup,
  } = content.http ?? {}
  if (address === frontSocket) {
    const what = `http.address is ${frontSocket}`
    const says = (why: string, fix: string) => finding('error', ['http', 'address'], { what, why, fix })
    if (mode !== 'behind-proxy') {
      yield says(
        'browsers cannot reach it, and http.mode is direct',
        'Set http.mode to behind-proxy first, if a web server stands in front',
      )
    }
    if (content.https?.enabled) {
      yield says('https.enabled is true, and the web server in front has the certificate', 'Set https.enabled to false')
    }
    if (content.users?.extra_user_groups?.[group]?.length) {
      yield says(
        `users.extra_user_groups puts users in ${group}, who could then tell the hub that a request comes from anywhere`,
        `Take them out of it, or have the web server run as another group, and name that in http.socket_group`,
      )
    }
  }
  if (mode !== 'behind-proxy') {
    if (!written?.length) return
    yield finding('warning', ['http', 'trusted_proxies'], {
      what: 'http.trusted_proxies is set, and http.mode is direct',
      why: 'nothing that a web server in front says is believed then',
      fix: 'Set http.mode to behind-proxy if there is one, or remove the line',
    })
    return
  }
  if (content.https?.enabled) {
    yield finding('warning', ['http', 'mode'], {
      what: 'http.mode is behind-proxy, and https.enabled is true',
      why: 'both the web server in front and the hub then have TLS, with a certificate each, and what comes to http.port without https is led away',
      fix: 'Set https.enabled to false: the web server in front has the certificate',
    })
  }
  if (content.admins?.visit_port && !content.https?.user_domains) {
    yield finding('warning', ['admins', 'visit_port'], {
      what: `admins.visit_port is ${content.admins.visit_port}, and http.mode is behind-proxy`,
      why: 'browsers reach the web server in front, and not that port, so it has no effect',
      fix: 'Have the web server pass on the hosts of https.user_domains, and set that; or remove the line',
    })
  }
  const isHereAlone = (written ?? []).every(text => isLoopback(readNetwork(text) ?? anywhere))
  const isOpen = !address || ['0.0.0.0', '::'].includes(shortest(address))
  if (!isHereAlone || !isOpen) return
  yield finding('warning', ['http', address ? 'address' : 'mode'], {
    what: `http.mode is behind-proxy, and the hub listens on all addresses, port ${port}`,
    why: 'whoever asks there directly speaks with the hub without https, and passwords cross the network unprotected',
    fix: 'Set http.address to unix:/run/tljh/front.sock, where the web server of this machine finds it; or name that of another machine in http.trusted_proxies, and let a firewall keep others from the port',
  })
}

const anywhere = { address: '0.0.0.0', prefix: 0, family: 'ipv4' } as const

function* publicAddress({ content, finding }: ConfigText): Iterable<Finding> {
  const { public_url: url } = content.http ?? {}
  const { user_domains: domain } = content.https ?? {}
  if (!url || !domain || URL.parse(url)?.hostname === domain.toLowerCase()) return
  yield finding('error', ['http', 'public_url'], {
    what: `http.public_url is ${url}, and https.user_domains is ${domain}`,
    why: 'with https.user_domains the hub is found under that name',
    fix: `Write it like https://${domain}, or remove the line`,
  })
}
