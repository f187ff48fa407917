import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readConfig } from '../../../config/meaning/config.ts'
import { mayComeBy } from '../../../config/meaning/who-may-enter.ts'
import { ordinaryAccount } from '../../../config/users/machine-accounts.ts'
import { parseUserName } from '../../../config/users/names.ts'
import { escaped, filled } from '../../../hub/authenticators/ldap.ts'

const good = {
  server_address: 'ldap.example.org',
  bind_dn_template: 'uid={username},ou=people,dc=example,dc=org',
}
const lookup = {
  server_address: 'ldap.example.org',
  lookup_dn: true,
  user_search_base: 'dc=example',
  user_attribute: 'uid',
}

/** The errors of a configuration with these options, each with its key. */
function errors(options: object): string[] {
  const { findings } = readConfig(JSON.stringify({ auth: { type: 'ldap', LDAPAuthenticator: options } }))
  return findings.filter(({ severity }) => severity === 'error').map(({ what, why, fix }) => `${what}: ${why}. ${fix}`)
}

test('an LDAP server needs an address, and a way to find people', () => {
  assert.deepEqual(errors(good), [])
  assert.deepEqual(errors(lookup), [])
  assert.match(errors({}).join('\n'), /server_address is not set[\s\S]*bind_dn_template is not set/)
  assert.match(errors({ ...good, bind_dn_template: [] }).join(), /bind_dn_template/)
  assert.match(errors({ ...lookup, user_search_base: '' }).join(), /user_search_base/)
  assert.match(errors({ ...lookup, user_attribute: null }).join(), /user_attribute/)
})

test('a template that would be the same for everybody is an error', () => {
  assert.match(errors({ ...good, bind_dn_template: 'uid=ann,dc=example' }).join(), /does not have \{username\}/)
  assert.match(
    errors({ ...good, bind_dn_template: [good.bind_dn_template, 'cn=x'] }).join(),
    /does not have \{username\}/,
  )
  assert.match(errors({ ...lookup, lookup_dn_search_filter: '(uid=*)' }).join(), /does not have \{login\}/)
  assert.match(errors({ ...good, group_search_filter: '(cn=*)' }).join(), /does not have \{userdn\} or \{uid\}/)
  const filter = { search_filter: '(employeeType=student)', user_search_base: 'dc=example' }
  assert.match(errors({ ...good, ...filter }).join(), /does not have \{username\}/)
})

test('an option that would make things safer is never read past', () => {
  assert.match(errors({ ...good, use_ssl: true }).join(), /use_ssl.*tls_strategy: on_connect/)
  assert.match(errors({ ...good, use_ssl: false }).join(), /use_ssl/)
  assert.match(errors({ ...good, tls_strategy: 'none' }).join(), /before_bind/)
  assert.match(errors({ ...good, allow_groups: ['cn=x'] }).join(), /allow_groups/)
  assert.match(errors({ ...good, valid_username_regex: '[' }).join(), /regular expression/)
  assert.match(errors({ ...lookup, lookup_dn_search_user: 'cn=hub' }).join(), /lookup_dn_search_password is not set/)
  assert.match(errors({ ...lookup, use_lookup_dn_username: true }).join(), /lookup_dn_user_dn_attribute is not set/)
})

test('groups and allow_all open the hub to whom the file does not name, and nothing else does', () => {
  const isOpen = (options: object) =>
    readConfig(JSON.stringify({ auth: { type: 'ldap', LDAPAuthenticator: { ...good, ...options } } })).config?.auth
      .isOpen
  assert.equal(isOpen({}), false)
  assert.equal(isOpen({ allowed_groups: [] }), false)
  assert.equal(isOpen({ allowed_groups: ['cn=course,dc=example'] }), true)
  assert.equal(isOpen({ allow_all: true }), true)
})

test('a value fills its place in a template, and is never looked into', () => {
  assert.equal(filled('(&({a}={b})({b}))', { a: 'x', b: '{a}$&' }), '(&(x={a}$&)({a}$&))')
  assert.equal(filled('({constructor}={b})', { b: 'y' }), '({constructor}=y)')
  assert.equal(escaped('ann.b-c_d@example.org'), 'ann.b-c_d@example.org')
  assert.equal(escaped('*)(uid=ü\0'), '\\2a\\29\\28uid\\3dü\\00')
  assert.equal(escaped(' a,b+c\\'), '\\20a\\2cb\\2bc\\5c')
})

test('an account is a person’s by its number and shell, and none that the hub made', () => {
  const passwd = `root:x:0:0:root:/root:/bin/bash
daemon:x:1:1::/usr/sbin:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/bin/sh
ann:x:1000:1000:Ann,,,:/home/ann:/bin/bash
ann:x:0:0::/root:/bin/bash
shut:x:1001:1001::/home/shut:/usr/sbin/nologin
jupyter-eve:x:1002:1002::/home/jupyter-eve:/bin/bash
made:x:1003:1003:JupyterHub user made:/home/made:/bin/bash
odd:x:0x3e9:1003::/home/odd:/bin/bash
zsh:x:1004:1004::/data/zsh:/usr/bin/zsh
`
  const names = ['root', 'daemon', 'nobody', 'ann', 'shut', 'jupyter-eve', 'made', 'odd', 'zsh', 'an', 'x', '1000']
  const found = names.map(name => ordinaryAccount(passwd, parseUserName(name))).filter(account => account !== undefined)
  assert.deepEqual(found, [
    { name: 'ann', uid: 1000, gid: 1000, home: '/home/ann' },
    { name: 'zsh', uid: 1004, gid: 1004, home: '/data/zsh' },
  ])
})

test('without PAM among the ways, nobody comes by it, and everybody by another', () => {
  const { config } = readConfig('auth: {type: firstuse}')
  assert.ok(config)
  assert.equal(mayComeBy(config, parseUserName('root'), 'first-use'), true)
  assert.equal(mayComeBy(config, parseUserName('root'), 'pam'), false)
})
