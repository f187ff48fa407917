/** The hub's pages as text: whatever stands in a page, it stays words. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Version } from '../../../config/change/history.ts'
import type { Finding } from '../../../config/text/findings.ts'
import { isUserName, type UserName } from '../../../config/users/names.ts'
import { createPages } from '../../../hub/pages/pages.ts'
import type { ProblemText } from '../../../problem.ts'
import type { Server, ServerEnd } from '../../../spawner/client/protocol.ts'

/** Breaks out of text, of an attribute with either quote, of a comment and of a template. */
const hostile = `</title></pre>"'><script>alert(1)</script><img src=x onerror=alert(1)><!-- <%= 1 %> \${1} &lt;`
const escaped = '<script>alert(1)</script>'
const xsrf = 'the-token-of-the-form'

const ann = name('ann')
const bob = name('bob')
const now = Date.UTC(2030, 0, 1)
const pages = createPages({ baseUrl: '/class/', version: '1.2.3', now: () => now })

const hostileProblem: ProblemText = { what: hostile, why: hostile, fix: hostile }
const hostileEnd: ServerEnd = { what: hostile, why: hostile, fix: hostile, log: [hostile, hostile], journal: hostile }
const draft = { text: `\n${hostile}`, baseVersion: hostile, isAtOnce: true }
const finding: Finding = {
  severity: 'error',
  key: hostile,
  line: 3,
  column: 1,
  what: hostile,
  why: hostile,
  fix: hostile,
}
const version: Version = { number: 7, time: now, who: hostile, how: hostile, text: `\n${hostile}` }
const diff = `@@ -1 +1 @@\n-${hostile}\n+${hostile}\n ${hostile}`
const states: Server[] = [
  { kind: 'stopped', user: ann },
  { kind: 'starting', user: ann, since: now - 4_000, step: hostile, progress: 10 },
  { kind: 'ready', user: ann, since: now - 7_200_000 },
  { kind: 'stopping', user: ann, since: now },
  { kind: 'failed', user: ann, at: now - 60_000, end: hostileEnd },
]

const proposal = {
  secret: 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567',
  address: `otpauth://totp/${encodeURIComponent(hostile)}`,
}
const accountView = {
  user: ann,
  way: 'first-use',
  isStored: true,
  hasPassword: true,
  maySetFactor: true,
  mustHaveSecondFactor: true,
  xsrf,
} as const
const peopleView = {
  user: ann,
  people: [
    {
      user: bob,
      isAdmin: false,
      isBanned: false,
      isNamed: true,
      mayEnter: true,
      groups: [hostile],
      lastLogin: now - 60_000,
      lastSeen: now - 60_000,
      password: 'code',
      codeExpires: now,
      hasSecondFactor: true,
      server: 'ready',
      signedUp: null,
      account: hostile,
      mayVisit: true,
    },
  ],
  waiting: [{ user: bob, email: hostile, requested: now - 60_000 }],
  groups: [hostile],
  isOpen: true,
  certificate: {
    source: 'letsencrypt',
    names: [hostile],
    issuer: hostile,
    from: '2026-01-01T00:00:00Z',
    until: '2026-03-01T00:00:00Z',
    nextAttempt: '2026-02-01T00:00:00Z',
    problem: hostileProblem,
    warning: hostile,
  },
  disk: hostileProblem,
  typed: { names: `\n${hostile}`, group: hostile },
  xsrf,
} as const
const doors = {
  hasForm: true,
  hint: 'code',
  external: [{ kind: 'github', label: hostile }],
  signUp: true,
  temporary: true,
} as const

