import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { checkMachine, factsOfMachine, type MachineFacts, othersAmong } from '../../../config/meaning/machine-checks.ts'
import { readConfigText } from '../../../config/text/read.ts'

const machine: MachineFacts = {
  memoryBytes: 4 * 1024 ** 3,
  own: [],
  others: [{ address: '127.0.0.1', port: 8080 }],
  groups: new Map(),
  hubGid: undefined,
  now: Date.now(),
}

function says(text: string, on: MachineFacts = machine): string {
  const read = readConfigText(text)
  assert.deepEqual(
    read.findings.filter(({ severity }) => severity === 'error'),
    [],
  )
  return checkMachine(read, on)
    .map(({ severity, what, why }) => `${severity}: ${what}: ${why}`)
    .join('\n')
}

/** A certificate and its key, made by openssl, in a folder that is gone after the test. */
function certificate(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'tljh-certificate-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
  const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=hub']
  execFileSync('openssl', [...request, '-days', '30', '-keyout', key, '-out', cert], { stdio: 'ignore' })
  return { key, cert, text: `https:\n  tls:\n    key: ${key}\n    cert: ${cert}\n` }
}

test('more memory than the machine has is a warning, wherever it stands', () => {
  assert.equal(says('limits: {memory: 4G}'), '')
  assert.match(says('limits: {memory: 5G}'), /^warning: limits\.memory is "5G": this machine has 4 GB/)
  assert.match(says('limits: {users: {ann: {memory: 1T}}}'), /limits\.users\.ann\.memory/)
})

test('a port that somebody else has is an error', async t => {
  assert.match(says('http: {port: 8080}'), /^error: http\.port is 8080: another program/)
  const server = createServer().listen(0, '127.0.0.1')
  t.after(() => server.close())
  await new Promise(resolve => server.once('listening', resolve))
  const { port } = server.address() as { port: number }
  assert.match(
    says(`http: {port: ${port}}`, factsOfMachine('/nowhere/config.yaml', [{ address: '', port: 1 }])),
    /another program/,
  )
  assert.equal(
    says(`http: {port: ${port}}`, factsOfMachine('/nowhere/config.yaml', [{ address: '', port }])),
    '',
    'the hub’s own is not',
  )
})

test('a change of the address alone is an error where another program has the port at the new one', () => {
  const hub = { address: '127.0.0.1', port: 8080 }
  const other = { address: '10.0.0.5', port: 8080 }
  const on: MachineFacts = { ...machine, own: [hub], others: othersAmong([hub, other], [hub]) }
  assert.match(says('http: {port: 8080}', on), /^error: http\.port is 8080: .* listens there \(10\.0\.0\.5:8080\)/)
  assert.match(says('http: {address: 10.0.0.5, port: 8080}', on), /^error: http\.port is 8080: .* listens there$/)
  assert.match(says('http: {address: 127.0.0.2, port: 8080}', on), /listens at 10\.0\.0\.5:8080/)
  assert.equal(says('http: {address: 127.0.0.1, port: 8080}', on), '', 'it stays where it is')
  assert.equal(says('http: {address: "::ffff:127.0.0.1", port: 81}', on), '')

  const onUsual: MachineFacts = { ...machine, own: [{ ...hub, port: 80 }], others: [{ ...other, port: 80 }] }
  assert.match(
    says('http: {address: 0.0.0.0}', onUsual),
    /^error: http\.address is "0\.0\.0\.0": .* \(10\.0\.0\.5:80\)/,
  )
  assert.match(says('http: {}', onUsual), /^error: http\.address is "": /)
  assert.equal(says('http: {address: 127.0.0.2}', onUsual), '', 'below 1024 each address is free or not')
})

test('the way back is open where the hub could not go to where the configuration has it', () => {
  const [former, other] = [
    { address: '127.0.0.1', port: 8080 },
    { address: '10.0.0.5', port: 8080 },
  ]
  const wanted = { address: '', port: 8080 }
  const on: MachineFacts = { ...machine, own: [wanted], others: othersAmong([former, other], [wanted]) }
  assert.equal(says('http: {address: 127.0.0.1, port: 8080}', on), '')
})

test('certificates are looked into', t => {
  const one = certificate(t)
  const other = certificate(t)
  assert.equal(says(one.text), '')
  assert.match(says(one.text.replace(one.key, other.key)), /https\.tls\.key is .*does not belong to the certificate/)
  assert.match(says(one.text.replace(one.key, one.cert)), /no private key/)
  assert.match(says(one.text.replace(one.cert, one.key)), /no certificate/)
  assert.match(says(one.text.replace(one.cert, '/nowhere/cert.pem')), /there is no such file/)
  const inTwoMonths = Date.now() + 60 * 24 * 3_600_000
  assert.match(says(one.text, { ...machine, now: inTwoMonths }), /it was valid until/)
  chmodSync(one.key, 0o600)
  assert.match(
    says(one.text, { ...machine, hubGid: 4711 }),
    /https\.tls\.key is .*(?:the hub may not|be seen by the hub)/,
  )
})
