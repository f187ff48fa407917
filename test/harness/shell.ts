/**
 * `npm run host`: a shell in a fresh host with the product installed and a way out.
 * `npm run --silent host -- COMMAND…`: the command in such a host, with its output and exit code.
 *
 * The host is gone when the shell or the command ends. What is said of the way there goes to standard error.
 */

import { handleStop } from './host/stop-signal.ts'
import { bootProduct } from './product/product.ts'

/**
 * A terminal of this machine is none of the host's (it has terminals of its own), so job control and programs that ask
 * for their terminal need script(1) between the two.
 */
const TERMINAL_SHELL = ['script', '--quiet', '--return', '--command', 'cd; exec bash --login', '/dev/null']

const [first, ...rest] = process.argv.slice(2)
const command = first === undefined ? [] : first === '--' ? rest : [first, ...rest]
const report = (line: string) => console.error(line)

const stop = handleStop()
// A signal while the host boots: it dies with this process, and the next boot clears up after it.
const product = await Promise.race([bootProduct({ registries: true, report }), stop])
if ('exitCode' in product) process.exit(product.exitCode)
try {
  const { host, url, admin, adminPassword } = product
  const shell = process.stdin.isTTY ? TERMINAL_SHELL : ['bash', '--login']
  if (command.length === 0)
    report(`${host.name} at ${url}, admin ${admin}, password ${adminPassword}. Leave with exit.`)
  const env = { TERM: process.env.TERM ?? 'dumb' }
  const ended = host.attach(command.length > 0 ? command : shell, { env })
  process.exitCode = await Promise.race([ended, stop.then(signal => signal.exitCode)])
} finally {
  await product[Symbol.asyncDispose]()
}
// The race may have been lost by a program that this process would wait for.
process.exit()
