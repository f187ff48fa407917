/**
 * Servers on origins of their own: a host for each user, a port for the visits of administrators, and the note before each visit.
 * Every request is made by hand, so that hosts, ports, codes and cookies can be those that an attacker would like them to be.
 */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { type Reply, type Wanderer, wander } from '../../harness/people/raw-visitor.ts'
import { claiming, studentPassword } from '../../harness/product/classroom.ts'
import { bootProduct, type Product, TLJH_TS } from '../../harness/product/product.ts'

const hub = 'http://hub.localhost'
const annsHost = 'http://ann.hub.localhost'
const bobsHost = 'http://bob.hub.localhost'

let product: Product

before(async () => {
  product = await bootProduct({ config: `users:\n  allowed: [ann, bob, cleo]\n${claiming}` })
  for (const name of ['ann', 'bob']) {
    const student = await enter(product, `http://${product.host.address}`, name, studentPassword)
    await startServer(student, `http://${product.host.address}`, name)
  }
  await configure('https.user_domains', 'hub.localhost')
})
after(() => product[Symbol.asyncDispose]())

async function configure(key: string, value: string): Promise<void> {
  await product.host.run([...TLJH_TS, 'config', 'set', key, value])
}

async function enter({ host }: Product, url: string, username: string, password: string): Promise<Wanderer> {
  const person = wander(host.address)
  await logIn(person, url, username, password)
  return person
}

async function logIn(person: Wanderer, url: string, username: string, password: string): Promise<void> {
  await person.get(`${url}/hub/login`)
  const answer = await person.post(`${url}/hub/login`, { username, password })
  assert.equal(answer.status, 302, answer.body)
  await person.get(`${url}/hub/home`)
}

/** Ready as soon as the events of the start say so. */
async function startServer(person: Wanderer, url: string, name: string): Promise<Reply> {
  await person.post(`${url}/hub/spawn`)
  const events = await person.get(`${url}/hub/api/users/${name}/server/progress`)
  assert.match(events.body, /"ready":true/)
  return events
}

const student = (name: string) => enter(product, hub, name, studentPassword)
const administrator = (url = hub) => enter(product, url, product.admin, product.adminPassword)

/** Reads the note about that server and goes on. */
async function visitServer(admin: Wanderer, url: string, owner: string, next = ''): Promise<Reply> {
  const note = await admin.get(`${url}/hub/visit/${owner}`)
  assert.equal(note.status, 200, note.body)
  return admin.post(`${url}/hub/visit/${owner}`, { next })
}

/** Entries are written beside the answers. */
async function isAudited(visit: string): Promise<void> {
  const read = 'journalctl --output=cat TLJH_EVENT=visit'
  await product.host.run(['sh', '-c', `until ${read} | grep --fixed-strings "$1"; do sleep 0.1; done`, 'sh', visit])
}

test('each host serves what is its own, and leads people to the rest', async () => {
  const ann = await student('ann')
  const path = '/user/ann/files/a%2Fb;c?x=%20y&z=http://evil'
  assert.equal((await ann.get(`${hub}${path}`)).location, `${annsHost}${path}`)
  assert.equal((await ann.get(`${hub}/user/ann/api`, { accept: '*/*' })).location, `${annsHost}/user/ann/api`)
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
    assert.equal((await ann.send(method, `${hub}/user/ann/api/kernels`)).status, 421, method)
  }
  assert.equal(await ann.webSocket('ws://hub.localhost/user/ann/api/events/subscribe'), '421')

  assert.equal((await ann.get(`${annsHost}/hub/home`)).location, `${hub}/hub/home`)
  assert.equal((await ann.get(`${annsHost}/user/bob/lab`)).location, `${hub}/user/bob/lab`)
  for (const [method, path] of [
    ...[
      ['GET', '/hub/home'],
      ['GET', '/hub/static/hub.css'],
      ['GET', '/user/bob/api'],
      ['GET', '/'],
    ],
    ...[
      ['POST', '/hub/login'],
      ['POST', '/hub/stop'],
      ['POST', '/hub/logout'],
      ['PUT', '/user/bob/api/contents/x'],
    ],
  ] as const) {
    assert.equal(
      (await ann.send(method ?? '', `${annsHost}${path}`, { accept: '*/*' })).status,
      404,
      `${method} ${path}`,
    )
  }
  assert.equal(await ann.webSocket('ws://ann.hub.localhost/user/bob/api/events/subscribe'), '404')

  for (const host of ['evil.example', 'hub.localhost.evil.example', 'hub.localhost.', 'a.b.hub.localhost']) {
    const answer = await ann.get(`${hub}/hub/login`, { host })
    assert.equal(answer.status, 421, host)
    assert.match(answer.body, /not the place/)
  }
  const bare = `http://${product.host.address}`
  assert.equal((await ann.get(`${bare}/hub/login?next=/`)).location, `${hub}/hub/login?next=/`)
  assert.equal((await ann.get(`${bare}/hub/health`)).status, 200)
  assert.equal((await ann.post(`${bare}/hub/login`, {})).status, 421)
})

