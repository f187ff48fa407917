/** A port of this machine's own address that leads to a port of a test host, for browsers of people. */
import { once } from 'node:events'
import { connect, createServer, type Server } from 'node:net'
import { pipeline } from 'node:stream'
import { isErrorCode } from './process.ts'

export interface Forward extends Disposable {
  port: number
}

/** Listens at 127.0.0.1 on the first free port from `port` on. */
export async function forward(port: number, target: { host: string; port: number }): Promise<Forward> {
  const server = createServer({ noDelay: true }, near => {
    const far = connect({ ...target, noDelay: true })
    // Either end may go at any time, as browsers do; the other one then goes too, and nobody else is concerned.
    pipeline(near, far, () => near.destroy())
    pipeline(far, near, () => far.destroy())
  })
  return { port: await listen(server, port), [Symbol.dispose]: () => server.close() }
}

async function listen(server: Server, port: number): Promise<number> {
  try {
    server.listen({ host: '127.0.0.1', port })
    await once(server, 'listening')
    return port
  } catch (error) {
    if (isErrorCode(error, 'EADDRINUSE') && port < 65_535) return await listen(server, port + 1)
    throw error
  }
}
