import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { parseUserName, type UserName } from '../../../../config/users/names.ts'
import { createPasses } from '../../../../hub/access/passes.ts'
import { createSessions, sessionAgeSeconds } from '../../../../hub/access/sessions.ts'
import { createLogins } from '../../../../hub/credentials/last-logins.ts'
import { createPendingLogins } from '../../../../hub/login/pending-logins.ts'
import { createTemporaryAccounts } from '../../../../hub/login/temporary-users.ts'
import { openState } from '../../../../hub/state/database.ts'
import type { Servers } from '../../../../spawner/client/servers.ts'

const visitor = parseUserName('tmp-abcd2345')
const hourMs = 3600_000

/** A visitor who is there, on a machine whose servers have stopped, with a steady clock that the test moves. */
function openHub(t: TestContext) {
  const db = openState(':memory:')
  t.after(() => db.close())
  const clock = { steady: 0 }
  const sessions = createSessions(db, () => clock.steady)
  const logins = createLogins(db)
  const forgotten: UserName[] = []
  const log: string[] = []
  const servers: Pick<Servers, 'get' | 'stop' | 'watch'> = {
    get: () => ({ kind: 'stopped', user: visitor }),
    stop: async () => ({ kind: 'stopped', user: visitor }),
    async *watch() {
      yield { kind: 'stopped', user: visitor }
    },
  }
  const temporary = createTemporaryAccounts({
    ...{ sessions, logins, log: line => log.push(line) },
    servers: servers as Servers,
    spawner: {
      forget: async (user: UserName) => {
        forgotten.push(user)
        return { wasThere: true, archive: undefined }
      },
    },
  })
  const token = sessions.start(visitor, 'temporary', false)
  logins.add(visitor, 'temporary')
  return { clock, sessions, temporary, token, forgotten }
}

test('a clock that jumps ahead deletes no temporary account', async t => {
  const { temporary, forgotten, sessions, token, clock } = openHub(t)
  const begin = Date.now()
  const now = t.mock.method(Date, 'now', () => begin + 30 * sessionAgeSeconds * 1000)
  clock.steady = hourMs / 2
  await temporary.sweep()
  now.mock.restore()
  assert.deepEqual(forgotten, [])
  assert.equal(sessions.find(token, false)?.user, visitor)
})

test('a temporary account goes an hour after it was used last, and at once when its visitor logs out', async t => {
  const { temporary, forgotten, sessions, token, clock } = openHub(t)
  clock.steady = hourMs
  assert.equal(sessions.find(token, false)?.user, visitor, 'used once more')
  clock.steady = 2 * hourMs
  await temporary.sweep()
  assert.deepEqual(forgotten, [])
  clock.steady = 2 * hourMs + 1
  await temporary.sweep()
  assert.deepEqual(forgotten, [visitor])

  const other = openHub(t)
  const session = other.sessions.find(other.token, false)
  assert.ok(session)
  other.sessions.end(session)
  await other.temporary.sweep()
  assert.deepEqual(other.forgotten, [visitor])
})

test('somebody who begins very many logins or crossings pushes out nobody else’s', () => {
  const arrivals = createPendingLogins(() => 0)
  const cookie = (token: string) => `tljh-login=${token}`
  const [ann, bob] = [parseUserName('ann'), parseUserName('bob')]
  const of = (user: UserName) => arrivals.add({ user, way: 'first-use', next: '' })
  const [waiting, first] = [of(ann), of(bob)]
  const last = Array.from({ length: 20_000 }, () => of(bob)).at(-1)
  assert.equal(arrivals.find(cookie(waiting))?.user, ann)
  assert.equal(arrivals.find(cookie(first)), undefined)
  assert.equal(arrivals.find(cookie(last ?? ''))?.user, bob)

  const visits = createPasses(Buffer.alloc(32), () => 0)
  const issue = (user: UserName) =>
    visits.issueCode({
      session: { id: `of ${user}`, user, way: 'first-use', started: 0 },
      ...{ owner: user, place: 'server', nonceDigest: '', next: '' },
    })
  const code = issue(ann)
  for (let count = 0; count < 20_000; count++) issue(bob)
  assert.equal(visits.redeem(code, { owner: ann, place: 'server' }, () => true)?.session.user, ann)
})