test('a student gets to her server by way of the hub, and works there with a cookie that is good for nothing else', async () => {
  const ann = wander(product.host.address)
  const login = await ann.go(`${annsHost}/user/ann/lab?x=1`)
  assert.equal(new URL(login.url).host, 'hub.localhost', 'who is nobody yet logs in at the hub')
  await ann.post(`${hub}/hub/login`, { username: 'ann', password: studentPassword })
  const lab = await ann.go(`${annsHost}/user/ann/lab?x=1`)
  assert.deepEqual([lab.url, lab.status], [`${annsHost}/user/ann/lab?x=1`, 200])
  assert.equal((await ann.get(`${hub}/hub/`)).location, `${annsHost}/user/ann/lab`)
  const events = await ann.get(`${hub}/hub/api/users/ann/server/progress`)
  assert.match(events.body, /"url":"http:\/\/ann\.hub\.localhost\/user\/ann\/lab"/)

  const there = ann.cookies(`${annsHost}/user/ann/`)
  assert.ok(there.has('tljh-visit-ann'))
  assert.ok(!there.has('tljh-session'), 'the hub’s cookie stays with the hub')
  assert.ok(!ann.cookies(`${hub}/hub/`).has('tljh-visit-ann'))
  assert.equal((await ann.get(`${annsHost}/user/ann/api/me`)).status, 200)
  assert.equal(await ann.webSocket('ws://ann.hub.localhost/user/ann/api/events/subscribe'), 'open')
  for (const origin of [hub, bobsHost, 'http://ann.hub.localhost:8000', 'null', 'http://evil.example']) {
    assert.equal(await ann.webSocket('ws://ann.hub.localhost/user/ann/api/events/subscribe', { origin }), '403', origin)
    const post = await ann.send('POST', `${annsHost}/user/ann/api/kernels`, { origin })
    assert.equal(post.status, 403, origin)
    assert.equal((await ann.get(`${annsHost}/user/ann/api/me`, { origin, accept: '*/*' })).status, 403, origin)
  }

  // Her pass as anybody's anywhere else.
  const thief = wander(product.host.address)
  const value = there.get('tljh-visit-ann') ?? ''
  thief.plant({ host: 'bob.hub.localhost', path: '/', name: 'tljh-visit-bob', value })
  thief.plant({ host: 'hub.localhost', path: '/', name: 'tljh-session', value })
  thief.plant({ host: 'ann.hub.localhost', path: '/', name: 'tljh-visit-ann', value: `${value}x` })
  for (const url of [
    `${bobsHost}/user/bob/api/me`,
    `${annsHost}/user/ann/api/me`,
    `${hub}/hub/api/users/ann/server/progress`,
  ]) {
    assert.equal((await thief.get(url, { accept: '*/*' })).status, 403, url)
  }
  const token = ann.cookies(`${hub}/hub/`).get('tljh-session') ?? ''
  thief.plant({ host: 'bob.hub.localhost', path: '/', name: 'tljh-session', value: token })
  assert.equal((await thief.get(`${bobsHost}/user/bob/api/me`, { accept: '*/*' })).status, 403)
})

