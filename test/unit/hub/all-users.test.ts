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

test('an account is of whom its comment names, and one of TLJH’s, which names nobody, of whoever would work in it', () => {
  using db = openState(':memory:')
  const passwd = [
    'jupyter-zoe:x:1001:1001:JupyterHub user zoe:/home/jupyter-zoe:/bin/bash',
    'jupyter-kim:x:1002:1002:JupyterHub user kim,Room 5:/home/jupyter-kim:/bin/bash',
    'jupyter-old:x:1003:1003::/home/jupyter-old:/bin/bash',
    'jupyter-leo:x:1004:1004:JupyterHub user somebody-else:/home/jupyter-leo:/bin/bash',
    'nora:x:1005:1005:JupyterHub user nora:/home/nora:/bin/bash',
  ].join('\n')
  const is = (name: string) => isSomebody({ config, db }, parseUserName(name), passwd)
  assert.deepEqual(['zoe', 'kim', 'old', 'leo', 'somebody-else', 'nora'].filter(is), ['zoe', 'kim', 'old'])
})
