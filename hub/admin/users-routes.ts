/**
 * The administrators' page of people: who there is, who waits, and what can be done with each of them.
 *
 * Whatever changes somebody's rights wants the administrator's password of the last ten minutes, and is written in the audit log. Who may enter is
 * changed in the configuration alone, by the spawner, in the administrator's name; so it stands in its history, and can be taken back there.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { namedIn } from '../../config/meaning/who-may-enter.ts'
import { parseUserName, type UserName } from '../../config/users/names.ts'
import { roomAt, shortageOf, showRoom } from '../../machine/disk.ts'
import type { Log } from '../../machine/paced-log.ts'
import { ProblemError, type ProblemText } from '../../problem.ts'
import type { Servers } from '../../spawner/client/servers.ts'
import type { Origins } from '../access/origins.ts'
import type { Session } from '../access/sessions.ts'
import { readRoster } from '../class-list/read.ts'
import { displayName, type Enrolment, enrol } from '../class-list/user-names.ts'
import { allUsers, isSomebody } from '../credentials/all-users.ts'
import type { Credential } from '../credentials/credential.ts'
import { usualCodeLifeMs } from '../credentials/one-time-codes.ts'
import type { SignUps } from '../credentials/pending-sign-ups.ts'
import type { FrontProxies } from '../front-proxy/trust.ts'
import type { Confirmations } from '../login/confirmations.ts'
import { adminSessionOf, checkForm, type FormNeeds, formToken, sendPage } from '../pages/answers.ts'
import type { Pages } from '../pages/pages.ts'
import type { ImportRow, UserRow } from '../pages/views.ts'
import type { Tls } from '../tls/tls.ts'
import { statusOf } from '../web/refusals.ts'
import { adminList, allowedList, withNames, withoutName } from './config-lists.ts'
import type { People } from './users.ts'
import { type ProposalNeeds, peopleFor, proposeEdit } from './users-via-spawner.ts'

const actions = [
  'add',
  'invite',
  'disable',
  'enable',
  'make-admin',
  'no-admin',
  'stop',
  'approve',
  'reject',
  'second-factor-off',
  'archive',
] as const

interface Form {
  _xsrf: string
  action: (typeof actions)[number]
  user: string
  names: string
  group: string
  sure: string
}

interface ImportForm {
  _xsrf: string
  step: 'review' | 'apply'
  text: string
  group: string
}

const short = { type: 'string', maxLength: 256, default: '' }
const groupName = { type: 'string', pattern: '^$|^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$', default: '' }
const mostListBytes = 1024 * 1024

const form = {
  type: 'object',
  required: ['action'],
  properties: {
    _xsrf: short,
    action: { enum: actions },
    user: short,
    names: { type: 'string', maxLength: 32 * 1024, default: '' },
    group: groupName,
    sure: short,
  },
}

const importForm = {
  type: 'object',
  required: ['step', 'text'],
  properties: {
    _xsrf: short,
    step: { enum: ['review', 'apply'] },
    text: { type: 'string', maxLength: mostListBytes },
    group: groupName,
  },
}

/** A home takes longer than a person waits; then it goes on without the page. */
const archivePatienceMs = 20_000

interface Needs extends FormNeeds, ProposalNeeds {
  origins: Origins
  signUps: SignUps
  confirmations: Confirmations
  servers: Servers
  /** Undefined where the hub speaks plain HTTP. */
  tls: Tls | undefined
  frontProxies: FrontProxies
  pages: Pages
  log: Log
}

