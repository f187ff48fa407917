/**
 * Runs in a host: a line between a browser and the hub that stutters, or is cut. What is to be done with it comes on standard input, a word a line,
 * and is answered with the same word when it is so.
 *
 *   node bad-connection.ts PORT TARGET-PORT
 *
 *   good     all passes at once
 *   jitter   each piece waits for up to a fifth of a second, in both directions
 *   cut      every connection is broken, and so is each that comes
 */
import { randomInt } from 'node:crypto'
import { connect, createServer, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'

const mostMs = 200
const [port, target] = process.argv.slice(2).map(Number)
const open = new Set<Socket>()
let state = 'good'

const server = createServer({ allowHalfOpen: true }, from => {
  if (state === 'cut') {
    from.resetAndDestroy()
    return
  }
  const to = connect({ port: target ?? 0, host: '127.0.0.1', allowHalfOpen: true })
  for (const [one, other] of [
    [from, to],
    [to, from],
  ] as const) {
    open.add(one)
    one.on('close', () => {
      open.delete(one)
      other.destroySoon()
    })
    one.on('error', () => other.resetAndDestroy())
    void pass(one, other).catch(() => undefined)
  }
})

/** In the order in which it came. */
async function pass(from: Socket, to: Socket): Promise<void> {
  for await (const piece of from as AsyncIterable<Buffer>) {
    if (state === 'jitter') await delay(randomInt(mostMs))
    to.write(piece)
  }
  to.end()
}

server.listen(port, () => console.log('listening'))
for await (const word of createInterface({ input: process.stdin })) {
  state = word
  if (word === 'cut') for (const socket of open) socket.resetAndDestroy()
  console.log(word)
}
process.exit()
