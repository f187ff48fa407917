/**
 * A connection to an LDAP server for one login: opened, encrypted as the configuration says, asked, and closed.
 *
 * What always holds: no password goes over a connection that is not encrypted, unless `tls_strategy` is `insecure`; the server is the
 * one whose certificate is checked; a bind has a name and a password, so it never succeeds as nobody in particular; referrals are not
 * followed, and all of it together ends within ten seconds.
 *
 * The library connects anew by itself when a connection is gone, and after StartTLS that one would not be encrypted; it also keeps
 * half a message from before StartTLS and completes it with what comes after, so that whoever is in between could put words into the server's
 * mouth. So after StartTLS another client of the library takes over the encrypted connection, and none gets a second one.
 */
import { readFileSync } from 'node:fs'
import { connect as connectSocket, isIP, type Socket } from 'node:net'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { Client, type Entry, ResultCodeError } from 'ldapts'
import type { LdapOptions } from '../../config/schema/auth-directory.ts'
import { ProblemError } from '../../problem.ts'

export interface Directory extends Disposable {
  /** Whether that is the password of that entry. Throws `AUTH_UNREACHABLE`. */
  bind(dn: string, password: string): Promise<boolean>
  /** The entries below `base` that match, at most two; none where there is no such base. Throws `AUTH_UNREACHABLE`. */
  search(base: string, filter: string, scope: 'sub' | 'base', attributes: readonly string[]): Promise<Entry[]>
}

const timeoutMs = 10_000
/** Busy, unavailable, out of time, out of bounds; and those with which a server asks for encryption, see RFC 4511, 4.1.9. */
const unable = new Set([1, 2, 3, 7, 8, 11, 13, 51, 52])
const noSuchObject = 32
/** What the library takes for something else than a name. */
const mechanisms = new Set(['EXTERNAL', 'PLAIN', 'DIGEST-MD5', 'SCRAM-SHA-1'])

/** Connects. Throws `AUTH_UNREACHABLE`, which says which server, why, and what to check. */
export async function openDirectory(options: LdapOptions): Promise<Directory> {
  const server = serverOf(options)
  const deadline = Promise.withResolvers<never>()
  const timer = setTimeout(
    () => deadline.reject(new Error(`it did not answer within ${timeoutMs / 1000} seconds`)),
    timeoutMs,
  )
  deadline.promise.catch(() => undefined)
  const sockets: Socket[] = []
  const close = () => {
    clearTimeout(timer)
    for (const socket of sockets) socket.destroy()
  }
  const inTime = async <Value>(work: Promise<Value>): Promise<Value> => {
    try {
      return await Promise.race([work, deadline.promise])
    } catch (error) {
      if (error instanceof ResultCodeError && !unable.has(error.code)) throw error
      throw unreachable(options, error)
    }
  }

  try {
    const client = new Client({
      url: 'ldap://server',
      createConnection: once(await inTime(connect(server, options, sockets))),
    })
    return {
      async bind(dn, password) {
        if (!dn || !password || mechanisms.has(dn)) return false
        try {
          await inTime(client.bind(dn, password))
          return true
        } catch (error) {
          if (error instanceof ResultCodeError) return false
          throw error
        }
      },
      async search(base, filter, scope, attributes) {
        try {
          const asked = { filter, scope, attributes: [...attributes], sizeLimit: 2, timeLimit: timeoutMs / 1000 }
          return (await inTime(client.search(base, asked))).searchEntries
        } catch (error) {
          if (error instanceof ResultCodeError && error.code === noSuchObject) return []
          throw error instanceof ProblemError ? error : unreachable(options, error)
        }
      },
      [Symbol.dispose]: close,
    }
  } catch (error) {
    close()
    throw error
  }
}

interface Server {
  host: string
  port: number
  ca: Buffer | undefined
}

