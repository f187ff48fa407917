/**
 * The configuration in the browser, for administrators: edit, see what it does, apply, look back.
 *
 * All pages want the password again (hub/login/confirmations.ts), because the file is the machine: who becomes an administrator is
 * written there. What was typed is never lost: each answer to a form has the text in it, also where it asks for the password,
 * or says that somebody else was faster. The spawner writes the file; the hub cannot.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { version, versions } from '../../config/change/history.ts'
import { versionBefore } from '../../config/change/proposal.ts'
import { versionOf } from '../../config/meaning/config.ts'
import type { Log } from '../../machine/paced-log.ts'
import { ProblemError, type ProblemText } from '../../problem.ts'
import type { SpawnerClient } from '../../spawner/client/client.ts'
import type { Confirmations } from '../login/confirmations.ts'
import { adminSessionOf, checkForm, type FormNeeds, formToken, nextQuery, sendPage } from '../pages/answers.ts'
import type { Pages } from '../pages/pages.ts'
import { statusOf } from '../web/refusals.ts'
import { ownPath } from '../web/request.ts'
import {
  type Draft,
  difference,
  type Examination,
  type ExaminationNeeds,
  examine,
  readOnDisk,
  textFromForm,
} from './config-draft.ts'

/** `open` has no draft: it goes to the page that the password was asked for. */
const steps = ['open', 'edit', 'review', 'apply'] as const

interface Form {
  _xsrf: string
  step: (typeof steps)[number]
  text: string
  version: string
  /** The value of a box that was ticked. */
  at_once: string
  password: string
  next: string
}

/** A configuration has at most a megabyte of characters, and a form writes some of them with nine. */
const mostFormBytes = 10 * 1024 * 1024
const text = { type: 'string', maxLength: 2 * 1024 * 1024, default: '' }
const short = { type: 'string', maxLength: 256, default: '' }

const form = {
  type: 'object',
  required: ['step'],
  properties: {
    _xsrf: short,
    step: { enum: steps },
    text,
    version: short,
    at_once: short,
    password: { type: 'string', maxLength: 4096, default: '' },
    next: nextQuery.properties.next,
  },
}

const checkBody = { type: 'object', properties: { _xsrf: short, text, version: short } }
const numberParameter = { type: 'object', properties: { number: { type: 'integer', minimum: 1 } } }
const fromQuery = { type: 'object', properties: { from: { type: 'integer', minimum: 0, default: 0 } } }

/** So long a move of the hub may be refused for; afterwards the page is sent, or it would never arrive. */
const moveMs = 1_000

interface Needs extends FormNeeds, ExaminationNeeds {
  confirmations: Confirmations
  /** Who writes it. */
  spawner: Pick<SpawnerClient, 'propose' | 'services'>
  pages: Pages
  log: Log
}

