/**
 * A server of our own in the place of a student's: it answers every request with what has arrived, and keeps a list. What is in
 * it is what the hub let through, as another HTTP server reads it.
 */
import type { Host } from '../host/host.ts'
import { TLJH_TS } from '../product/product.ts'

/** A request as it arrived. */
export interface Arrived {
  method: string
  url: string
  /** Name, value, name, value. */
  headers: string[]
  body: string
  trailers: string[]
  isUpgrade: boolean
}

export interface Recorder extends AsyncDisposable {
  /** Everything since it was started, or asked the last time. */
  arrived(): Promise<Arrived[]>
}

const program = `
const { createServer } = require('node:http')
const { appendFileSync } = require('node:fs')
const [socket, list] = process.argv.slice(1)
const tell = (request, body, isUpgrade = false) => {
  const { method, url, rawHeaders: headers, rawTrailers: trailers } = request
  const line = JSON.stringify({ method, url, headers, body, trailers, isUpgrade })
  appendFileSync(list, line + '\\n')
  return line
}
const server = createServer({ keepAliveTimeout: 600000 }, (request, response) => {
  let body = ''
  request.setEncoding('latin1').on('data', chunk => { body += chunk })
  request.on('end', () => response.setHeader('content-type', 'application/json').end(tell(request, body)))
  request.on('error', () => {})
})
server.on('upgrade', (request, connection, head) => {
  connection.on('error', () => {})
  tell(request, head.toString('latin1'), true)
  connection.end('HTTP/1.1 400 Bad Request\\r\\nConnection: close\\r\\nContent-Length: 0\\r\\n\\r\\n')
})
process.umask(0o007)
server.listen(socket, () => console.log('listening'))
`

/** Takes the place of the server of `user`, which runs. The hub must not hold connections to it: restart it. */
export async function recordInPlaceOf(host: Host, user: string): Promise<Recorder> {
  const owner = `jupyter-${user}`
  const socket = `/run/tljh/users/${user}/socket`
  const list = `/home/${owner}/arrived`
  await host.run(['mv', socket, `${socket}.kept`], { user: owner })
  const [node = ''] = TLJH_TS
  const server = await host.start([node, '-e', program, socket, list], { user: owner })
  await new Promise(resolve => server.stdout.once('data', resolve))
  return {
    async arrived() {
      const { stdout } = await host.run(['sh', '-c', 'cat "$0" 2>/dev/null; rm -f "$0"', list])
      const texts = stdout.split('\n').filter(Boolean)
      return texts.map(text => JSON.parse(text) as Arrived)
    },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  }
}