export async function usersRoutes(app: FastifyInstance, hub: Needs): Promise<void> {
  const { baseUrl, config, confirmations, servers, signUps, pages, audit } = hub
  const address = `${baseUrl}hub/admin`

  interface Told {
    problem?: ProblemText
    done?: string
    typed?: Partial<Form>
  }

  function show(request: FastifyRequest, reply: FastifyReply, { problem, done, typed = {} }: Told = {}) {
    const session = adminSessionOf(hub, request)
    const view = {
      user: session.user,
      people: rows(hub, session.user),
      waiting: signUps.waiting(),
      groups: [...config.current().groups.keys()],
      isOpen: config.current().auth.isOpen,
      isFresh: confirmations.isFresh(session),
      certificate: hub.tls?.state(),
      disk: diskTrouble(hub),
      inFront: hub.frontProxies.problem(),
      typed: { names: typed.names ?? '', group: typed.group ?? '' },
      problem,
      done,
      xsrf: formToken(hub, request, reply),
    }
    return sendPage(reply, pages.people(view), statusOf(problem))
  }

  function showCredentials(request: FastifyRequest, reply: FastifyReply, user: UserName, made: readonly Credential[]) {
    return sendPage(
      reply,
      pages.credentials({ user, made, address: `${hub.origins.hubOrigin(request.raw)}${baseUrl}` }),
    )
  }

  app.get(address, (request, reply) => show(request, reply))

  app.post<{ Body: Form }>(`${address}/users`, { schema: { body: form } }, async (request, reply) => {
    const session = adminSessionOf(hub, request)
    try {
      checkForm(hub, request, request.body._xsrf)
      confirmations.demand(session)
      return await act(request, reply, session)
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error
      return show(request, reply, { problem: error, typed: request.body })
    }
  })

  async function act(request: FastifyRequest<{ Body: Form }>, reply: FastifyReply, { user: admin }: Session) {
    const { action, names, group, sure } = request.body
    const people = peopleFor(hub, admin)
    const done = (text: string) => show(request, reply, { done: text })
    if (action === 'add') {
      const users = namesIn(names)
      const how = `add ${users.length === 1 ? users[0] : `${users.length} people`} in the browser`
      const place = { isAdmin: false, group: group || undefined }
      const made = await people.add(users, place, how, { hasPassword: false, lifeMs: usualCodeLifeMs })
      return showCredentials(request, reply, admin, made)
    }
    const user = parseUserName(request.body.user)
    switch (action) {
      case 'invite':
        return showCredentials(
          request,
          reply,
          admin,
          await people.invite([user], { lifeMs: usualCodeLifeMs, ifUnset: false }),
        )
      case 'disable':
        mustBeAnother(user, admin)
        await people.disable(user)
        return done(`${user} may not enter any more, and is logged out.`)
      case 'enable':
        await people.enable(user)
        return done(`${user} may enter again.`)
      case 'make-admin':
        await proposeEdit(hub, admin, `make ${user} an administrator in the browser`, text =>
          withNames(text, adminList, [user]),
        )
        return done(`${user} is an administrator now.`)
      case 'no-admin':
        mustBeAnother(user, admin)
        // Who is no administrator any more is still who was let in.
        await proposeEdit(hub, admin, `take the rights of ${user} in the browser`, text =>
          withoutName(withNames(text, allowedList, [user]), adminList, user),
        )
        return done(`${user} is no administrator any more.`)
      case 'stop':
        await servers.stop(user)
        audit.record({ kind: 'server', message: `${admin} stopped the server of ${user}`, who: admin, whom: user })
        return done(`The server of ${user} is being stopped.`)
      case 'approve':
        await approve(user, admin)
        return done(`${user} may enter, with the password chosen at the sign-up.`)
      case 'reject':
        signUps.reject(user)
        audit.record({ kind: 'sign-up', message: `${admin} refused the sign-up of ${user}`, who: admin, whom: user })
        return done(`The sign-up of ${user} is refused.`)
      case 'second-factor-off':
        mustBeAnother(user, admin)
        await people.switchSecondFactorOff(user)
        return done(`The second factor of ${user} is off.`)
      case 'archive':
        mustBeAnother(user, admin)
        if (!sure)
          return sendPage(reply, pages.archive({ user: admin, owner: user, xsrf: formToken(hub, request, reply) }))
        return done(await archive(people, user))
    }
  }

  /** The name is let in first: should that fail, the password counts for nothing. */
  async function approve(user: UserName, admin: UserName): Promise<void> {
    if (!signUps.waiting().some(one => one.user === user)) throw notWaiting(user)
    if (isSomebody({ config: config.current(), db: hub.db }, user)) throw nameTaken(user)
    await proposeEdit(hub, admin, `approve ${user} in the browser`, text => withNames(text, allowedList, [user]))
    if (!signUps.accept(user)) throw nameTaken(user)
    audit.record({ kind: 'sign-up', message: `${admin} approved ${user}`, who: admin, whom: user })
  }

  async function archive(people: People, user: UserName): Promise<string> {
    const how = `archive ${user} in the browser`
    const leaving = people.remove([user], { how, hasArchive: true })
    const late = Promise.withResolvers<undefined>()
    const timer = setTimeout(() => late.resolve(undefined), archivePatienceMs)
    const left = await Promise.race([leaving, late.promise]).finally(() => clearTimeout(timer))
    if (!left) {
      leaving.catch(error => hub.log(`archive of ${user}: ${error}`))
      return `${user} is out. The home is big and is still being archived; the audit log says when it is done.`
    }
    const [one] = left
    if (one?.problem) throw one.problem
    return one?.departure?.archive
      ? `${user} is gone. The home is kept in ${one.departure.archive}.`
      : `${user} is gone. There was no home to keep.`
  }

  app.get(`${address}/import`, (request, reply) => {
    const { user } = adminSessionOf(hub, request)
    const groups = [...config.current().groups.keys()]
    return sendPage(
      reply,
      pages.importList({ user, text: '', group: '', groups, rows: [], xsrf: formToken(hub, request, reply) }),
    )
  })

  app.post<{ Body: ImportForm }>(
    `${address}/import`,
    // A form writes some characters with nine.
    { schema: { body: importForm }, bodyLimit: mostListBytes * 9 },
    async (request, reply) => {
      const session = adminSessionOf(hub, request)
      const { user } = session
      const { text, group, step, _xsrf } = request.body
      const groups = [...config.current().groups.keys()]
      const view = { user, text, group, groups, xsrf: formToken(hub, request, reply) }
      try {
        checkForm(hub, request, _xsrf)
        const inForce = config.current()
        const named = namedIn(inForce)
        const rows = enrol(readRoster(Buffer.from(text)).people, {
          isThere: name => named.has(name),
          isBanned: name => inForce.users.banned.has(name),
        })
        if (step === 'review') return sendPage(reply, pages.importList({ ...view, rows: rows.map(importRow) }))
        confirmations.demand(session)
        const users = rows.filter(({ kind }) => kind === 'new' || kind === 'there').map(row => row.user)
        const place = { isAdmin: false, group: group || undefined }
        const how = `import ${users.length} people in the browser`
        const made = await peopleFor(hub, user).add(users, place, how, { hasPassword: false, lifeMs: usualCodeLifeMs })
        return showCredentials(request, reply, user, made)
      } catch (error) {
        if (!(error instanceof ProblemError)) throw error
        return sendPage(reply, pages.importList({ ...view, rows: [], problem: error }), statusOf(error))
      }
    },
  )
}

