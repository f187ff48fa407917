/**
 * `tljh-ts hub`: the service that faces the browsers. It runs as tljh-hub, on the listening socket that systemd holds
 * for it.
 *
 * Because systemd holds the socket, a restart refuses nobody: what comes while no hub runs waits in the socket's queue. A
 * hub that is told to stop therefore just takes no more connections, finishes what it has begun, and goes.
 */
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { openConfigFile } from '../config/change/in-force.ts'
import { isAdmin, mayKeepSession } from '../config/meaning/who-may-enter.ts'
import type { UserName } from '../config/users/names.ts'
import type { Layout } from '../machine/layout.ts'
import { giveMemoryBack } from '../machine/memory.ts'
import { createPacedLog } from '../machine/paced-log.ts'
import { ownVersion } from '../machine/version.ts'
import { connectSpawner } from '../spawner/client/client.ts'
import { followServers } from '../spawner/client/servers.ts'
import { createAudit } from '../systemd/audit/audit.ts'
import { createAuditThread } from '../systemd/audit/thread.ts'
import { createNotifier } from '../systemd/notify.ts'
import { createAccess } from './access/access.ts'
import { createOrigins } from './access/origins.ts'
import { createPasses } from './access/passes.ts'
import { createSessions } from './access/sessions.ts'
import { createXsrf } from './access/xsrf.ts'
import { createApp } from './app.ts'
import { createAuthenticators } from './authenticators/authenticators.ts'
import { createDoor, mostConnections } from './bounds/door.ts'
import { isIdle } from './bounds/pipelining.ts'
import { createTurnstile, mostWaiting } from './bounds/turnstile.ts'
import { createExternalIdentities } from './credentials/external-identities.ts'
import { createLogins } from './credentials/last-logins.ts'
import { createOneTimeCodes } from './credentials/one-time-codes.ts'
import { createPasswords } from './credentials/passwords.ts'
import { createSignUps } from './credentials/pending-sign-ups.ts'
import { createSecondFactors } from './credentials/second-factor.ts'
import { followConnections } from './drain.ts'
import { createFrontProxies } from './front-proxy/trust.ts'
import { listen, socketNames } from './listeners.ts'
import { createConfirmations } from './login/confirmations.ts'
import { createExternalLoginStates } from './login/external-state.ts'
import { createLoginDesk } from './login/password-login.ts'
import { createPendingLogins } from './login/pending-logins.ts'
import { createTemporaryAccounts } from './login/temporary-users.ts'
import { createThrottle } from './login/throttle.ts'
import { countEntries, createMetrics } from './metrics/metrics.ts'
import { loadAssets } from './pages/assets.ts'
import { createPages } from './pages/pages.ts'
import { createProxy } from './proxy/proxy.ts'
import { adoptState, openState, settleState } from './state/database.ts'
import { keepReserve } from './state/reserve.ts'
import { secret } from './state/secrets.ts'
import { createTls } from './tls/tls.ts'
import { insideOf } from './tls/tls-listener.ts'
import { briefMemo } from './web/brief-memo.ts'

const spawnerPatienceMs = 3_000
const temporarySweepMs = 60_000
/** How long the hub waits for browsers to close their WebSockets; one that sleeps never does. New ones wait in the socket's queue meanwhile. */
const leaveMs = 500