/** As far as the code, which is not handed in yet. */
async function codeFor(person: Wanderer, origin = annsHost, name = 'ann'): Promise<string> {
  const sent = await person.get(`${origin}/user/${name}/lab`)
  assert.match(sent.location, /^http:\/\/hub\.localhost\/hub\/enter\?/)
  const answer = await person.get(sent.location)
  assert.match(answer.location, new RegExp(`^${origin}/user/${name}/tljh-enter\\?code=[\\w-]{43}$`))
  return answer.location
}

test('a code lets in once, and only the browser that it was made for', async () => {
  const ann = await student('ann')
  const link = await codeFor(ann)
  const first = await ann.get(link)
  assert.equal(first.location, '/user/ann/lab')
  assert.match(first.setCookies.join(), /tljh-visit-ann=[^;]+; Max-Age=\d+; Path=\/user\/ann\/; HttpOnly; SameSite=Lax/)
  assert.equal((await ann.get(link)).status, 403, 'twice')

  const other = wander(product.host.address)
  await other.get(`${annsHost}/user/ann/lab`)
  const stolen = await codeFor(await student('ann'))
  const refused = await other.get(stolen)
  assert.equal(refused.status, 403, 'the browser of somebody who is to work in ann’s account without knowing')
  assert.equal(refused.setCookies.length, 0)
  assert.match(refused.body, /another browser/)

  const late = await student('ann')
  const code = await codeFor(late)
  await late.post(`${hub}/hub/logout`)
  assert.equal((await late.get(code)).status, 403, 'after a logout')
})

test('nobody gets a code for another’s server, and the way there leads nowhere else', async () => {
  const ann = await student('ann')
  assert.equal((await ann.go(`${bobsHost}/user/bob/lab`)).status, 403)
  assert.equal((await ann.get(`${hub}/hub/visit/bob`)).status, 403)
  assert.equal((await ann.post(`${hub}/hub/visit/bob`)).status, 403)
  assert.equal((await ann.get(`${hub}/hub/visit/nobody`)).status, 403, 'and a name that nobody has reads the same')
  const nonce = 'x'.repeat(43)
  for (const next of ['http://evil', '//evil', '/user/bob/x', '/hub/home', '/user/annx/']) {
    const query = new URLSearchParams({ server: 'ann', nonce, next })
    const { location } = await ann.get(`${hub}/hub/enter?${query}`)
    assert.equal(new URL(location).host, 'ann.hub.localhost', next)
  }
  assert.equal((await ann.get(`${hub}/hub/enter?server=ann&nonce=short`)).status, 403)
})

test('logout from the menu of JupyterLab ends the session on all hosts', async () => {
  const ann = await student('ann')
  await ann.go(`${annsHost}/user/ann/lab`)
  const asked = await ann.get(`${annsHost}/user/ann/logout`, { referer: 'http://evil.example/' })
  assert.equal(asked.location, `${hub}/hub/logout`, 'a stranger’s link leads to the question')
  assert.equal((await ann.get(`${annsHost}/user/ann/api/me`)).status, 200)

  const menu = await ann.get(`${hub}/user/ann/logout`, { referer: `${annsHost}/` })
  assert.equal(menu.location, `${annsHost}/user/ann/logout`)
  assert.equal((await ann.get(menu.location, { referer: `${annsHost}/` })).location, `${hub}/hub/login`)
  assert.ok(!ann.cookies(`${annsHost}/user/ann/`).has('tljh-visit-ann'))
  assert.equal((await ann.get(`${hub}/hub/home`)).location, '/hub/login?next=%2Fhub%2Fhome')
})

test('a pass ends with its session: by logout, and by a new login', async () => {
  const ann = await student('ann')
  await ann.go(`${annsHost}/user/ann/lab`)
  const me = () => ann.get(`${annsHost}/user/ann/api/me`, { accept: '*/*' })
  assert.equal((await me()).status, 200)
  await ann.post(`${hub}/hub/logout`)
  assert.equal((await me()).status, 403)
  await logIn(ann, hub, 'ann', studentPassword)
  assert.equal((await me()).status, 403)
  assert.equal((await ann.go(`${annsHost}/user/ann/lab`)).status, 200)
  assert.equal((await me()).status, 200)
})

