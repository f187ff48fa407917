import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { planChange } from '../../../config/change/plan.ts'
import { parseConfig, readConfig } from '../../../config/meaning/config.ts'
import { checkMachine } from '../../../config/meaning/machine-checks.ts'
import { readConfigText } from '../../../config/text/read.ts'
import { type Arrangement, type Asked, steer } from '../../../hub/access/origins.ts'
import type { Issuance } from '../../../hub/tls/acme.ts'
import { AcmeError, millisecondsIn } from '../../../hub/tls/authority.ts'
import { readCertificate } from '../../../hub/tls/certificate.ts'
import { createChallenges } from '../../../hub/tls/challenges.ts'
import { type InTurn, keepRenewed } from '../../../hub/tls/renewal.ts'
import { type FailureKind, renewalTime, waitAfter } from '../../../hub/tls/schedule.ts'
import { selfSigned } from '../../../hub/tls/self-signed.ts'
import { certificateState, type Source } from '../../../hub/tls/status.ts'
import { openStore } from '../../../hub/tls/store.ts'
import { ProblemError } from '../../../problem.ts'

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
  assert.equal(waitAfter('refused', 1, 365 * dayMs), 7 * dayMs, 'nor given up, whatever it says')
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

/** Where nothing can be written or read until there is room; what a full disk is to the hub. */
function fullFolder(t: TestContext) {
  const root = mkdtempSync(join(tmpdir(), 'tljh-certificates-'))
  t.after(() => rmSync(root, { recursive: true }))
  const folder = join(root, 'certificates')
  const fill = () => {
    rmSync(folder, { recursive: true, force: true })
    writeFileSync(folder, '')
  }
  const makeRoom = () => {
    rmSync(folder)
    mkdirSync(folder)
  }
  fill()
  return { folder, fill, makeRoom }
}

test('what cannot be written counts all the same, is complained of once, and is written when there is room', t => {
  const { folder, makeRoom } = fullFolder(t)
  const lines: string[] = []
  const store = openStore(folder, line => void lines.push(line))
  lines.length = 0
  const pair = selfSigned(['hub.test'])
  assert.equal(store.keepCertificate('https://ca.test', pair), false)
  store.keepStatus({})
  store.keepStatus({})
  assert.equal(lines.length, 1)
  assert.match(lines[0] ?? '', /nothing can be kept in .*full/)
  assert.deepEqual(store.certificate('https://ca.test')?.names, ['hub.test'])
  assert.equal(store.isKept(), false)
  makeRoom()
  assert.equal(store.isKept(), true)
  const again = openStore(folder, line => void lines.push(line))
  assert.deepEqual(again.certificate('https://ca.test')?.names, ['hub.test'])
  assert.equal(lines.length, 1)
})

const settings = { directoryUrl: 'https://ca.test', email: '', domains: ['hub.test'], ca: '' }

/** A renewal whose authority is `issue`, up to the end of its first attempt. */
async function firstAttempt(
  t: TestContext,
  folder: string,
  issue: (issuance: Issuance) => Promise<{ key: string; chain: string }>,
) {
  const store = openStore(folder, () => undefined)
  const served: string[][] = []
  const problems: (string | undefined)[] = []
  const ended = Promise.withResolvers<void>()
  let turns = 0
  // The first turn is for what somebody else may have left.
  const inTurn: InTurn = async work => {
    await work()
    if (++turns === 2) ended.resolve()
  }
  const renewal = keepRenewed({
    ...{ settings, store, challenges: createChallenges(), inTurn, issue, log: () => undefined },
    preflight: async () => ['http-01'],
    onCertificate: ({ names }) => void served.push(names),
    onProblem: problem => void problems.push(problem?.message),
  })
  t.after(() => renewal.close())
  // Its timer keeps no process alive.
  const alive = setInterval(() => undefined, minuteMs)
  renewal.begin()
  await ended.promise
  clearInterval(alive)
  return { store, served, problem: problems.at(-1), waitMs: renewal.nextAttempt() - Date.now() }
}

test('nothing is ordered where it could not be kept, and it is tried again soon', async t => {
  let hasOrdered = false
  const { problem, waitMs } = await firstAttempt(t, fullFolder(t).folder, async ({ beforeOrder }) => {
    beforeOrder()
    hasOrdered = true
    return selfSigned(['hub.test'])
  })
  assert.equal(hasOrdered, false)
  assert.match(problem ?? '', /can write nothing .*df -h/)
  assert.ok(waitMs > 0 && waitMs < minuteMs, String(waitMs))
})