function importRow({ person, user, kind, note }: Enrolment): ImportRow {
  return { line: person.line, who: displayName(person), user, kind, note }
}

function rows({ access, config, db, servers }: Needs, admin: UserName): UserRow[] {
  return allUsers({ config: config.current(), db }, servers.all()).map(known => ({
    ...known,
    // Throws while nothing has been heard of any.
    server: servers.get(known.user).kind,
    mayVisit: known.user !== admin && access.mayUse(admin, known.user),
  }))
}

/** One on each line, or with commas or spaces between. Throws `USER_NAME`, `NAMES`. */
function namesIn(text: string): UserName[] {
  const names = [
    ...new Set(
      text
        .split(/[\s,;]+/)
        .filter(Boolean)
        .map(parseUserName),
    ),
  ]
  if (names.length) return names
  throw new ProblemError('NAMES', {
    what: 'Nobody was added',
    why: 'no name was typed',
    fix: 'Type user names, one on each line',
  })
}

function mustBeAnother(user: UserName, admin: UserName): void {
  if (user !== admin) return
  throw new ProblemError('YOURSELF', {
    what: 'Nothing was changed',
    why: 'you would shut yourself out',
    fix: 'Ask another administrator, or do it on the machine: sudo tljh-ts user help',
  })
}

function notWaiting(user: UserName): ProblemError {
  return new ProblemError('SIGN_UP_GONE', {
    what: 'Nothing was changed',
    why: `no sign-up of ${user} waits any more`,
    fix: 'Reload the page; somebody else may have been faster',
  })
}

/** Or whoever signed up under the name of somebody whom the file means would get that place. */
function nameTaken(user: UserName): ProblemError {
  return new ProblemError('SIGN_UP_TAKEN', {
    what: 'Nothing was changed',
    why: `there is somebody called ${user} already, and that need not be who signed up`,
    fix: 'Refuse the sign-up, and give a one-time code to the person whom you mean',
  })
}

/** Of the disk that the database is on. */
function diskTrouble({ db }: Needs): ProblemText | undefined {
  const room = roomAt(db.location() ?? '/')
  const shortage = shortageOf(room)
  if (!shortage) return undefined
  return {
    what: 'The hub’s disk is nearly full',
    why: shortage === 'bytes' ? `${showRoom(room.free)} are free` : `it has room for ${room.freeFiles} more files`,
    fix: 'Ask everyone to delete what they don’t need. Whose files are the biggest: sudo tljh-ts status',
  }
}
