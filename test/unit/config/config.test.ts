import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { openConfigFile } from '../../../config/change/in-force.ts'
import { planChange } from '../../../config/change/plan.ts'
import { parseConfig } from '../../../config/meaning/config.ts'
import { limitsOf } from '../../../config/meaning/limits.ts'
import { isAdmin, mayEnter } from '../../../config/meaning/who-may-enter.ts'
import { readBytes, readCpus } from '../../../config/schema/quantities.ts'
import { isUserName, parseUserName, shortUnixName, type UserName, unixName } from '../../../config/users/names.ts'
import { ProblemError } from '../../../problem.ts'

const ann = parseUserName('ann')
const eve = parseUserName('eve')

test('an empty file is the default configuration', () => {
  for (const text of ['', '# nothing yet\n', '{}', 'users:\nlimits:\n']) {
    const config = parseConfig(text)
    assert.equal(config.baseUrl, '/')
    assert.equal(config.limits.memory, null)
    assert.equal(config.limits.tasks, 1000)
    assert.equal(mayEnter(config, ann), false)
  }
})

test('who may enter: the lists, and banned above all', () => {
  const config = parseConfig('users:\n  allowed: [ann, eve]\n  admin: [adm, eve]\n  banned: [eve]\n')
  assert.equal(mayEnter(config, ann), true)
  assert.equal(mayEnter(config, parseUserName('adm')), true)
  assert.equal(mayEnter(config, eve), false)
  assert.equal(isAdmin(config, eve), false)
  assert.equal(mayEnter(config, parseUserName('zoe')), false)
  const open = parseConfig('auth:\n  FirstUseAuthenticator:\n    create_users: true\nusers:\n  banned: [eve]\n')
  assert.equal(mayEnter(open, parseUserName('zoe')), true)
  assert.equal(mayEnter(open, eve), false)
})

