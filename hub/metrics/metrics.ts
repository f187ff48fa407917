/**
 * What the hub counts for those who watch it from outside: its own work, the users' servers, and what needs a person soon.
 *
 * Names are JupyterHub's where the meaning is, so that what people have drawn of its metrics goes on; the others begin with `tljh_`. No number names a
 * user: who reads them is often not who may know of the class. What is counted is there from the beginning, as 0: Prometheus does not see the
 * first of something that was not there.
 */
import { readdirSync, readFileSync } from 'node:fs'
import type { Server } from '../../spawner/client/protocol.ts'
import type { Servers } from '../../spawner/client/servers.ts'
import { type Audit, auditKinds } from '../../systemd/audit/audit.ts'
import type { Sessions } from '../access/sessions.ts'
import type { Logins } from '../credentials/last-logins.ts'
import type { ReverseProxy } from '../proxy/proxy.ts'
import type { CertificateState } from '../tls/status.ts'
import { createHistogram, metric, type Sample } from './exposition.ts'

export interface Metrics {
  /** One of the hub's own pages was answered. `route` as it is registered: `/hub/visit/:name`. */
  answered(answer: { method: string; route: string; status: number; seconds: number }): void
  /** All of it as it is now, in Prometheus' text format. */
  text(): string
}

export interface MetricsOptions {
  version: string
  servers: Servers
  sessions: Pick<Sessions, 'lastSeen'>
  logins: Pick<Logins, 'all'>
  proxy: Pick<ReverseProxy, 'tally'>
  certificate(): CertificateState | undefined
  /** How many entries of each kind the audit log was given. */
  auditCounts: ReadonlyMap<string, number>
}

const serverStates = ['starting', 'ready', 'stopping', 'failed'] as const
/** The log's own word on what came too fast comes by no record. */
const counted = auditKinds.filter(kind => kind !== 'lost')
const dayMs = 24 * 3600_000
/** JupyterHub's. */
const periods = { '24h': dayMs, '7d': 7 * dayMs, '30d': 30 * dayMs } as const
const startBounds = [0.5, 1, 2.5, 5, 10, 15, 30, 60, 120, 180, 300, 600]
const answerBounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

export function createMetrics(options: MetricsOptions): Metrics {
  const { version, servers, sessions, logins, proxy, certificate, auditCounts } = options
  const answers = createHistogram(
    'jupyterhub_request_duration_seconds',
    'Time until one of the hub’s own pages was answered; a stream of progress takes as long as the start',
    answerBounds,
  )
  const starts = createHistogram(
    'jupyterhub_server_spawn_duration_seconds',
    'Time from the order to start a server until it was ready or had failed, with its wait for a turn',
    startBounds,
    [{ status: 'success' }, { status: 'failure' }],
  )
  servers.onChange((now, before) => {
    if (before.kind !== 'starting' || (now.kind !== 'ready' && now.kind !== 'failed')) return
    const status = now.kind === 'ready' ? 'success' : 'failure'
    starts.observe({ status }, Math.max(0, Date.now() - before.since) / 1000)
  })

  function* gauges(): Iterable<string> {
    const one = (value: number): Sample[] => [{ value }]
    const running = servers.all()
    yield metric('tljh_info', 'gauge', 'Always 1; says which version is in force', [{ labels: { version }, value: 1 }])
    yield metric('tljh_spawner_up', 'gauge', 'Whether the spawner answers; without it no server starts or stops', [
      { value: Number(servers.isConnected()) },
    ])
    yield metric('jupyterhub_running_servers', 'gauge', 'Servers that are ready', one(count(running, 'ready')))
    yield metric(
      'tljh_servers',
      'gauge',
      'Servers by their state; a failed one counts until it is started again',
      serverStates.map(state => ({ labels: { state }, value: count(running, state) })),
    )
    const waiting = running.filter(server => server.kind === 'starting' && server.ahead !== undefined).length
    yield metric('tljh_servers_waiting', 'gauge', 'Of those that start, how many wait for a turn', one(waiting))
    const seen = [...logins.all()].map(([user, { at }]) => Math.max(at, sessions.lastSeen(user)))
    yield metric('jupyterhub_total_users', 'gauge', 'Users who have ever logged in', one(seen.length))
    yield metric(
      'jupyterhub_active_users',
      'gauge',
      'Users who logged in within the period, or have asked for anything since this hub began',
      Object.entries(periods).map(([period, ms]) => ({
        labels: { period },
        value: seen.filter(at => Date.now() - at < ms).length,
      })),
    )
    const { webSockets, answers: proxied } = proxy.tally()
    yield metric('tljh_websockets', 'gauge', 'WebSockets that are open to users’ servers', one(webSockets))
    yield metric(
      'tljh_proxied_answers_total',
      'counter',
      'Answers of users’ servers by the first digit of their status, since this hub began',
      proxied.map((value, index) => ({ labels: { code: `${index + 2}xx` }, value })),
    )
    yield metric(
      'tljh_audit_entries_total',
      'counter',
      'Entries of the audit log by their kind, since this hub began',
      counted.map(kind => ({ labels: { kind }, value: auditCounts.get(kind) ?? 0 })),
    )
    yield* certificateLines(certificate())
    yield* processLines()
  }

  return {
    answered({ method, route, status, seconds }) {
      answers.observe({ method, handler: route, code: String(status) }, seconds)
    },
    text: () => [...gauges(), starts.text(), answers.text()].join(''),
  }
}

/** An audit log that keeps count. */
export function countEntries(audit: Audit): { audit: Audit; counts: ReadonlyMap<string, number> } {
  const counts = new Map<string, number>()
  const record: Audit['record'] = entry => {
    counts.set(entry.kind, (counts.get(entry.kind) ?? 0) + 1)
    audit.record(entry)
  }
  return { audit: { ...audit, record }, counts }
}

function count(servers: readonly Server[], kind: Server['kind']): number {
  return servers.filter(server => server.kind === kind).length
}

function* certificateLines(state: CertificateState | undefined): Iterable<string> {
  if (!state) return
  const labels = { source: state.source, names: state.names.join(',') }
  yield metric('tljh_certificate_expiry_timestamp_seconds', 'gauge', 'When the certificate that is served ends', [
    { labels, value: Date.parse(state.until) / 1000 },
  ])
  yield metric(
    'tljh_certificate_problem',
    'gauge',
    'Whether something is wrong with the certificate, or no newer one can be had; tljh-ts status says what',
    [{ labels, value: Number(Boolean(state.problem ?? state.warning)) }],
  )
}

/** Of the hub's own process, with the names that all exporters use. */
function* processLines(): Iterable<string> {
  const { user, system } = process.cpuUsage()
  const one = (value: number): Sample[] => [{ value }]
  yield metric('process_cpu_seconds_total', 'counter', 'Processor time of the hub', one((user + system) / 1e6))
  yield metric('process_resident_memory_bytes', 'gauge', 'Memory of the hub', one(process.memoryUsage.rss()))
  yield metric('process_start_time_seconds', 'gauge', 'When the hub began', one(performance.timeOrigin / 1000))
  yield metric('process_open_fds', 'gauge', 'File descriptors that are open', one(readdirSync('/proc/self/fd').length))
  yield metric('process_max_fds', 'gauge', 'File descriptors that may be', one(mostDescriptors()))
}

/** proc(5). */
function mostDescriptors(): number {
  const [, limit] = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? []
  return Number(limit)
}