/** Every page in every state, with what is hostile wherever it can be. */
const everyPage: Record<string, string> = {
  login: pages.login({ username: '', next: '', doors, xsrf }),
  'login, refused': pages.login({ username: hostile, next: hostile, doors, xsrf, problem: hostileProblem }),
  logout: pages.logout({ user: ann, xsrf }),
  problem: pages.problem({ status: 503, ...hostileProblem, logId: hostile, user: ann }),
  'problem, nobody': pages.problem({ status: 404, ...hostileProblem }),
  config: pages.config({ user: ann, draft, findings: [], xsrf }),
  'config, refused': pages.config({
    user: ann,
    draft,
    problem: hostileProblem,
    findings: [finding],
    theirs: { text: hostile, diff },
    from: 7,
    xsrf,
  }),
  'config, password': pages.configPassword({
    way: 'first-use',
    hasPassword: true,
    user: ann,
    step: 'open',
    next: hostile,
    xsrf,
  }),
  'config, password and draft': pages.configPassword({
    user: ann,
    way: 'github',
    hasPassword: false,
    draft,
    step: 'apply',
    next: '',
    problem: hostileProblem,
    xsrf,
  }),
  people: pages.people({ ...peopleView, isFresh: true, done: hostile }),
  'people, not fresh': pages.people({ ...peopleView, isFresh: false, problem: hostileProblem }),
  credentials: pages.credentials({
    user: ann,
    made: [
      { kind: 'code', user: bob, code: hostile, expires: now },
      { kind: 'password', user: bob, password: hostile },
      { kind: 'none', user: bob, why: 'elsewhere' },
    ],
    address: hostile,
  }),
  archive: pages.archive({ user: ann, owner: bob, xsrf }),
  'import, empty': pages.importList({
    user: ann,
    text: '',
    group: '',
    groups: [],
    rows: [],
    problem: hostileProblem,
    xsrf,
  }),
  'import, read': pages.importList({
    user: ann,
    text: `\n${hostile}`,
    group: hostile,
    groups: [hostile],
    rows: [{ line: 1, who: hostile, user: bob, kind: 'new', note: hostile }],
    xsrf,
  }),
  'sign up': pages.signUp({
    username: hostile,
    email: hostile,
    asksEmail: true,
    next: hostile,
    problem: hostileProblem,
    xsrf,
  }),
  'signed up': pages.signedUp({ username: ann }),
  'choose a password': pages.choosePassword({
    user: hostile,
    code: hostile,
    next: hostile,
    problem: hostileProblem,
    xsrf,
  }),
  'second factor': pages.secondFactor({ problem: hostileProblem, xsrf }),
  'new second factor': pages.newSecondFactor({ user: ann, typed: ann, proposal, isAtLogin: false, xsrf }),
  'new second factor at login': pages.newSecondFactor({
    typed: ann,
    proposal,
    isAtLogin: true,
    problem: hostileProblem,
    xsrf,
  }),
  'recovery codes': pages.recoveryCodes({ user: ann, codes: [hostile], next: '/class/hub/' }),
  account: pages.account({ ...accountView, hasSecondFactor: false }),
  'account with a second factor': pages.account({ ...accountView, hasSecondFactor: true, problem: hostileProblem }),
  confirm: pages.confirm({
    user: ann,
    way: 'first-use',
    hasPassword: true,
    next: hostile,
    problem: hostileProblem,
    xsrf,
  }),
  'confirm elsewhere': pages.confirm({ user: ann, way: 'github', hasPassword: false, next: hostile, xsrf }),
  'config, review': pages.configReview({
    user: ann,
    draft,
    findings: [finding],
    diff,
    plan: [hostile],
    asksAtOnce: true,
    xsrf,
  }),
  'config, moving': pages.configMoving({ user: ann, port: 8080, newBase: '/class/' }),
  'config, history': pages.configHistory({ user: ann, versions: [version], inForce: 7 }),
  'config, version': pages.configVersion({ user: ann, shown: version, isInForce: true, before: version, diff }),
  ...Object.fromEntries(
    states.flatMap(server => [
      [`home, ${server.kind}`, pages.home({ user: ann, isAdmin: true, server, address: '/class/user/ann/lab', xsrf })],
      [`spawn-pending, ${server.kind}`, pages.spawnPending({ user: ann, owner: ann, server, xsrf, next: hostile })],
      [
        `spawn-pending of another, ${server.kind}`,
        pages.spawnPending({ user: bob, owner: ann, server, xsrf, next: '' }),
      ],
      [`not-running, ${server.kind}`, pages.notRunning({ user: ann, owner: ann, server, next: hostile, xsrf })],
      [
        `not-running of another, ${server.kind}`,
        pages.notRunning({ user: bob, owner: ann, server, next: hostile, xsrf }),
      ],
    ]),
  ),
}

