import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseConfig, readConfig } from '../../config/config.ts'
import { checkMachine } from '../../config/machine.ts'
import { planChange } from '../../config/plan.ts'
import { readConfigText } from '../../config/text.ts'
import { type Arrangement, type Asked, steer } from '../../hub/origins.ts'
import { millisecondsIn } from '../../hub/tls/authority.ts'
import { readCertificate } from '../../hub/tls/certificate.ts'
import { selfSigned } from '../../hub/tls/self-signed.ts'
import { certificateState, type Source } from '../../hub/tls/status.ts'
import { type FailureKind, renewalTime, waitAfter } from '../../hub/tls/waits.ts'
import { ProblemError } from '../../problem.ts'

const minuteMs = 60_000
const hourMs = 60 * minuteMs
const dayMs = 24 * hourMs

/** When attempts are made, in milliseconds since the first, if each fails in that way. */
function attempts(kind: FailureKind, forMs: number, random: number): number[] {
  const times = [0]
  for (let failures = 1; ; failures++) {
    const next = (times.at(-1) ?? 0) + waitAfter(kind, failures, 0, random)
    if (next > forMs) return times
    times.push(next)
  }
}

test('a server that is down for a day is asked often at first, then once an hour, and is not missed for longer than that when it is back', () => {
  for (const random of [0, 0.5, 1]) {
    const times = attempts('unreachable', dayMs, random)
    assert.ok(times.length < 35, String(times.length))
    assert.ok(times.filter(time => time < 5 * minuteMs).length >= 4)
    for (const [index, time] of times.entries()) assert.ok((times[index + 1] ?? dayMs) - time <= 1.1 * hourMs)
  }
})

test('what an authority counts stays below five failures an hour, with two for each attempt', () => {
  const times = attempts('refused', 7 * dayMs, 0)
  for (const time of times) {
    const within = times.filter(other => other >= time && other < time + hourMs)
    assert.ok(within.length * 2 < 5)
  }
  assert.ok(times.length > 14, 'and it is not given up')
})

test('a server that says when to come back is not asked before', () => {
  assert.equal(waitAfter('unreachable', 1, 7 * hourMs), 7 * hourMs)
  const now = Date.parse('2026-01-01T00:00:00Z')
  assert.equal(millisecondsIn('120', now), 120_000)
  assert.equal(millisecondsIn('Thu, 01 Jan 2026 01:00:00 GMT', now), hourMs)
  for (const none of [undefined, '', 'soon', '-5', 'Thu, 01 Jan 2015 01:00:00 GMT'])
    assert.equal(millisecondsIn(none, now), 0)
})

test('a certificate is renewed at two thirds of its life, and not all at the same moment', () => {
  const times = Array.from({ length: 20 }, (_, index) => {
    const fingerprint = `${index.toString(16).padStart(2, '0').repeat(4)}00`.replace(/^0/, index % 2 ? 'f' : '0')
    return renewalTime({ from: 0, until: 90 * dayMs, fingerprint })
  })
  for (const time of times) assert.ok(time >= 60 * dayMs && time <= 65 * dayMs, String(time / dayMs))
  assert.ok(new Set(times).size > 10)
})

const from = Date.parse('2026-01-01T00:00:00Z')
const certificate = readCertificate(selfSigned(['hub.test', '*.hub.test', '192.0.2.1'], from + dayMs))
const warning = (nowMs: number, source: Source = 'files') =>
  certificateState({ certificate, source, problem: undefined, nextAttempt: undefined, nowMs }).warning

test('the end of a certificate is announced two weeks before, and a wrong clock is called that', () => {
  assert.equal(certificate.from, from)
  assert.equal(warning(from + dayMs), undefined)
  assert.equal(warning(certificate.until - 15 * dayMs), undefined)
  assert.match(
    warning(certificate.until - 13.5 * dayMs) ?? '',
    /^The certificate for hub\.test, .* ends in 13 days .*Renew it/,
  )
  assert.match(warning(certificate.until - hourMs, 'letsencrypt') ?? '', /ends within a day .*renewal has failed/)
  assert.match(warning(certificate.until + 1) ?? '', /was valid until .*browsers refuse it/)
  assert.match(
    warning(from - hourMs) ?? '',
    /not valid before 2026-01-01T00:00:00Z, and this machine’s clock says .*set the clock/,
  )
  assert.match(warning(from + dayMs, 'self-signed') ?? '', /has signed itself/)
})

test('a certificate covers names by the rules for wildcards, and addresses', () => {
  for (const name of ['hub.test', 'HUB.test', 'ann.hub.test', '192.0.2.1']) assert.ok(certificate.covers(name), name)
  for (const name of ['test', 'a.b.hub.test', 'xhub.test', 'hub.test.evil', '192.0.2.2', ''])
    assert.ok(!certificate.covers(name), name)
})

test('what does not belong together is no certificate', () => {
  const [one, other] = [selfSigned(['hub.test']), selfSigned(['hub.test'])]
  const why = (key: string, chain: string) => {
    try {
      return String(readCertificate({ key, chain }).names)
    } catch (error) {
      return error instanceof ProblemError ? error.why : String(error)
    }
  }
  assert.equal(why(one.key, one.chain), 'hub.test')
  assert.match(why(other.key, one.chain), /does not belong/)
  assert.match(why(one.key, ''), /certificate is none/)
  assert.match(why(one.chain, one.chain), /private key is none/)
  assert.match(why(one.key, one.chain.slice(0, 200)), /certificate is none/)
})

const isOurs = (name: string) => name === 'hub.test' || name.endsWith('.hub.test')
const tls: Arrangement = {
  ...{ baseUrl: '/', userDomains: '', hubPort: 443, visitPort: undefined },
  tls: { isOurs, mainName: () => 'hub.test' },
}