test('an administrator reads the note first; the visit is recorded, and ends when asked for', async () => {
  const admin = await administrator()
  const note = await admin.go(`${bobsHost}/user/bob/lab/tree/x?y=1`)
  assert.equal(note.url, `${hub}/hub/visit/bob?next=${encodeURIComponent('/user/bob/lab/tree/x?y=1')}`)
  assert.match(note.body, /This is bob’s server/)
  assert.match(note.body, /recorded/)
  assert.equal((await admin.get(`${bobsHost}/user/bob/api/me`, { accept: '*/*' })).status, 403)
  assert.equal((await admin.post(`${hub}/hub/visit/bob`, { _xsrf: '' })).status, 403, 'no visit without the form')
  const fromBob = await admin.post(`${hub}/hub/visit/bob`, {}, { origin: bobsHost })
  assert.equal(fromBob.status, 403, 'nor by a page of bob’s')

  const begun = await admin.post(`${hub}/hub/visit/bob`, { next: '/user/bob/lab' })
  assert.deepEqual([begun.status, begun.location], [303, `${bobsHost}/user/bob/lab`])
  assert.equal((await admin.go(begun.location)).status, 200)
  assert.equal((await admin.get(`${bobsHost}/user/bob/api/me`)).status, 200)
  await isAudited('admin visits the server of bob')
  assert.equal(
    (await admin.go(`${annsHost}/user/ann/lab`)).url.split('?')[0],
    `${hub}/hub/visit/ann`,
    'one note for each',
  )

  assert.equal((await admin.get(`${bobsHost}/user/bob/logout`)).location, `${hub}/hub/home`)
  assert.equal((await admin.get(`${bobsHost}/user/bob/api/me`, { accept: '*/*' })).status, 403)
  assert.equal((await admin.get(`${hub}/hub/home`)).status, 200, 'the administrator is still logged in')
})

test('a session that a page has planted is not used', async () => {
  const admin = await administrator()
  const bob = await student('bob')
  const value = bob.cookies(`${hub}/hub/`).get('tljh-session') ?? ''
  admin.plant({ host: 'hub.localhost', path: '/hub', name: 'tljh-session', value, forAllBelow: true })
  const home = await admin.get(`${hub}/hub/home`)
  assert.match(home.location, /^\/hub\/login/, 'whoever is two people at once is nobody')
  await logIn(admin, hub, product.admin, product.adminPassword)
  assert.match((await admin.get(`${hub}/hub/home`)).body, /administrator/, 'and the next login mends it')
  assert.match((await bob.get(`${hub}/hub/home`)).location, /^\/hub\/login/, 'at the cost of him who planted it')
})

test('who is an administrator no more, or banned, is out at once', async t => {
  t.after(async () => {
    await configure('users.admin', '[admin]')
    await configure('users.banned', '[]')
  })
  await configure('users.admin', '[admin, cleo]')
  const cleo = await student('cleo').catch(() => undefined)
  assert.equal(cleo, undefined, 'an administrator’s password is not for the first who comes')
  await configure('users.admin', '[admin]')
  const visitor = await student('cleo')
  await configure('users.admin', '[admin, cleo]')
  const begun = await visitServer(visitor, hub, 'bob')
  assert.equal((await visitor.go(begun.location)).status, 200)
  const me = () => visitor.get(`${bobsHost}/user/bob/api/me`, { accept: '*/*' })
  assert.equal((await me()).status, 200)
  await configure('users.admin', '[admin]')
  assert.equal((await me()).status, 403)

  const ann = await student('ann')
  await ann.go(`${annsHost}/user/ann/lab`)
  await configure('users.banned', '[ann]')
  assert.equal((await ann.get(`${annsHost}/user/ann/api/me`, { accept: '*/*' })).status, 403)
})

