import type { Host } from '../../harness/host/host.ts'
import { TLJH_TS } from '../../harness/product/product.ts'

/**
 * Puts a copy of our Node.js at `path`, for whatever is measured beside ours, or measures: of pages that processes share, memory is counted
 * by each one's share, and ours are the only ones that run it where it is installed.
 */
export async function putOwnNode(host: Host, path: string): Promise<void> {
  const [node = ''] = TLJH_TS
  await host.run(['install', '-D', node, path])
}
