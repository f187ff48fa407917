import type { DatabaseSync } from 'node:sqlite'
import type { ConfigFile } from '../config/change/in-force.ts'
import type { Log } from '../machine/paced-log.ts'
import type { SpawnerClient } from '../spawner/client/client.ts'
import type { Servers } from '../spawner/client/servers.ts'
import type { Audit } from '../systemd/audit/audit.ts'
import type { Access } from './access/access.ts'
import type { Origins } from './access/origins.ts'
import type { Passes } from './access/passes.ts'
import type { Sessions } from './access/sessions.ts'
import type { Xsrf } from './access/xsrf.ts'
import type { Authenticators } from './authenticators/authenticators.ts'
import type { ExternalIdentities } from './credentials/external-identities.ts'
import type { Logins } from './credentials/last-logins.ts'
import type { OneTimeCodes } from './credentials/one-time-codes.ts'
import type { Passwords } from './credentials/passwords.ts'
import type { SignUps } from './credentials/pending-sign-ups.ts'
import type { SecondFactors } from './credentials/second-factor.ts'
import type { FrontProxies } from './front-proxy/trust.ts'
import type { Confirmations } from './login/confirmations.ts'
import type { ExternalLoginStates } from './login/external-state.ts'
import type { LoginDesk } from './login/password-login.ts'
import type { PendingLogins } from './login/pending-logins.ts'
import type { Throttle } from './login/throttle.ts'
import type { Metrics } from './metrics/metrics.ts'
import type { Pages } from './pages/pages.ts'
import type { ReverseProxy } from './proxy/proxy.ts'
import type { Tls } from './tls/tls.ts'

/** What the routes are made of. */
export interface Hub {
  /** Begins and ends with a slash. */
  baseUrl: string
  config: ConfigFile
  /** The path of the file itself. */
  configFile: string
  /** Who writes it. */
  spawner: Pick<SpawnerClient, 'propose' | 'services' | 'archive'>
  db: DatabaseSync
  access: Access
  origins: Origins
  visits: Passes
  sessions: Sessions
  passwords: Passwords
  codes: OneTimeCodes
  secondFactors: SecondFactors
  arrivals: PendingLogins
  /** People who are away at a provider, and who is who there. */
  externalLogins: ExternalLoginStates
  identities: ExternalIdentities
  logins: Logins
  signUps: SignUps
  desk: LoginDesk
  throttle: Throttle
  confirmations: Confirmations
  authenticators: Authenticators
  audit: Audit
  xsrf: Xsrf
  servers: Servers
  proxy: ReverseProxy
  /** Undefined where the hub speaks plain HTTP. */
  tls: Tls | undefined
  frontProxies: FrontProxies
  metrics: Metrics
  pages: Pages
  log: Log
}