function serverOf(options: LdapOptions): Server {
  const { server_address: host, server_port: port, tls_strategy: strategy, tls_kwargs: tls } = options
  const file = strategy === 'insecure' ? undefined : tls?.ca_certs_file
  try {
    const ca = file ? readFileSync(file) : undefined
    return { host: host ?? '', port: port ?? (strategy === 'on_connect' ? 636 : 389), ca }
  } catch (error) {
    throw unreachable(
      options,
      new Error(`the hub cannot read ${file}, the certificate that its own is to be checked with`, { cause: error }),
    )
  }
}

/** Resolves with a connection over which passwords may go. Whatever is opened is added to `sockets`. */
async function connect({ host, port, ca }: Server, options: LdapOptions, sockets: Socket[]): Promise<Socket> {
  const tls = {
    host,
    ...(isIP(host) ? {} : { servername: host }),
    ...(ca ? { ca } : {}),
    minVersion: 'TLSv1.2',
  } as const
  const encrypted = (socket: TLSSocket) => {
    sockets.push(socket)
    return opened(socket, 'secureConnect')
  }
  if (options.tls_strategy === 'on_connect') return encrypted(connectTls({ ...tls, port }))
  const socket = connectSocket(port, host)
  sockets.push(socket)
  await opened(socket, 'connect')
  if (options.tls_strategy === 'insecure') return socket
  const client = new Client({ url: 'ldap://server', createConnection: once(socket) })
  await client.exop('1.3.6.1.4.1.1466.20037')
  socket.removeAllListeners('data')
  return encrypted(connectTls({ ...tls, socket }))
}

function opened<Kind extends Socket>(socket: Kind, event: 'connect' | 'secureConnect'): Promise<Kind> {
  return new Promise((resolve, reject) => {
    socket.once(event, () => resolve(socket))
    // Kept for ever: an error that comes when nobody waits must not end the hub.
    socket.on('error', reject)
    socket.once('close', () => reject(new Error('it closed the connection')))
  })
}

/** Gives the library the connection that is there, once. */
function once(socket: Socket): () => Socket {
  let isGiven = false
  return () => {
    if (isGiven || socket.destroyed) throw new Error('the connection is gone')
    isGiven = true
    return socket
  }
}

function unreachable(options: LdapOptions, cause: unknown): ProblemError {
  const { server_address: host, server_port: port, tls_strategy: strategy = 'before_bind' } = options
  const server = `${host}, port ${port ?? (strategy === 'on_connect' ? 636 : 389)}`
  return new ProblemError('AUTH_UNREACHABLE', {
    what: `The LDAP server (${server}) cannot be asked who you are`,
    ...reasons(cause, strategy),
    cause,
  })
}

function reasons(cause: unknown, strategy: string): { why: string; fix: string } {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
  const message = cause instanceof Error ? cause.message : String(cause)
  if (typeof code === 'string' && /CERT|SELF_SIGNED|ISSUER|SIGNATURE/.test(code)) {
    const isOther = code === 'ERR_TLS_CERT_ALTNAME_INVALID'
    return {
      why: isOther ? 'its certificate is for another name' : `its certificate is not trusted (${code})`,
      fix: isOther
        ? 'An administrator writes the name in the certificate as auth.LDAPAuthenticator.server_address'
        : 'An administrator gives the certificate of whoever signed it, as a PEM file: auth.LDAPAuthenticator.tls_kwargs.ca_certs_file',
    }
  }
  const check = 'whether the server runs, and auth.LDAPAuthenticator.server_address and server_port'
  const tls =
    strategy === 'insecure' ? '' : `. It must offer ${strategy === 'on_connect' ? 'LDAPS' : 'StartTLS'} (tls_strategy)`
  if (cause instanceof ResultCodeError) {
    const needsTls = cause.code === 8 || cause.code === 13
    return {
      why: needsTls
        ? 'it takes passwords over encrypted connections only'
        : `it answers: ${message} (LDAP code ${cause.code})`,
      fix: `An administrator checks auth.LDAPAuthenticator.${needsTls ? 'tls_strategy' : 'user_search_base, and the server’s log'}`,
    }
  }
  const why = typeof code === 'string' && !message.includes(code) ? `${code}: ${message}` : message
  return { why, fix: `Try again later. An administrator checks ${check}${tls}` }
}
