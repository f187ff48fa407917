/** Every route, by everybody: what each is answered, and that no other site can make somebody's browser do anything. */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, beforeEach, test } from 'node:test'
import { type Answer, type Visitor, visit } from '../harness/people/visitor.ts'
import { type Classroom, openClassroom } from '../harness/product/classroom.ts'
import { type Example, examples, nameOf, type Route, routesOfTheHub } from './route-table.ts'

const page = join(import.meta.dirname, '../../docs/routes.md')
const roles = ['anonymous', 'student', 'other student', 'administrator'] as const
type Role = (typeof roles)[number]

let classroom: Classroom
let routes: Route[]
before(async () => {
  routes = await routesOfTheHub()
  classroom = await openClassroom(undefined)
})
after(() => classroom[Symbol.asyncDispose]())
beforeEach(forgetGuesses)

/** The examples have wrong passwords, and a hub that starts remembers no guesses. */
async function forgetGuesses(): Promise<void> {
  await classroom.host.run(['systemctl', 'restart', 'tljh-hub'])
}

const password = 'correct horse battery'

/** Logged in anew, so that what one request ended is there for the next. `student` is ann. */
async function visitorAs(role: Role): Promise<Visitor> {
  const visitor = visit(classroom.url)
  if (role === 'student') await visitor.logIn('ann', password)
  if (role === 'other student') await visitor.logIn('bob', password)
  if (role === 'administrator') await visitor.logIn(classroom.admin, classroom.adminPassword)
  // A page with a form, for the token.
  if (role === 'anonymous') await visitor.request('/hub/login')
  return visitor
}

function send(
  visitor: Visitor,
  { method }: Route,
  { path, form }: Example,
  headers = {},
  token = true,
): Promise<Answer> {
  if (method !== 'POST') return visitor.request(path, { method, headers })
  const own = token ? { _xsrf: visitor.cookies.get('_xsrf') ?? '' } : {}
  return visitor.request(path, {
    method,
    headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
    body: new URLSearchParams({ ...own, ...form }).toString(),
  })
}

/** Redirects are told with where they lead, because to be sent to the login page is to be refused. */
function told({ status, location }: Answer): string {
  if (status < 300 || status >= 400) return String(status)
  return `${status} to ${location.replace(/\?.*/, '').replace(/^https?:\/\/[^/]+/, '')}`
}

test('no route is without an example', () => {
  assert.deepEqual(Object.keys(examples).toSorted(), routes.map(nameOf).toSorted())
})

test('everybody gets at each route what docs/routes.md says', async () => {
  const ann = await classroom.student('ann')
  const rows: string[] = []
  for (const route of routes) {
    const example = examples[nameOf(route)]
    assert.ok(example)
    if (example.form && ('password' in example.form || 'code' in example.form)) await forgetGuesses()
    const cells: string[] = []
    for (const role of roles) {
      // An event stream goes on as long as its server starts; this one runs, so it ends.
      cells.push(told(await send(await visitorAs(role), route, example)))
      if (route.url === '/hub/stop' && role === 'student') await ann.startServer()
    }
    rows.push(`| \`${route.method}\` | \`${route.url}\` | ${cells.join(' | ')} |`)
  }
  const table = [`| method | address | ${roles.join(' | ')} |`, '| --- | --- | --- | --- | --- | --- |', ...rows].join(
    '\n',
  )
  const text = readFileSync(page, 'utf8')
  const [head = ''] = text.split('| method |')
  if (process.env.TLJH_WRITE_DOCS) writeFileSync(page, `${head}${table}\n`)
  assert.equal(readFileSync(page, 'utf8').slice(head.length).trim(), table)
})

test('no page of another site makes somebody’s browser change anything', async () => {
  const changing = routes.filter(({ method }) => method !== 'GET' && method !== 'OPTIONS')
  const foreign = [
    { origin: 'http://evil.example' },
    { origin: 'null' },
    { origin: `${classroom.url}:8080` },
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors' },
  ]
  for (const role of ['student', 'administrator'] as const) {
    const visitor = await visitorAs(role)
    for (const route of changing) {
      const example = examples[nameOf(route)]
      assert.ok(example)
      for (const headers of foreign) {
        const { status } = await send(visitor, route, example, headers)
        assert.equal(status, 403, `${nameOf(route)} as ${role} with ${JSON.stringify(headers)}`)
      }
    }
    assert.equal((await visitor.request('/hub/home')).status, 200, `${role} is still logged in`)
  }
})

test('no form counts without the token that belongs to the session', async () => {
  const changing = routes.filter(({ method, url }) => method === 'POST' && url.startsWith('/hub/'))
  const stolen = (await visitorAs('other student')).cookies.get('_xsrf') ?? ''
  assert.ok(stolen)
  for (const role of ['anonymous', 'student', 'administrator'] as const) {
    const visitor = await visitorAs(role)
    for (const route of changing) {
      const example = examples[nameOf(route)]
      assert.ok(example)
      const without = await send(visitor, route, example, {}, false)
      const with_ = await send(visitor, route, { ...example, form: { ...example.form, _xsrf: stolen } }, {}, false)
      for (const { status, location } of [without, with_]) {
        // Who is nobody is sent to the login page before anybody looks at the token.
        const isRefused = [403, 404].includes(status) || location.startsWith('/hub/login')
        assert.ok(isRefused, `${nameOf(route)} as ${role}: ${status} ${location}`)
      }
    }
    if (role !== 'anonymous')
      assert.equal((await visitor.request('/hub/home')).status, 200, `${role} is still logged in`)
  }
})

test('no page of the hub may be framed, guessed at, or kept', async () => {
  const visitor = await visitorAs('administrator')
  for (const route of routes.filter(({ method, url }) => method === 'GET' && url.startsWith('/hub/'))) {
    const example = examples[nameOf(route)]
    if (!example || route.url.includes('progress') || route.url.includes('static')) continue
    const { headers, status } = await send(visitor, route, example)
    assert.match(String(headers['content-security-policy']), /frame-ancestors 'none'/, route.url)
    assert.equal(headers['x-content-type-options'], 'nosniff', route.url)
    assert.ok(
      String(headers['cache-control']).includes('no-store') || status >= 300 || route.url === '/hub/health',
      route.url,
    )
  }
})
