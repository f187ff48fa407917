import assert from 'node:assert/strict'
import { beforeEach, mock, test } from 'node:test'
import { createStartQueue, type StartQueue, startBytes, type Wait } from '../../../spawner/service/start-queue.ts'

const reserve = 256 * 1024 ** 2

let available = 0
let queue: StartQueue

beforeEach(() => {
  mock.timers.reset()
  mock.timers.enable({ apis: ['setTimeout', 'Date'] })
  available = 100 * startBytes
  queue = createStartQueue({ atOnce: () => 2, reserve: () => reserve, available: () => available })
})

interface Start {
  state: string
  waits: Wait[]
  isWanted: boolean
  end(): void
}

/** Asks for a start, and notes what becomes of it. */
function ask({ isFirst = false } = {}): Start {
  const start: Start = { state: 'waits', waits: [], isWanted: true, end: () => undefined }
  const entrant = { isFirst, isWanted: () => start.isWanted, onWait: (wait: Wait) => void start.waits.push(wait) }
  queue.enter(entrant).then(
    place => {
      start.state = place ? 'starts' : 'given up'
      start.end = () => place?.[Symbol.dispose]()
    },
    error => {
      start.state = String(error.message)
    },
  )
  return start
}

/** Lets what is promised happen. */
const settle = () => new Promise(resolve => setImmediate(resolve))

async function pass(ms: number) {
  mock.timers.tick(ms)
  await settle()
}

test('as many start at once as may, and each end lets the next in, who is told of every step forward', async () => {
  const [a, b, c, d] = [ask(), ask(), ask(), ask()]
  await settle()
  assert.deepEqual(
    [a, b, c, d].map(one => one.state),
    ['starts', 'starts', 'waits', 'waits'],
  )
  assert.deepEqual(d.waits.at(-1), { ahead: 1, isForMemory: false })
  b.end()
  await settle()
  assert.deepEqual([c.state, d.waits.at(-1)?.ahead], ['starts', 0])
  a.end()
  await settle()
  assert.equal(d.state, 'starts')
})

test('administrators go first, in the order in which they asked', async () => {
  const running = [ask(), ask()]
  const [student, teacher, assistant] = [ask(), ask({ isFirst: true }), ask({ isFirst: true })]
  await settle()
  assert.deepEqual(
    [teacher, assistant, student].map(one => one.waits.at(-1)?.ahead),
    [0, 1, 2],
  )
  for (const one of running) one.end()
  await settle()
  assert.deepEqual([student.state, teacher.state, assistant.state], ['waits', 'starts', 'starts'])
})

test('an order that was taken back leaves the queue, and the others move up', async () => {
  ask()
  ask()
  const [undecided, next] = [ask(), ask()]
  undecided.isWanted = false
  queue.look()
  await settle()
  assert.deepEqual([undecided.state, next.waits.at(-1)?.ahead], ['given up', 0])
})

test('a start that takes long keeps nobody waiting, and its end counts once', async () => {
  const slow = [ask(), ask()]
  const [next, afterwards, last] = [ask(), ask(), ask()]
  await settle()
  await pass(30_000)
  assert.deepEqual([next.state, afterwards.state, last.state], ['starts', 'starts', 'waits'])
  for (const one of slow) one.end()
  await settle()
  assert.equal(last.state, 'waits')
})

test('what a server that just starts will take is not given to the next', async () => {
  available = reserve + 1.5 * startBytes
  const [a, b] = [ask(), ask()]
  await settle()
  assert.deepEqual([a.state, b.state], ['starts', 'waits'])
  assert.deepEqual(b.waits.at(-1), { ahead: 0, isForMemory: false }, 'it waits for the other, and not for memory')
})

test('where the machine has no memory for one more, a start waits until there is some', async () => {
  available = reserve + startBytes - 1
  const start = ask()
  await settle()
  assert.deepEqual([start.state, start.waits.at(-1)], ['waits', { ahead: 0, isForMemory: true }])
  await pass(30_000)
  available = reserve + startBytes
  await pass(1_000)
  assert.equal(start.state, 'starts')
})

test('whoever has waited for memory for a minute is told so, in numbers', async () => {
  available = reserve + 10 * 1024 ** 2
  const start = ask()
  await pass(59_000)
  const late = ask()
  await pass(2_000)
  assert.match(
    start.state,
    /no memory for it: 266 MB are free, a server takes 160 MB to begin with, and 256 MB are kept free/,
  )
  assert.equal(late.state, 'waits')
})

test('a minute in the queue is no minute without memory', async () => {
  const [a, b] = [ask(), ask()]
  const waiting = ask()
  await pass(29_000)
  available = 0
  a.end()
  b.end()
  await pass(50_000)
  assert.equal(waiting.state, 'waits')
})