for (const [what, html] of Object.entries(everyPage)) {
  test(`${what}: a whole document, with one heading, a language and a title`, () => {
    assert.match(html, /^<!doctype html>\n<html lang="en">/)
    assert.equal(all(html, /<h1[ >]/g).length, 1)
    assert.equal(all(html, /<main[ >]/g).length, 1)
    assert.match(html, /<title>[^<]{3,} · tljh-ts<\/title>/)
    assert.doesNotMatch(html, /undefined|\[object|NaN/)
  })

  test(`${what}: what is hostile stays words`, () => {
    assert.equal(html.includes(escaped), false)
    assert.doesNotMatch(html, /<img src=x/)
    assert.doesNotMatch(html, /<!--/)
    assert.doesNotMatch(html, /="[^"]*[<>][^"]*"/)
  })

  test(`${what}: nothing is inline, and nothing comes from elsewhere`, () => {
    for (const [, attributes = '', content] of html.matchAll(/<script\b([^>]*)>(.*?)<\/script>/gs)) {
      assert.match(attributes, / src="\/class\/hub\/static\//)
      assert.equal(content, '')
    }
    assert.doesNotMatch(html.replaceAll(/"[^"]*"/g, '""'), /<style\b|<[^>]*\s(?:style|on[a-z]+)=/)
    for (const [, address = ''] of html.matchAll(/\s(?:href|src|action)="([^"]*)"/g)) {
      assert.match(address, /^(?:\/class\/|#main$)/)
    }
  })

  test(`${what}: every form posts its token`, () => {
    for (const [form] of html.matchAll(/<form\b.*?<\/form>/gs)) {
      assert.match(form, /^<form method="post"/)
      assert.match(form, new RegExp(`<input type="hidden" name="_xsrf" value="${xsrf}">`))
    }
  })

  test(`${what}: every field has a label, every id is there once`, () => {
    for (const [, id] of html.matchAll(/<input id="([^"]*)"/g)) assert.ok(html.includes(`<label for="${id}">`))
    const ids = all(html, /\sid="([^"]*)"/g)
    assert.deepEqual(ids, [...new Set(ids)])
  })
}

test('what was typed and asked for comes back as it was, to be sent again', () => {
  const html = pages.login({ username: hostile, next: hostile, doors, xsrf, problem: hostileProblem })
  assert.equal(fieldValue(html, 'username'), hostile)
  assert.equal(fieldValue(html, 'next'), hostile)
  assert.equal(html.includes('type="password" value'), false)
})

test('a configuration comes back as it was written, from its first line on', () => {
  for (const what of ['config', 'config, password and draft', 'config, review']) {
    const written = /<textarea[^>]*name="text"[^>]*>\n([^<]*)<\/textarea>/.exec(everyPage[what] ?? '')?.[1]
    assert.equal(plainText(written ?? ''), draft.text, what)
  }
})

test('the lines of a difference come one below the other, each as what it is', () => {
  const html = pages.configReview({
    user: ann,
    draft,
    findings: [],
    diff: '@@ -1,2 +1,2 @@\n a\n-b\n+c <b>',
    plan: [],
    asksAtOnce: false,
    xsrf,
  })
  assert.match(html, /<span>@@ .* @@\n<\/span><span> a\n<\/span><del>-b\n<\/del><ins>\+c &lt;b&gt;\n<\/ins><\/pre>/)
  assert.doesNotMatch(html, /type="checkbox"/)
})

test('only administrators are led to the configuration', () => {
  const options = { baseUrl: '/class/', version: '1.2.3', isAdmin: (user: UserName) => user === ann }
  const { logout } = createPages(options)
  assert.match(logout({ user: ann, xsrf }), /href="\/class\/hub\/admin\/config"/)
  assert.doesNotMatch(logout({ user: bob, xsrf }), /admin\/config/)
})

test('the lines of a log come one below the other', () => {
  const end = { what: 'It ended', why: 'a reason', fix: 'a way', log: ['first', 'second <b>'] }
  const html = pages.home({
    user: ann,
    isAdmin: false,
    server: { kind: 'failed', user: ann, at: now, end },
    address: '',
    xsrf,
  })
  assert.match(html, /<pre[^>]*>first\nsecond &lt;b&gt;<\/pre>/)
})

test('strangers are told no version', () => {
  for (const [what, html] of Object.entries(everyPage)) {
    const strangers = ['login', 'sign', 'choose a password', 'second factor', 'new second factor at login']
    const isStranger = strangers.some(page => what.startsWith(page)) || what.endsWith('nobody')
    assert.equal(html.includes('1.2.3'), !isStranger, what)
  }
})

test('only the owner has the button that starts a server', () => {
  for (const { kind } of states) {
    assert.doesNotMatch(everyPage[`not-running of another, ${kind}`] ?? '', /<form/)
    assert.doesNotMatch(everyPage[`spawn-pending of another, ${kind}`] ?? '', /<form/)
  }
  assert.match(everyPage['not-running, stopped'] ?? '', /action="\/class\/hub\/spawn"/)
})

test('how long something has lasted is told as a person would', () => {
  assert.match(everyPage['home, ready'] ?? '', /2 hours ago/)
  assert.match(everyPage['home, failed'] ?? '', /1 minute ago/)
})

test('pages that wait come anew by themselves without a script, and the others do not', () => {
  for (const [what, html] of Object.entries(everyPage)) {
    const waits = /^(?:home, st(?:arting|opping)|spawn-pending.*, (?:starting|stopping|stopped))$/.test(what)
    assert.equal(html.includes('<noscript><meta http-equiv="refresh"'), waits, what)
  }
})

function name(text: string): UserName {
  assert.ok(isUserName(text))
  return text
}

function all(text: string, pattern: RegExp): string[] {
  return [...text.matchAll(pattern)].map(match => match[1] ?? match[0])
}

/** What a browser reads as the value of the field, in the entities that the template engine writes. */
function fieldValue(html: string, field: string): string {
  const value = new RegExp(`<input[^>]*name="${field}"[^>]*? value="([^"]*)"`).exec(html)?.[1] ?? ''
  return plainText(value)
}

function plainText(html: string): string {
  const entities: Record<string, string> = { lt: '<', gt: '>', quot: '"', '#39': "'", amp: '&' }
  return html.replace(/&(lt|gt|quot|#39|amp);/g, (entity, key: string) => entities[key] ?? entity)
}
