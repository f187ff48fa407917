/** An installation that waits in one of its first steps, where it makes groups, so that somebody can look at it meanwhile. */
import type { Host } from '../host/host.ts'

const gate = '/root/gate'
const groupadd = `#!/bin/sh\nwhile [ -e ${gate} ]; do sleep 0.1; done\nexec /usr/sbin/groupadd "$@"\n`

/** Holds those of this host from now on. The result lets them go on; the installer itself gives the step a minute. */
export async function holdInstallation(host: Host): Promise<() => Promise<void>> {
  await host.writeFile(gate, '')
  await host.writeFile('/usr/local/sbin/groupadd', groupadd, { mode: 0o755 })
  return async () => void (await host.run(['rm', gate]))
}