test('a certificate that cannot be stored is served all the same, and is not asked for again before its time', async t => {
  const { folder, makeRoom, fill } = fullFolder(t)
  makeRoom()
  const { store, served, problem, waitMs } = await firstAttempt(t, folder, async ({ beforeOrder }) => {
    beforeOrder()
    fill()
    return selfSigned(['hub.test'])
  })
  assert.deepEqual(served, [['hub.test']])
  assert.match(problem ?? '', /is served, but could not be stored/)
  assert.ok(waitMs > 30 * dayMs, String(waitMs / dayMs))
  assert.equal(store.attempts()?.kind, 'refused')
})

test('whatever fails after an order counts, and that an order was made is on the disk before it is made', async t => {
  const { folder, makeRoom } = fullFolder(t)
  makeRoom()
  let kept = ''
  const { waitMs, store } = await firstAttempt(t, folder, async ({ beforeOrder }) => {
    beforeOrder()
    kept = readFileSync(join(folder, 'attempts.json'), 'utf8')
    throw new AcmeError('unreachable', { what: 'It broke', why: 'it did', fix: 'Wait' })
  })
  assert.ok(JSON.parse(kept).nextAttempt > Date.now() + 25 * minuteMs)
  assert.match(JSON.parse(kept).problem.what, /cut short/)
  assert.ok(waitMs > 25 * minuteMs, String(waitMs))
  assert.equal(store.attempts()?.failures, 1, 'it is one failure')
  assert.ok((openStore(folder, () => undefined).attempts()?.nextAttempt ?? 0) > Date.now() + 25 * minuteMs)
})

test('a renewal for new settings waits for the attempt of the old ones, and takes what came of it', async t => {
  const { folder, makeRoom } = fullFolder(t)
  makeRoom()
  const store = openStore(folder, () => undefined)
  let last: Promise<void> = Promise.resolve()
  const inTurn: InTurn = work => {
    last = last.then(work)
    return last
  }
  const begun = Promise.withResolvers<void>()
  const answered = Promise.withResolvers<void>()
  const served: string[] = []
  let orders = 0
  const begin = (email: string) => {
    const renewal = keepRenewed({
      ...{ settings: { ...settings, email }, store, inTurn, challenges: createChallenges(), log: () => undefined },
      preflight: async () => ['http-01'],
      async issue({ beforeOrder }) {
        beforeOrder()
        orders++
        begun.resolve()
        await answered.promise
        return selfSigned(['hub.test'])
      },
      onCertificate: () => void served.push(email),
      onProblem: () => undefined,
    })
    renewal.begin()
    t.after(() => renewal.close())
    return renewal
  }
  const alive = setInterval(() => undefined, minuteMs)
  const old = begin('old@example.org')
  await begun.promise
  old.close()
  begin('new@example.org')
  answered.resolve()
  assert.deepEqual(served, [])
  await last
  clearInterval(alive)
  assert.deepEqual(served, ['new@example.org'])
  assert.equal(orders, 1)
  assert.equal(store.attempts(), undefined)
})

test('a time that is too far away is not waited for: a clock was wrong', t => {
  const { folder, makeRoom } = fullFolder(t)
  makeRoom()
  const attempts = {
    about: 'x',
    kind: 'refused',
    failures: 1,
    askedBlindly: 0,
    problem: { what: '', why: '', fix: '' },
  }
  writeFileSync(join(folder, 'attempts.json'), JSON.stringify({ ...attempts, nextAttempt: 1e300 }))
  assert.ok((openStore(folder, () => undefined).attempts()?.nextAttempt ?? 0) <= Date.now() + 7 * dayMs)
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
  assert.equal(led('hub.test', '/', {}, nameless), 'TLS_ALONE')
  const localAddress = '192.0.2.7'
  assert.equal(led('192.0.2.7', '/hub/', { localAddress }, nameless), 'https://192.0.2.7/hub/')
  assert.equal(led('[2001:db8::7]', '/', { localAddress: '2001:db8::7' }, nameless), 'https://[2001:db8::7]/')
  assert.equal(led('192.0.2.8', '/', { localAddress }, nameless), 'TLS_ALONE')
  assert.equal(led('', '/', { localAddress: '' }, nameless), 'TLS_ALONE')
  assert.equal(led('192.0.2.7', '/', { localAddress }), 'https://hub.test/', 'a name is better than a number')
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

test('with hosts for users, a certificate that is not for all of them is refused', t => {
  const folder = mkdtempSync(`${tmpdir()}/tljh-wildcard-`)
  t.after(() => rmSync(folder, { recursive: true }))
  const says = (names: string[]) => {
    const pair = selfSigned(names)
    writeFileSync(`${folder}/key`, pair.key)
    writeFileSync(`${folder}/cert`, pair.chain)
    const text = `https: {enabled: true, user_domains: hub.test, tls: {key: ${folder}/key, cert: ${folder}/cert}}`
    const machine = {
      memoryBytes: 2 ** 33,
      own: [],
      others: [],
      groups: new Map(),
      hubGid: undefined,
      now: Date.now(),
    }
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
