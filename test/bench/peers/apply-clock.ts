/**
 * Runs in the host: brings a configuration into force, as `tljh-ts config` does after 'yes', and measures until hub and
 * spawner run it and the login page answers.
 */
import { text } from 'node:stream/consumers'
import { applyConfig } from '../../../config/change/apply.ts'
import { installedLayout } from '../../../machine/layout.ts'
import { connectSpawner } from '../../../spawner/client/client.ts'

const { configFile, spawnerSocket } = installedLayout
const change = { text: await text(process.stdin), who: 'bench', how: 'bench' }
const { services } = connectSpawner(spawnerSocket)
const start = performance.now()
await applyConfig(change, { configFile, services })
console.log(performance.now() - start)
process.exit()
