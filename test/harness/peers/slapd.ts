/**
 * Debian's LDAP server on a test host: people, groups of three kinds, and certificates of a CA of its own.
 */
import type { Host } from '../host/host.ts'
import type { Layer } from '../image/image.ts'
import { debianPackages } from '../image/layers.ts'

export const ldapPassword = 'the password of the directory'
export const searcher = { dn: 'cn=hub,dc=example,dc=org', password: 'of the search account' }
/** On the host. */
export const caFile = '/etc/ldap/test/ca.pem'
export const otherCaFile = '/etc/ldap/test/other-ca.pem'

/** The packages, and no server that starts by itself. */
export function slapdLayer(): Layer {
  return debianPackages('slapd', ['slapd', 'ldap-utils'], ['slapd.service'])
}

const settings = `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCACertificateFile ${caFile}
TLSCertificateFile /etc/ldap/test/server.pem
TLSCertificateKeyFile /etc/ldap/test/server.key
access to attrs=userPassword by anonymous auth by * none
access to * by users read by * none
database mdb
suffix dc=example,dc=org
rootdn cn=root,dc=example,dc=org
directory /var/lib/ldap-test
`

const person = (dn: string, uid: string, more = '') => `dn: ${dn}
objectClass: inetOrgPerson
cn: ${uid}
sn: ${uid}
uid: ${uid}
userPassword: ${ldapPassword}
${more}
`

const entries = `dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: ou=guests,dc=example,dc=org
objectClass: organizationalUnit
ou: guests

dn: ou=groups,dc=example,dc=org
objectClass: organizationalUnit
ou: groups

dn: ${searcher.dn}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: hub
userPassword: ${searcher.password}

${['ann', 'bob', 'cat', 'dan', 'eve'].map(uid => person(`uid=${uid},ou=people,dc=example,dc=org`, uid, `employeeType: ${uid === 'eve' ? 'guest' : 'student'}\n`)).join('\n')}
${person('cn=Müller\\, Änne (A*),ou=people,dc=example,dc=org', 'aenne', 'cn: Müller, Änne (A*)\n')}
${person('uid=gus,ou=guests,dc=example,dc=org', 'gus')}
${person('cn=twin1,ou=people,dc=example,dc=org', 'twin')}
${person('cn=twin2,ou=guests,dc=example,dc=org', 'twin')}
dn: cn=members,ou=groups,dc=example,dc=org
objectClass: groupOfNames
cn: members
member: uid=ann,ou=people,dc=example,dc=org
member: cn=Müller\\, Änne (A*),ou=people,dc=example,dc=org

dn: cn=unique,ou=groups,dc=example,dc=org
objectClass: groupOfUniqueNames
cn: unique
uniqueMember: uid=bob,ou=people,dc=example,dc=org

dn: cn=posix,ou=groups,dc=example,dc=org
objectClass: posixGroup
cn: posix
gidNumber: 5000
memberUid: cat
`

const certificates = `
cd /etc/ldap/test
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj '/CN=Test CA' -keyout ca.key -out ca.pem
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj '/CN=Other CA' -keyout other-ca.key -out other-ca.pem
openssl req -newkey rsa:2048 -nodes -subj '/CN=localhost' -keyout server.key -out server.csr
printf 'subjectAltName=DNS:localhost' >san
openssl x509 -req -days 30 -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile san -out server.pem
`

/** Starts it, on ldap://localhost and ldaps://localhost. Resolves when it answers. */
export async function startSlapd(host: Host): Promise<void> {
  await host.run(['mkdir', '--parents', '/etc/ldap/test', '/var/lib/ldap-test'])
  await host.run(['sh', '-euc', certificates])
  await host.writeFile('/etc/ldap/test/slapd.conf', settings)
  await host.run(['slapadd', '-f', '/etc/ldap/test/slapd.conf'], { input: entries })
  // With -d it stays in the foreground; without Type= it counts as started before it listens.
  const listens = ['-h', 'ldap://localhost ldaps://localhost', '-f', '/etc/ldap/test/slapd.conf']
  await host.run(['systemd-run', '--quiet', '--unit=test-slapd', '--service-type=forking', 'slapd', ...listens])
}
