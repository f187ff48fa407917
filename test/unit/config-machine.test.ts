import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { checkMachine, type Machine, thisMachine } from '../../config/machine.ts'
import { readConfigText } from '../../config/text.ts'

const machine: Machine = {
  memoryBytes: 4 * 1024 ** 3,
  portsTaken: new Set([8080]),
  groups: new Map(),
  hubGid: undefined,
  now: Date.now(),
}

function says(text: string, on: Machine = machine): string {
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
  assert.match(says(`http: {port: ${port}}`, thisMachine('/nowhere/config.yaml', 1)), /another program/)
  assert.equal(says(`http: {port: ${port}}`, thisMachine('/nowhere/config.yaml', port)), '', 'the hub’s own is not')
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
