/**
 * Starts and stops of users' servers that a test has in its hand: a piece of Python runs in the user's JupyterLab while it
 * reads its configuration, as a teacher's own `jupyter_config.py` in the class environment would.
 */
import type { Host } from '../host/host.ts'

const folder = '/srv/on-start'

/** Jupyter reads its configuration once for each application that is in it. */
const classConfig = `
import os, sys
mine = f"${folder}/{os.environ['JUPYTERHUB_USER']}.py"
if os.path.exists(mine) and not hasattr(sys, "has_run_mine"):
    sys.has_run_mine = True
    exec(open(mine).read())
`

/** A start or a stop that is held while somebody looks at pages is not to be cut off, however slow the machine is. */
const patience = '[Service]\nTimeoutStartSec=10min\nTimeoutStopSec=10min\n'

/** Runs `python` in each start of the user's server from now on; nothing more, where it is empty. */
export async function onStart(host: Host, user: string, python: string): Promise<void> {
  await host.writeFile(`/etc/systemd/system/tljh-user-${user}.service.d/patience.conf`, patience)
  await host.run(['systemctl', 'daemon-reload'])
  await host.writeFile('/opt/tljh/user/etc/jupyter/jupyter_config.py', classConfig)
  await host.writeFile(`${folder}/${user}.py`, python)
}

export interface Gate {
  /** Python that waits until the gate is opened. */
  wait: string
  /** Lets one pass that waits; waits for it, where it has not come yet. */
  open(): Promise<void>
}

/** A named pipe: whoever comes first waits for the other, so nobody asks again and again. */
export async function makeGate(host: Host, name: string): Promise<Gate> {
  const pipe = `${folder}/${name}.gate`
  await host.run(['sh', '-euc', 'mkdir -p "$1"; mkfifo --mode=0644 "$2"', 'sh', folder, pipe])
  return {
    wait: `open("${pipe}").read()`,
    open: async () => void (await host.run(['sh', '-euc', 'echo open >"$1"', 'sh', pipe])),
  }
}
