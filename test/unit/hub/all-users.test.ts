/** Who there is: one answer for the page, the command, sign-ups and visits. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseConfig } from '../../../config/meaning/config.ts'
import { parseUserName } from '../../../config/users/names.ts'
import { allUsers, isSomebody } from '../../../hub/credentials/all-users.ts'
import { openState } from '../../../hub/state/database.ts'

const config = parseConfig(`users: { allowed: [ann], admin: [teacher], banned: [bad] }
groups: { ml: { members: [bob] } }
limits: { users: { cleo: { cpu: 2 } } }
`)

test('whoever the file has in any list, or the database in any table, is somebody, and is in the list', () => {
  using db = openState(':memory:')
  const columns = db
    .prepare(
      `SELECT tables.name AS name, info.name AS field, info.type AS type, info."notnull" AS must, info.pk AS key
       FROM sqlite_master AS tables JOIN pragma_table_info(tables.name) AS info WHERE tables.type = 'table'`,
    )
    .all()
  const tables = [...new Set(columns.filter(({ field }) => field === 'user').map(({ name }) => String(name)))]
  assert.ok(tables.length >= 6, tables.join())
  for (const table of tables) {
    const fields = columns.filter(({ name, must, key }) => name === table && (must || key))
    const given = fields.map(({ field, type }) =>
      field === 'user'
        ? `of-${table.replaceAll('_', '-')}`
        : type === 'INTEGER'
          ? 1
          : type === 'BLOB'
            ? Buffer.of(1)
            : 'x',
    )
    db.prepare(
      `INSERT INTO ${table} (${fields.map(({ field }) => field).join()}) VALUES (${given.map(() => '?').join()})`,
    ).run(...given)
  }
  const inTables = tables.map(table => `of-${table.replaceAll('_', '-')}`)
  const known = allUsers({ config, db }, [])
  const names = known.map(({ user }) => String(user))
  for (const name of ['ann', 'teacher', 'bad', 'bob', 'cleo', ...inTables]) {
    assert.ok(names.includes(name), name)
    assert.equal(isSomebody({ config, db }, parseUserName(name)), name !== 'of-sign-ups', name)
  }
  assert.equal(isSomebody({ config, db }, parseUserName('zoe')), false)
  assert.equal(known.find(({ user }) => user === 'of-sign-ups')?.signedUp, 1)
  assert.deepEqual(
    known.filter(({ mayEnter }) => mayEnter).map(({ user }) => user),
    ['ann', 'teacher'],
  )
})
