/** `npm run try`: the product in a throwaway host, for a person with a browser, until Ctrl-C. */
import { forward } from './host/port-forward.ts'
import { handleStop } from './host/stop-signal.ts'
import { bootProduct, TLJH_TS } from './product/product.ts'

const FIRST_PORT = 8000

const STUDENTS = `users:
  allowed:
    - ann
    - bob
`

const stop = handleStop()
const booting = bootProduct({ config: STUDENTS, registries: true, report: line => console.error(line) })
// A signal while the host boots: it dies with this process, and the next boot clears up after it.
const first = await Promise.race([booting, stop])
if ('exitCode' in first) process.exit(first.exitCode)

{
  await using product = first
  using entrance = await forward(FIRST_PORT, { host: product.host.address, port: 80 })
  const invited = await product.host.run([...TLJH_TS, 'user', 'invite', 'ann', 'bob', '--json'])
  const [ann, bob] = JSON.parse(invited.stdout) as { code: string }[]
  console.log(`
The hub runs:  http://127.0.0.1:${entrance.port}/

  admin        ${product.admin}
  password     ${product.adminPassword}

The students choose their passwords at their first login, with these codes in the place of the password:

  ann          ${ann?.code}
  bob          ${bob?.code}

Stop it with Ctrl-C: the host it runs in is thrown away, with all that was done in it.
`)
  await stop
  console.error('Taking the host away …')
}
// Connections of a browser may still be open.
process.exit(0)
