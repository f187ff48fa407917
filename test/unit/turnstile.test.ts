/** In which turn of the event loop a new connection begins. */
import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { createTurnstile, mostATurn } from '../../hub/turnstile.ts'

/** As much of a connection as the turnstile sees. */
class Connection {
  destroyed = false
  readonly remoteAddress: string
  constructor(remoteAddress: string) {
    this.remoteAddress = remoteAddress
  }
}

function openTurnstile(isExempt?: (address: string) => boolean) {
  const turnstile = createTurnstile(isExempt)
  const begun: Connection[] = []
  const come = (address: string) => {
    const connection = new Connection(address)
    turnstile.enter(connection as unknown as Socket, () => begun.push(connection))
    return connection
  }
  return { begun, come }
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

test('a connection that has closed while it waited does not begin, and takes nobody’s turn', async () => {
  const { begun, come } = openTurnstile()
  const all = Array.from({ length: 3 * mostATurn }, () => come('192.0.2.1'))
  for (const one of all.slice(mostATurn, 2 * mostATurn)) one.destroyed = true
  await turn()
  assert.deepEqual(begun, [...all.slice(0, mostATurn), ...all.slice(2 * mostATurn)])
})

test('a web server in front, behind which all the others are, never waits', () => {
  const { begun, come } = openTurnstile(address => address === '192.0.2.1')
  for (let count = 0; count < 100; count++) come('192.0.2.1')
  assert.equal(begun.length, 100)
})
