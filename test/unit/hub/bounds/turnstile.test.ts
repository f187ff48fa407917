/** In which turn of the event loop a new connection begins. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import {
  createTurnstile,
  mostATurn,
  mostOfAll,
  mostOfOwn,
  type TurnstileOptions,
} from '../../../../hub/bounds/turnstile.ts'

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
      port: 40_000,
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

test('where no more may wait, no more are taken for a while, and then one of the longest line goes for each who comes', async () => {
  let now = 0
  const { turnstile, begun, come } = openTurnstile({ mostWaiting: 100, now: () => now, random: () => 0.99 })
  const flood = Array.from({ length: 100 + mostATurn - 1 }, () => come('192.0.2.1'))
  assert.equal(turnstile.hasRoom(), true)
  flood.push(come('192.0.2.1'))
  assert.equal(turnstile.hasRoom(), false)
  now += 249
  assert.equal(turnstile.hasRoom(), false)
  now += 1
  assert.equal(turnstile.hasRoom(), true)

  // A class behind one address, and two attackers at theirs.
  const pupils = Array.from({ length: 30 }, () => come('198.51.100.1'))
  const others = Array.from({ length: 200 }, (_, index) => come(index % 2 === 0 ? '192.0.2.1' : '192.0.2.2'))
  const isIn = ({ isTurnedAway }: Connection) => !isTurnedAway
  assert.equal(pupils.filter(isIn).length, 30, 'none of those who come in a small number')
  const [left, all] = [flood.concat(others).filter(isIn), flood.concat(others, pupils)]
  assert.equal(left.length + 30 - begun.length, 100)
  while (begun.length < all.filter(isIn).length) await turn()
  assert.ok(pupils.every(pupil => begun.includes(pupil)))

  // The flood is not over where it rests, and is a minute later.
  await turn()
  const again = () => Array.from({ length: 100 + mostATurn }, () => come('192.0.2.1'))
  assert.ok(again().every(isIn))
  assert.equal(turnstile.hasRoom(), true)
  now += 60_000
  while (begun.length < flood.concat(others, pupils).filter(isIn).length + 100 + mostATurn) await turn()
  await turn()
  again()
  assert.equal(turnstile.hasRoom(), false)
})

test('programs of the machine’s own have a short line, and keep nobody else in the kernel', async () => {
  const { turnstile, begun, come } = openTurnstile()
  const flood = Array.from({ length: 3_000 }, () => come('127.0.0.1'))
  assert.equal(flood.filter(({ isTurnedAway }) => !isTurnedAway).length, mostATurn + mostOfOwn)
  assert.equal(turnstile.hasRoom(), true)
  const school = Array.from({ length: 600 }, () => come('198.51.100.1'))
  assert.ok(school.every(({ isTurnedAway }) => !isTurnedAway))
  while (!school.every(pupil => begun.includes(pupil))) await turn()
})

test('very many networks have their turns one after the other', async () => {
  const { begun, come } = openTurnstile()
  const all = Array.from({ length: 200 }, (_, index) => come(`2001:db8:0:${index.toString(16)}::1`))
  assert.equal(begun.length, mostOfAll)
  for (let turns = 1; begun.length < 200; turns++) {
    await turn()
    assert.ok(begun.length <= mostOfAll * (turns + 1))
  }
  assert.deepEqual(new Set(begun), new Set(all))
})

test('a program of root’s does not wait behind those of students, on whatever address of the machine', () => {
  const { turnstile, begun, come } = openTurnstile()
  for (const address of ['127.0.0.1', '::1', '127.3.2.1']) for (let count = 0; count < 50; count++) come(address)
  assert.equal(begun.length, mostATurn)
  let hasBegun = false
  turnstile.enter({ address: '127.0.0.1', port: 700, begin: () => (hasBegun = true), turnAway() {} })
  assert.equal(hasBegun, true)
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