test('on one origin, visits wait for the setting, and then for the note', async t => {
  t.after(() => configure('admins.open_servers', 'false'))
  await product.host.run([...TLJH_TS, 'config', 'unset', 'https.user_domains'])
  const url = `http://${product.host.address}`
  const admin = await administrator(url)
  assert.equal((await admin.get(`${url}/user/bob/lab`)).status, 403)
  assert.equal((await admin.get(`${url}/hub/visit/bob`)).status, 403)
  await configure('admins.open_servers', 'true')
  const note = await admin.go(`${url}/user/bob/lab`)
  assert.equal(note.url, `${url}/hub/visit/bob?next=%2Fuser%2Fbob%2Flab`)
  assert.match(note.body, /can do whatever you can do/)
  assert.equal((await admin.get(`${url}/user/bob/api/me`, { accept: '*/*' })).status, 403)
  const begun = await admin.post(`${url}/hub/visit/bob`, { next: '/user/bob/lab' })
  assert.equal(begun.location, '/user/bob/lab')
  assert.equal((await admin.go(`${url}${begun.location}`)).status, 200)
  await configure('admins.open_servers', 'false')
  assert.equal((await admin.get(`${url}/user/bob/api/me`, { accept: '*/*' })).status, 403)
})

test('the port for visits serves visits and nothing of the hub', async () => {
  await configure('admins.visit_port', '8081')
  const url = `http://${product.host.address}`
  const visits = `${url}:8081`
  const admin = await administrator(url)
  assert.equal((await admin.get(`${url}/user/bob/lab`)).location, `${visits}/user/bob/lab`)
  assert.equal((await admin.get(`${url}/user/bob/api/me`, { accept: '*/*' })).status, 403)
  const note = await admin.go(`${visits}/user/bob/lab`)
  assert.equal(note.url, `${url}/hub/visit/bob?next=%2Fuser%2Fbob%2Flab`)
  const begun = await admin.post(`${url}/hub/visit/bob`, { next: '/user/bob/lab' })
  assert.equal(begun.location, `${visits}/user/bob/lab`)
  assert.deepEqual(await admin.go(begun.location).then(({ url, status }) => [url, status]), [
    `${visits}/user/bob/lab`,
    200,
  ])
  assert.equal((await admin.get(`${visits}/user/bob/api/me`)).status, 200)
  assert.equal(await admin.webSocket(`${visits.replace('http', 'ws')}/user/bob/api/events/subscribe`), 'open')

  for (const path of ['/user/bob/api/me', '/user/admin/api/me', '/user/ann/api/me']) {
    const from = path.includes('bob') ? url : visits
    assert.equal((await admin.get(`${from}${path}`, { accept: '*/*' })).status, 403, `${from}${path}`)
  }
  assert.equal((await admin.get(`${visits}/hub/home`)).location, `${url}/hub/home`)
  for (const path of ['/hub/home', '/hub/health', '/hub/static/hub.css', '/', '/hub/enter?server=bob']) {
    assert.equal((await admin.get(`${visits}${path}`, { accept: '*/*' })).status, 404, path)
  }
  for (const path of ['/hub/login', '/hub/stop', '/hub/spawn', '/hub/visit/ann', '/hub/admin/config']) {
    assert.equal((await admin.post(`${visits}${path}`)).status, 404, path)
    const fields = { username: 'admin', password: studentPassword, step: 'open' }
    assert.equal((await admin.post(`${url}${path}`, fields, { origin: visits })).status, 403, `${path}, from there`)
  }
  const links = { 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' }
  assert.match((await admin.get(`${url}/hub/logout`, links)).body, /Log out\?/)

  await visitServer(admin, url, 'ann')
  assert.equal((await admin.get(`${visits}/user/bob/api/me`, { accept: '*/*' })).status, 403, 'one visit at a time')

  const session = admin.cookies(`${url}/hub/`).get('tljh-session') ?? ''
  const outside = wander(product.host.address)
  outside.plant({ host: product.host.address, path: '/', name: 'tljh-session', value: session })
  assert.equal(
    (await outside.get(`${visits}/user/ann/api/me`, { accept: '*/*' })).status,
    403,
    'the session opens nothing there',
  )
  await admin.post(`${url}/hub/logout`)
  assert.equal((await admin.get(`${visits}/user/ann/api/me`, { accept: '*/*' })).status, 403)
})
