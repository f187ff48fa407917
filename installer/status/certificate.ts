/**
 * The certificate that the hub serves, where it serves https: what the hub tells of it in a file (hub/tls/status.ts). The file is in the hub's own
 * folder, so it is read with the hub's rights, and nothing in it reaches the terminal but letters.
 */
import { join } from 'node:path'
import type { Layout } from '../../machine/layout.ts'
import { runProgram } from '../../machine/run-program.ts'
import { configInForce } from '../installation/health.ts'
import { hubRights } from '../installation/state-copy.ts'
import { bad, type Check, good, type StatusLine, warning } from './lines.ts'

interface Told {
  source?: unknown
  names?: unknown
  until?: unknown
  warning?: unknown
  problem?: { what?: unknown; why?: unknown; fix?: unknown }
}

const look = 'See the page People, and: sudo journalctl --unit=tljh-hub'

export function certificateChecks(layout: Layout): Check[] {
  return [{ name: 'certificate', run: () => lookAtCertificate(layout) }]
}

async function lookAtCertificate(layout: Layout): Promise<StatusLine[]> {
  const { http } = await configInForce(layout)
  if (!http.tls) return []
  const file = join(layout.state, 'certificates/status.json')
  const { code, stdout } = await runProgram('setpriv', [...(await hubRights()), 'cat', '--', file])
  if (code !== 0) {
    return [warning('certificate', 'the hub has not told which certificate it serves', `${file} cannot be read`, look)]
  }
  const { certificates = [] } = JSON.parse(stdout) as { certificates?: Told[] }
  return certificates.map(lineOf)
}

function lineOf({ source, names, until, warning: amiss, problem }: Told): StatusLine {
  const whom = Array.isArray(names) && names.length ? names.map(plain).join(', ') : 'no name'
  const text = `the certificate for ${whom} is valid until ${plain(until)}`
  if (problem) {
    const [what, why, fix] = [problem.what, problem.why, problem.fix].map(plain)
    // As long as the one that is served is a good one, there is time.
    const line = source === 'self-signed' ? bad : warning
    return line('certificate', amiss === undefined ? text : plain(amiss), `${what}: ${why}`, fix ?? look)
  }
  if (amiss !== undefined) return warning('certificate', text, plain(amiss), look)
  return good('certificate', text)
}

function plain(value: unknown): string {
  return String(value ?? '').replace(/\p{C}/gu, ' ')
}