test('a mistake is named with its line, its key, its value and the fix', () => {
  const cases = [
    [
      'limits:\n  memroy: 1G\n',
      /limits\.memroy is set \(line 2\): there is no such key\. Did you mean limits\.memory\?/,
    ],
    ['memory: 1G\n', /memory is set \(line 1\).*Did you mean limits\.memory\?/],
    ['users:\n  allowed:\n    - ann\n    - Ann Smith\n', /users\.allowed\.1 is "Ann Smith" \(line 4\).*user name/],
    ['limits:\n  tasks: many\n', /limits\.tasks is "many" \(line 2\): it is text, and must be a whole number/],
    ['limits:\n  memory: 1GB\n', /limits\.memory is "1GB" \(line 2\).*512M or 1\.5G/],
    [
      'http:\n  address: fe80::1%eth0\n',
      /http\.address is "fe80::1%eth0" \(line 2\): the hub can’t listen at an address with a zone \(%eth0\)\. Write/,
    ],
    ['https: {address: "fe80::2%2"}\n', /https\.address is "fe80::2%2" \(line 1\).*\(%2\)/],
    ['limits: [1G]\n', /limits is the list \["1G"\] \(line 1\): it must be a section/],
    ['users:\n  allowed: [ann\nlimits: {}\n', /The \[ here is never closed \(line 2\)/],
    ['a: &x [1]\nusers: *x\n', /users is an alias/],
    ['base_url: hub\n', /base_url is "hub" \(line 1\).*\/class\//],
    ['https:\n  enabled: true\n', /https\.enabled is true \(line 2\).*which certificate/],
    [
      'limits:\n  groups:\n    ml: {memory: 1G}\n',
      /limits\.groups\.ml is set \(line 3\): there is no group of that name/,
    ],
    ['users: {admin: [ann]}\nusers: {admin: [eve]}\n', /keys must be unique/],
    [
      'users:\n  extra_user_groups:\n    sudo: [ann]\n',
      /users\.extra_user_groups\.sudo is set \(line 3\).*users\.admin/,
    ],
    ['server:\n  environment:\n    PATH: x\n', /server\.environment\.PATH is set \(line 3\)/],
  ] as const
  for (const [text, message] of cases) {
    assert.throws(
      () => parseConfig(text),
      (error: unknown) => error instanceof ProblemError && message.test(error.message),
      text,
    )
  }
})

test('a name of digits is a name', () => {
  const config = parseConfig('users:\n  allowed: [007, 12e3, true]\n')
  assert.deepEqual([...config.users.allowed], ['007', '12e3', 'true'])
})

test('limits: a user’s own before those of groups, the most generous of these, and the default last', () => {
  const config = parseConfig(`
users: {allowed: [ann, bob, cat]}
groups: {ml: {members: [ann, bob]}, big: {members: [bob]}}
limits:
  memory: 1G
  cpu: 1
  groups: {ml: {memory: 2G}, big: {memory: 8G, cpu: }}
  users: {ann: {memory: 512M}}
`)
  assert.equal(limitsOf(config, ann).memory, 512 * 1024 ** 2)
  assert.equal(limitsOf(config, ann).cpu, 1)
  assert.equal(limitsOf(config, parseUserName('bob')).memory, 8 * 1024 ** 3)
  assert.equal(limitsOf(config, parseUserName('bob')).cpu, null)
  assert.equal(limitsOf(config, parseUserName('cat')).memory, 1024 ** 3)
})

test('amounts read as people write them', () => {
  assert.equal(readBytes('1G'), 1024 ** 3)
  assert.equal(readBytes('1.5G'), 1.5 * 1024 ** 3)
  assert.equal(readBytes(536_870_912), 512 * 1024 ** 2)
  for (const text of ['1GB', '-1G', 'lots', '', '1 G', '12', Number.NaN]) assert.equal(readBytes(text), undefined)
  assert.equal(readCpus('50%'), 0.5)
  assert.equal(readCpus(1.5), 1.5)
  for (const text of ['0', 'half', -1, '', 0]) assert.equal(readCpus(text), undefined)
})

test('names that a person types are read kindly, and hostile ones refused', () => {
  assert.equal(parseUserName('  Ann '), 'ann')
  for (const name of [
    '',
    '.',
    '..',
    '-x',
    'a b',
    'a/b',
    '../x',
    'a\0',
    'a\nb',
    'a%b',
    'ａnn',
    'a..b',
    'a.',
    'x'.repeat(65),
  ]) {
    assert.throws(() => parseUserName(name), { code: 'USER_NAME' }, JSON.stringify(name))
  }
})

const userNames = fc.stringMatching(/^[a-z0-9]([a-z0-9._@-]{0,62}[a-z0-9])?$/).filter(isUserName)

test('two users never share an account, and every account is one that useradd takes', () => {
  fc.assert(
    fc.property(userNames, userNames, (one, other) => {
      const account = unixName(one)
      assert.match(account, /^jupyter-[a-z0-9][a-z0-9._@-]*$/)
      assert.ok(account.length <= 32)
      assert.equal(`jupyter-${shortUnixName(account)}`, account)
      assert.equal(account === unixName(other), one === other)
    }),
  )
})

test('an account is called as TLJH calls it', () => {
  assert.equal(unixName('ann' as UserName), 'jupyter-ann')
  // 25 characters are kept; with one more, the first 26 and five digits of the SHA-256 of the whole.
  assert.equal(unixName('a'.repeat(17) as UserName), `jupyter-${'a'.repeat(17)}`)
  assert.match(unixName('a'.repeat(18) as UserName), /^jupyter-a{18}-[0-9a-f]{5}$/)
  assert.match(unixName('a'.repeat(40) as UserName), /^jupyter-a{18}-[0-9a-f]{5}$/)
})

test('a file that has become invalid, unreadable or is gone leaves the last good version in force', t => {
  const folder = mkdtempSync(join(tmpdir(), 'tljh-config-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'config.yaml')
  const reported: string[] = []
  const file = openConfigFile(path, problem => reported.push(problem.code))

  assert.equal(mayEnter(file.current(), ann), false, 'no file is no users')
  writeFileSync(path, 'users:\n  allowed: [ann]\n')
  assert.equal(mayEnter(file.current(), ann), true, 'a change counts at once')
  writeFileSync(path, 'users:\n  allowed: [ann\n')
  assert.equal(mayEnter(file.current(), ann), true)
  assert.equal(mayEnter(file.current(), ann), true)
  assert.deepEqual(reported, ['CONFIG_INVALID'], 'told once')
  writeFileSync(path, Buffer.from([0xff, 0xfe, 0x00]))
  assert.equal(mayEnter(file.current(), ann), true)
  writeFileSync(path, 'users:\n  allowed: [eve]\n')
  assert.equal(mayEnter(file.current(), ann), false)
})

test('who is taken off the list is out, server and all, also where the page has a way in for visitors', () => {
  const auth = 'auth: {type: [firstuse, tmp]}\n'
  const before = parseConfig(`users: {allowed: [ann, bob]}\n${auth}`)
  const after = parseConfig(`users: {allowed: [bob]}\n${auth}`)
  const ann = parseUserName('ann')
  assert.equal(mayEnter(before, ann), true)
  assert.equal(mayEnter(after, ann), false)
  assert.equal(mayEnter(after, parseUserName('tmp-abcd2345')), true)
  const plan = planChange(before, after, [{ user: ann, memoryBytes: undefined }])
  assert.deepEqual(plan.stopped, ['ann'])
  assert.match(plan.lines.join(), /ann may no longer log in/)
})
