/**
 * What time it is, for virtual machines: a server of the simple network time protocol (RFC 4330), because nobody outside is asked.
 */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'

const port = 123
/** From 1900, where the protocol begins, to 1970, in seconds. */
const before1970 = 2_208_988_800

/** Answers on this machine's loopback, where a virtual machine finds it at its gateway. Where there is a time server already, that one answers. */
export async function tellTime(): Promise<AsyncDisposable> {
  const socket = createSocket('udp4')
  socket.on('message', (question, { port: from, address }) => socket.send(answerTo(question), from, address))
  socket.bind(port, '127.0.0.1')
  const problem = await once(socket, 'listening').then(
    () => undefined,
    (error: NodeJS.ErrnoException) => error,
  )
  if (problem && problem.code !== 'EADDRINUSE') throw problem
  return {
    async [Symbol.asyncDispose]() {
      if (problem) return
      socket.close()
      await once(socket, 'close')
    },
  }
}

/** @param question 48 bytes, of which the last eight are the time at which it was sent */
function answerTo(question: Buffer): Buffer {
  const answer = Buffer.alloc(48)
  // No leap second, version 4, server; stratum 1; poll 2**4 s; precision 2**-20 s.
  answer.set([0x24, 1, 4, 0xec])
  answer.write('TEST', 12, 'ascii')
  question.copy(answer, 24, 40, 48)
  const now = Date.now() / 1000 + before1970
  // Of reference, receipt and answer.
  for (const offset of [16, 32, 40]) {
    answer.writeUInt32BE(Math.floor(now), offset)
    answer.writeUInt32BE(Math.floor((now % 1) * 2 ** 32), offset + 4)
  }
  return answer
}