export async function configRoutes(app: FastifyInstance, hub: Needs): Promise<void> {
  const { baseUrl, confirmations, config, configFile, spawner, pages, log } = hub
  const address = `${baseUrl}hub/admin/config`

  interface Asked {
    step: Form['step']
    draft?: Draft | undefined
    next?: string
    problem?: ProblemText
  }

  function askPassword(request: FastifyRequest, reply: FastifyReply, asked: Asked) {
    const session = adminSessionOf(hub, request)
    const { user, way } = session
    const { step, draft, next = '', problem } = asked
    const xsrf = formToken(hub, request, reply)
    return sendPage(
      reply,
      pages.configPassword({
        user,
        way,
        hasPassword: confirmations.hasPassword(session),
        step,
        draft,
        next,
        problem,
        xsrf,
      }),
      statusOf(problem),
    )
  }

  interface Shown {
    draft: Draft
    problem?: ProblemText | undefined
    examination?: Examination
    from?: number
  }

  /** Where the file has changed, the draft counts as made from what it is now: that is shown beside it. */
  function editor(request: FastifyRequest, reply: FastifyReply, { draft, problem, examination, from }: Shown) {
    const { user } = adminSessionOf(hub, request)
    const { onDisk, isStale = false, findings = [], diff = '' } = examination ?? {}
    const theirs = isStale && onDisk ? { text: onDisk.text, diff } : undefined
    const shown = { ...draft, baseVersion: onDisk?.version ?? draft.baseVersion }
    const xsrf = formToken(hub, request, reply)
    const status = statusOf(problem)
    return sendPage(reply, pages.config({ user, draft: shown, problem, findings, theirs, from, xsrf }), status)
  }

  app.get<{ Querystring: { from: number } }>(
    address,
    { schema: { querystring: fromQuery } },
    async (request, reply) => {
      const session = adminSessionOf(hub, request)
      if (!confirmations.isFresh(session)) return askPassword(request, reply, { step: 'open', next: request.url })
      const onDisk = readOnDisk(hub)
      const { from } = request.query
      const text = from > 0 ? version(configFile, from).text : onDisk.text
      const draft = { text, baseVersion: onDisk.version, isAtOnce: false }
      // Why it is not in force is no failure of this page.
      const inForce = config.problem()
      const problem = inForce && {
        what: `The file is not in force: ${inForce.what}`,
        why: inForce.why,
        fix: inForce.fix,
      }
      return editor(request, reply, { draft, problem, from })
    },
  )

  app.post<{ Body: Form }>(address, { schema: { body: form }, bodyLimit: mostFormBytes }, async (request, reply) => {
    const session = adminSessionOf(hub, request)
    const { step, password, version: baseVersion, at_once: atOnce } = request.body
    const next = ownPath(request.body.next, baseUrl)
    const text = textFromForm(request.body.text, readOnDisk(hub).text)
    const draft = step === 'open' ? undefined : { text, baseVersion, isAtOnce: atOnce !== '' }
    try {
      checkForm(hub, request, request.body._xsrf)
      if (password) await confirmations.confirm(session, password, request)
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error
      return askPassword(request, reply, { step, draft, next, problem: error })
    }
    if (!confirmations.isFresh(session)) return askPassword(request, reply, { step, draft, next })
    if (!draft) return reply.redirect(next || address, 303)
    return goOn(request, reply, draft, step)
  })

  async function goOn(request: FastifyRequest, reply: FastifyReply, draft: Draft, step: Form['step']) {
    const { user } = adminSessionOf(hub, request)
    const examination = await examine(draft, hub)
    const { findings, diff, plan, hasLater, moves } = examination
    if (step === 'edit') return editor(request, reply, { draft, examination })
    const problem = refusal(examination)
    if (problem) return editor(request, reply, { draft, examination, problem })
    if (step === 'review') {
      const asksAtOnce = hasLater || draft.isAtOnce
      const xsrf = formToken(hub, request, reply)
      return sendPage(reply, pages.configReview({ user, draft, findings, diff, plan, asksAtOnce, xsrf }))
    }
    const applied = spawner.propose({ admin: user, ...draft })
    try {
      const made = await (moves ? Promise.race([applied, delay(moveMs)]) : applied)
      if (made) return reply.redirect(`${address}/history/${made.number}`, 303)
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error
      log(`${user} could not apply a configuration: ${error.message}`)
      return editor(request, reply, { draft, examination: await examine(draft, hub), problem: error })
    }
    applied.catch(error => log(`${user} could not apply a configuration: ${error}`))
    return sendPage(reply, pages.configMoving({ user, port: moves?.port ?? 0, newBase: moves?.baseUrl ?? '' }))
  }

  /** For the page's script, while somebody types. */
  app.post<{ Body: Pick<Form, '_xsrf' | 'text' | 'version'> }>(
    `${address}/check`,
    { schema: { body: checkBody }, bodyLimit: mostFormBytes },
    async (request, reply) => {
      const session = adminSessionOf(hub, request)
      checkForm(hub, request, request.body._xsrf)
      confirmations.demand(session)
      const text = textFromForm(request.body.text, readOnDisk(hub).text)
      const draft = { text, baseVersion: request.body.version, isAtOnce: false }
      const { findings, diff, plan, isStale } = await examine(draft, hub)
      return reply.header('cache-control', 'no-store').send({ findings, diff, plan, isStale })
    },
  )

  app.get(`${address}/history`, async (request, reply) => {
    const session = adminSessionOf(hub, request)
    if (!confirmations.isFresh(session)) return askPassword(request, reply, { step: 'open', next: request.url })
    const known = versions(configFile).toReversed()
    return sendPage(reply, pages.configHistory({ user: session.user, versions: known, inForce: numberInForce() }))
  })

  app.get<{ Params: { number: number } }>(
    `${address}/history/:number`,
    { schema: { params: numberParameter } },
    async (request, reply) => {
      const session = adminSessionOf(hub, request)
      if (!confirmations.isFresh(session)) return askPassword(request, reply, { step: 'open', next: request.url })
      const shown = version(configFile, request.params.number)
      const before = versionBefore(versions(configFile), shown)
      const diff = difference(before?.text ?? '', shown.text)
      const isInForce = shown.number === numberInForce()
      return sendPage(reply, pages.configVersion({ user: session.user, shown, isInForce, before, diff }))
    },
  )

  function numberInForce(): number | undefined {
    const { version } = config.current()
    return versions(configFile).findLast(({ text }) => versionOf(text) === version)?.number
  }
}

/** Why a draft is not applied, as far as the hub can tell. */
function refusal({ isStale, isValid, findings, diff }: Examination): ProblemError | undefined {
  if (isStale) {
    return new ProblemError('CONFIG_CHANGED', {
      what: 'Nothing was changed yet',
      why: 'somebody else has changed the configuration since you began',
      fix: 'Compare your text with the file as it is now (both are below), take over what belongs in, and go on',
    })
  }
  if (!isValid) {
    const count = findings.filter(({ severity }) => severity === 'error').length
    return new ProblemError('CONFIG_INVALID', {
      what: 'Nothing was changed',
      why: count === 1 ? 'there is a mistake in the text' : `there are ${count} mistakes in the text`,
      fix: 'Mend what is listed below, and go on',
    })
  }
  if (diff !== '') return undefined
  return new ProblemError('CONFIG_SAME', {
    what: 'There is nothing to apply',
    why: 'the text is the file as it is',
    fix: 'Change something first',
  })
}
