/** When the hub takes several connections in a turn of its event loop. */
import assert from 'node:assert/strict'
import { mock, type TestContext, test } from 'node:test'
import { followBursts } from '../../hub/bursts.ts'

function followed(t: TestContext) {
  mock.timers.enable({ apis: ['setInterval'] })
  let [turn, now, open] = [0, 0, 0]
  const bursts = followBursts({
    takeMore() {
      open++
      return { [Symbol.dispose]: () => void open-- }
    },
    turn: () => turn,
    now: () => now,
  })
  t.after(() => {
    bursts.close()
    mock.timers.reset()
  })
  return {
    bursts,
    open: () => open,
    /** So many turns, each of so many milliseconds and with so many connections. */
    pass(turns: number, ms: number, connections: number) {
      for (let count = 0; count < turns; count++) {
        turn++
        now += ms
        for (let taken = 0; taken < connections; taken++) bursts.took()
      }
    },
  }
}

test('more connections are taken in a turn where each turn has one for long, until none has two', t => {
  const { open, pass } = followed(t)
  pass(10, 5, 1)
  assert.equal(open(), 1)
  for (let seconds = 0; seconds < 5; seconds++) {
    pass(10, 5, 20)
    mock.timers.tick(5_000)
    assert.equal(open(), 1)
  }
  pass(10, 5, 1)
  mock.timers.tick(5_000)
  assert.equal(open(), 0)
  pass(10, 5, 1)
  assert.equal(open(), 1)
})

test('connections one after the other on a hub that has time, or now and then, are no burst', t => {
  const { open, pass } = followed(t)
  for (let count = 0; count < 1_000; count++) {
    pass(10, 0.3, 1)
    pass(1, 0.3, 0)
  }
  for (let count = 0; count < 100; count++) {
    pass(1, 20, 1)
    pass(1, 20, 0)
  }
  assert.equal(open(), 0)
})

test('nothing more is taken after the end', t => {
  const { bursts, open, pass } = followed(t)
  pass(10, 5, 1)
  bursts.close()
  assert.equal(open(), 0)
})
