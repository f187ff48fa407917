/**
 * docs/attacks.md says which test holds which attack, and docs/proxy-bugs.md which fault of other proxies. Here it is seen that each of these
 * tests is there, and that no advisory is left out.
 *
 * Advisories that cannot apply, and why:
 *
 *   CVE-2024-41942, GHSA-69wv-m5fw-2fhp    there are no scopes: a user is an administrator or is not. (The fields of the first are tried
 *                                           all the same, as D8.)
 *   CVE-2020-15110 (kubespawner)            there are no named servers: one user, one unit, by an injective name (F4)
 *   CVE-2024-28179 (jupyter-server-proxy)   WebSockets are behind the same question as requests (C4), before that extension has them
 *   GHSA-mq5p (nbgitpuller)                 no link makes the hub run git; what runs in a server runs as its user
 *   GHSA-q874, CVE-2026-35397, GHSA-fcw5    of jupyter_server itself: it serves its owner the owner's files, with the owner's rights (D2 is
 *   (hidden files, siblings, nbconvert)     tried on the way to it), and what is shown in it reaches its owner
 *   CVE-2023-25574 (LTI)                    there is no LTI; signatures of OpenID Connect are tried as G6
 *   CVE-2026-4802, `LoginTo` (cockpit)      the hub opens no link in a shell, and connects to no host that a request names
 *   path-proxy and ports (code-server)      what one's own programs listen on is shown to oneself (docs/applications.md)
 *   TLJH#1037                               closed without a public detail; what it claims (another's session) is A7, B2, B3 and D1
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

const top = join(import.meta.dirname, '../..')
const rows = rowsOf('docs/attacks.md')

function rowsOf(page: string): string[] {
  return readFileSync(join(top, page), 'utf8')
    .split('\n')
    .filter(line => line.startsWith('| ') && !/^\| (?:attack|fault|---) /.test(line))
}

test('every test that the pages of attacks and of proxies’ faults name is there', () => {
  const held = [...rows, ...rowsOf('docs/proxy-bugs.md')].flatMap(row => [
    ...row.matchAll(/`(test\/[\w./-]+)`: “([^”]+)”/g),
  ])
  assert.ok(held.length > 100)
  for (const [, file = '', name = ''] of held) {
    const source = readFileSync(join(top, file), 'utf8')
    assert.ok(source.includes(name), `${file} has no test “${name}”`)
  }
})

test('every attack of the list A1 to G7 stands on the page', () => {
  const ids = new Set(
    rows.flatMap(
      row =>
        row
          .split('|')[1]
          ?.split(',')
          .map(id => id.trim()) ?? [],
    ),
  )
  for (const [letter, count] of Object.entries({ A: 13, B: 8, C: 7, D: 13, E: 6, F: 10, G: 7 })) {
    for (let number = 1; number <= count; number++) assert.ok(ids.has(`${letter}${number}`), `${letter}${number}`)
  }
})