/** Runs until SIGTERM or SIGINT. */
export async function runHub(
  layout: Layout,
  environment: NodeJS.ProcessEnv,
  write: (line: string) => void,
): Promise<void> {
  const log = createPacedLog(write)
  const sockets = socketNames(environment)
  const stopped = new AbortController()
  const file = openConfigFile(layout.configFile, problem =>
    log(`the configuration file is not in force: ${problem.message}`),
  )
  // Each request asks several times.
  const settings = briefMemo(file.current)
  const config = { ...file, current: settings.get }
  const baseUrl = config.current().baseUrl
  const stateFile = join(layout.state, 'hub.sqlite')
  adoptState(stateFile)
  const db = openState(stateFile)
  keepReserve(db, stateFile, log)
  const sessions = createSessions(db)
  const secondFactors = createSecondFactors(db, () => config.current().branding.title || 'tljh-ts')
  const spawner = connectSpawner(layout.spawnerSocket)
  const proxy = createProxy(layout.userSockets)
  const servers = followServers(spawner, stopped.signal, log)
  const { http, visitPort } = config.current()
  const tls = http.tls && createTls({ config: config.current, folder: join(layout.state, 'certificates'), log })
  // Browsers go on sending their cookies to port 80, and passes for other origins (hub/access/passes.ts) are as good as their sessions.
  if (tls) sessions.endPlain()
  const frontProxies = createFrontProxies(config.current, log)
  // One after the other: of two that overtake each other, the spawner would keep the older.
  let lastTelling: Promise<unknown> = Promise.resolve()
  servers.onConfig(() => {
    settings.forget()
    const inForce = config.current()
    frontProxies.refresh()
    tls?.refresh()
    const lacksFactor = (user: UserName) =>
      inForce.adminsNeedSecondFactor && isAdmin(inForce, user) && !secondFactors.isOn(user)
    sessions.keepOnly((user, way) => mayKeepSession(inForce, user, way) && !lacksFactor(user))
    lastTelling = lastTelling.then(() => spawner.runs(inForce.version)).catch(error => log(String(error)))
  })
  const origins = createOrigins(config.current, baseUrl, visitPort, tls)
  const access = createAccess(config, sessions, origins)
  const passwords = createPasswords(db, config.current)
  const codes = createOneTimeCodes(db)
  const authenticators = createAuthenticators({ config: config.current, passwords, pamSocket: layout.pamSocket, log })
  const logins = createLogins(db)
  const throttle = createThrottle()
  const desk = createLoginDesk({ config, authenticators, passwords, codes, logins, throttle })
  const { audit, counts } = countEntries(createAudit(problem => log(String(problem)), createAuditThread()))
  const version = ownVersion()
  const metrics = createMetrics({
    ...{ version, servers, sessions, logins, proxy, auditCounts: counts },
    certificate: () => tls?.state(),
  })
  const assets = loadAssets()
  const app = await createApp(
    {
      baseUrl,
      config,
      configFile: layout.configFile,
      spawner,
      db,
      access,
      origins,
      visits: createPasses(secret(db, 'visits')),
      sessions,
      passwords,
      codes,
      secondFactors,
      arrivals: createPendingLogins(),
      externalLogins: createExternalLoginStates(db, baseUrl),
      identities: createExternalIdentities(db),
      logins,
      signUps: createSignUps(db, passwords),
      authenticators,
      desk,
      throttle,
      confirmations: createConfirmations({ desk, isExternal: authenticators.isExternal }),
      audit,
      xsrf: createXsrf(db),
      servers,
      proxy,
      tls,
      frontProxies,
      metrics,
      pages: createPages({
        baseUrl,
        version,
        branding: () => config.current().branding,
        isAdmin: access.isAdmin,
        assets,
      }),
      log,
    },
    assets,
  )
  const temporary = createTemporaryAccounts({ sessions, logins, servers, spawner, log })
  sessions.onEnd(() => void temporary.sweep())
  setInterval(() => void temporary.sweep(), temporarySweepMs).unref()
  await app.ready()
  // Nobody is told of a running server that it does not run. Without a spawner, the pages say so.
  await Promise.race([servers.known, delay(spawnerPatienceMs)])

  const drain = followConnections(app.server)
  frontProxies.follow(app.server)
  const most = mostConnections()
  const door = createDoor({
    ...{ most, mostEach: Math.floor(most / 2), isExempt: frontProxies.isTrusted },
    isIdle: socket => isIdle(insideOf(socket) ?? socket),
  })
  const turnstile = createTurnstile({ mostWaiting: mostWaiting(most), isExempt: frontProxies.isTrusted })
  const notifier = createNotifier(environment)
  const listeners = await listen(app.server, { sockets, http, visitPort, tls, admit: door.admit, turnstile, log })
  tls?.begin()
  notifier.ready()
  notifier.startWatchdog(() => true)
  giveMemoryBack()
  log(`ready, below ${baseUrl}`)

  await Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')])
  notifier.stopping()
  stopped.abort()
  listeners.close()
  tls?.close()
  await drain(listeners.lastHandshake)
  // Last, so that the next hub is there soon after.
  await proxy.takeLeave(leaveMs)
  proxy.close()
  spawner.close()
  await audit.flush()
  settleState(db)
  notifier.close()
}
