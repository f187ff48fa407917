/** systemd/hold-ports.py without systemd: what it says of the ports it is to hold. With systemd it is in test/host/service/ports.test.ts. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'

/** In systemd's place: reads what the holder says, closes what it is given, and prints the status. */
const systemd = `
import os, socket, subprocess, sys
name = "tljh-test-%d" % os.getpid()
told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
told.bind("\\0" + name)
holder = subprocess.Popen([sys.executable, "-I", "-S", sys.argv[1]], env={**os.environ, "NOTIFY_SOCKET": "@" + name})
told.settimeout(30)
status, text = "", ""
while text != "BARRIER=1":
    text, descriptors, _, _ = socket.recv_fds(told, 4096, 4)
    text = text.decode()
    for descriptor in descriptors:
        os.close(descriptor)
    if text.startswith("STATUS="):
        status = text
print(status, holder.wait())
`

test('an address with a zone does not end the holder of the ports', async () => {
  const server = createServer().listen(0)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  const stream = `[fe80::1%lo]:${port}`
  const said = execFileSync('python3', ['-c', systemd, join(import.meta.dirname, '../../../systemd/hold-ports.py')], {
    env: { ...process.env, TLJH_STREAMS: stream, TLJH_OWN: stream },
    encoding: 'utf8',
  })
  assert.equal(said, `STATUS=held: ${port}; free: none; in use: none 0\n`)
})
