/**
 * Runs in the host: brings a configuration into force, as `tljh-ts config` does after 'yes', and measures until hub and
 * spawner run it and the login page answers.
 */
import { text } from 'node:stream/consumers'
import { applyConfig } from '../../../config/change/apply.ts'
import { parseConfig } from '../../../config/meaning/config.ts'
import { installedLayout } from '../../../machine/layout.ts'
import { connectSpawner } from '../../../spawner/client/client.ts'

const { configFile, spawnerSocket } = installedLayout
const written = await text(process.stdin)
const change = { text: written, config: parseConfig(written), who: 'bench', how: 'bench' }
const { services } = connectSpawner(spawnerSocket)
const start = performance.now()
await applyConfig(change, { configFile, services })
console.log(performance.now() - start)
process.exit()