function led(host: string, url: string, more: Partial<Asked> = {}, arrangement = tls): string {
  const asked = {
    method: 'GET',
    host,
    url,
    isOnVisitPort: false,
    isSecure: false,
    isNavigation: true,
    isUpgrade: false,
  }
  const verdict = steer(arrangement, { ...asked, ...more })
  if (verdict.kind === 'refuse') return verdict.problem.code
  return verdict.kind === 'serve' ? 'served' : verdict.to
}

test('what comes without TLS is led to https, to names of ours alone', () => {
  assert.equal(led('hub.test', '/user/ann/%C3%A4?x=//y'), 'https://hub.test/user/ann/%C3%A4?x=//y')
  assert.equal(led('ann.hub.test:80', '/'), 'https://ann.hub.test/')
  for (const host of ['evil.example', 'evil.example:443', 'hub.test.evil', 'hub.test@evil', '', '[::1]']) {
    assert.equal(led(host, '//evil.example/'), 'https://hub.test//evil.example/', host)
  }
  assert.equal(led('hub.test', 'http://evil.example/'), 'MISDIRECTED')
  assert.equal(led('hub.test', '/', {}, { ...tls, hubPort: 8443 }), 'https://hub.test:8443/')
  const nameless: Arrangement = { ...tls, tls: { isOurs: () => false, mainName: () => '' } }
  assert.equal(led('hub.test', '/', {}, nameless), 'MISDIRECTED')
  assert.equal(led('hub.test', '/hub/login', { isSecureInFront: true }), 'TLS_IN_FRONT')
  assert.equal(led('hub.test', '/hub/login', { isSecure: true }), 'served')
})

test('checks of health and of domains are answered without TLS, under any name', () => {
  for (const host of ['hub.test', '192.0.2.1', 'evil.example']) {
    assert.equal(led(host, '/hub/health'), 'served')
    assert.equal(led(host, '/.well-known/acme-challenge/x'), 'served')
  }
})

function problems(text: string): string {
  const { findings } = readConfig(text)
  return findings.map(({ severity, what, why }) => `${severity}: ${what}: ${why}`).join('\n')
}

test('https needs one whole way to a certificate', () => {
  const files = 'tls: {key: /etc/a, cert: /etc/b}'
  const acme = 'letsencrypt: {email: a@example.org, domains: [hub.example.org]}'
  assert.equal(problems(`https: {enabled: true, ${files}}`), '')
  assert.equal(problems(`https: {enabled: true, ${acme}}`), '')
  assert.match(problems('https: {enabled: true}'), /^error: .*which certificate/)
  assert.match(problems('https: {enabled: true, letsencrypt: {email: a@example.org}}'), /^error: .*names no domain/)
  assert.match(problems('https: {enabled: true, tls: {key: /etc/a}}'), /https\.tls\.cert is not/)
  assert.match(problems(`https: {enabled: true, ${files}, ${acme}}`), /^warning: both/)
  assert.match(
    problems(`https: {enabled: true, ${acme}, user_domains: hub.example.org}`),
    /^error: .*\*\.hub\.example\.org/,
  )
  assert.equal(problems(`https: {enabled: true, ${files}, user_domains: hub.example.org}`), '')
  assert.match(problems(`https: {enabled: true, port: 80, ${files}}`), /^error: https\.port is 80/)
  assert.match(problems('https: {letsencrypt: {directory_url: "http://x"}}'), /does not begin|begins with https/)
})

test('with hosts for users, a certificate that is not for all of them is refused', async t => {
  const { mkdtempSync, rmSync, writeFileSync } = await import('node:fs')
  const { tmpdir } = await import('node:os')
  const folder = mkdtempSync(`${tmpdir()}/tljh-wildcard-`)
  t.after(() => rmSync(folder, { recursive: true }))
  const says = (names: string[]) => {
    const pair = selfSigned(names)
    writeFileSync(`${folder}/key`, pair.key)
    writeFileSync(`${folder}/cert`, pair.chain)
    const text = `https: {enabled: true, user_domains: hub.test, tls: {key: ${folder}/key, cert: ${folder}/cert}}`
    const machine = { memoryBytes: 2 ** 33, portsTaken: new Set<number>(), hubGid: undefined, now: Date.now() }
    return checkMachine(readConfigText(text), machine)
      .map(({ why }) => why)
      .join('\n')
  }
  assert.equal(says(['hub.test', '*.hub.test']), '')
  assert.match(says(['hub.test']), /not for \*\.hub\.test/)
  assert.match(says(['*.hub.test']), /not for hub\.test/)
})

test('the plan says what becomes of addresses and certificates', () => {
  const plain = parseConfig('')
  const files = parseConfig('https: {enabled: true, tls: {key: /etc/a, cert: /etc/b}}')
  const acme = parseConfig('https: {enabled: true, letsencrypt: {domains: [Hub.Example.org]}}')
  const plan = (before: typeof plain, after: typeof plain) => planChange(before, after, [])
  assert.match(
    plan(plain, files).lines.join('; '),
    /moves from all addresses, port 80, path \/ to .*port 443 \(https\).*port 80 without https is led.*\/etc\/b/,
  )
  assert.ok(plan(plain, files).addressChanges)
  assert.match(
    plan(files, acme).lines.join('; '),
    /^a certificate for hub\.example\.org is asked for at acme-v02\.api\.letsencrypt\.org/,
  )
  assert.ok(!plan(files, acme).addressChanges, 'connections go on')
  assert.deepEqual(plan(files, files).lines, [])
})
