/** In which turn of the event loop a new connection begins. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { createTurnstile, mostATurn, type TurnstileOptions } from '../../hub/turnstile.ts'

interface Connection {
  address: string | undefined
  isTurnedAway: boolean
}

function openTurnstile(options: Partial<TurnstileOptions> = {}) {
  const turnstile = createTurnstile({ mostWaiting: 1_000, ...options })
  const begun: Connection[] = []
  const come = (address: string | undefined) => {
    const connection = { address, isTurnedAway: false }
    turnstile.enter({
      address,
      begin: () => begun.push(connection),
      turnAway() {
        connection.isTurnedAway = true
      },
    })
    return connection
  }
  return { turnstile, begun, come }
}

test('whoever connects a hundred times at once waits behind himself, and others begin in the same turn', async () => {
  const { begun, come } = openTurnstile()
  const flood = Array.from({ length: 100 }, (_, index) => come(`127.0.${index}.1`))
  const other = come('192.0.2.1')
  assert.equal(begun.length, mostATurn + 1)
  assert.ok(begun.includes(other))

  for (let turns = 1; begun.length < 101; turns++) {
    await turn()
    assert.ok(begun.length <= 1 + mostATurn * (turns + 1), `${begun.length} have begun after ${turns} turns`)
    assert.ok(begun.includes(come(`198.51.100.${turns}`)))
    begun.pop()
  }
  assert.deepEqual(
    begun.filter(one => one !== other),
    flood,
  )
})

test('beyond half of those that may wait, an address is turned away, and others are not', async () => {
  const { begun, come } = openTurnstile({ mostWaiting: 100 })
  const flood = Array.from({ length: 60 }, () => come('192.0.2.1'))
  const others = Array.from({ length: 60 }, (_, index) => come(`198.51.100.${index % 2}`))
  assert.equal(flood.filter(({ isTurnedAway }) => isTurnedAway).length, 60 - mostATurn - 50)
  assert.equal(others.filter(({ isTurnedAway }) => isTurnedAway).length, 60 - 2 * mostATurn - 50)
  while (begun.length < 2 * 50 + 3 * mostATurn) await turn()
  await turn()
  assert.equal(come('192.0.2.1').isTurnedAway, false)
  assert.equal(begun.length, 2 * 50 + 3 * mostATurn + 1)
})

test('a web server in front, and whoever comes by a unix socket, behind which all the others are, never waits', () => {
  const { begun, come } = openTurnstile({ isExempt: address => address === '192.0.2.1' })
  for (let count = 0; count < 100; count++) {
    come('192.0.2.1')
    come(undefined)
  }
  assert.equal(begun.length, 200)
})

test('when the hub stops, nobody waits any more', () => {
  const { turnstile, begun, come } = openTurnstile()
  const all = Array.from({ length: 20 }, () => come('192.0.2.1'))
  turnstile.open()
  all.push(come('192.0.2.1'))
  assert.deepEqual(begun, all)
})
