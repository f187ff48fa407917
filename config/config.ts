/**
 * What `config.yaml` means, as one value: checked, with defaults, in the units that the machine counts in.
 *
 * The keys are TLJH's. A key that is not known is an error, never ignored: a teacher who misspells a limit must not
 * believe that it holds.
 */
import { Ajv, type ErrorObject } from 'ajv'
import { type Document, isMap, LineCounter, parseDocument } from 'yaml'
import { ProblemError } from '../problem.ts'
import { type UserName, userNamePattern } from './names.ts'
import { type Bytes, type Cpus, parseBytes, parseCpus } from './quantities.ts'

export interface Config {
  /** Begins and ends with a slash. */
  baseUrl: string
  users: { allowed: ReadonlySet<UserName>; banned: ReadonlySet<UserName>; admin: ReadonlySet<UserName> }
  /** Whether somebody whom the file does not name may enter and choose a password. */
  createUsers: boolean
  limits: Limits
  /** What a server opens first, below its own URL. */
  defaultUrl: '/lab' | '/tree'
}

/** What each user's server may use. `null`: as much as the machine has. */
export interface Limits {
  memory: Bytes | null
  cpu: Cpus | null
  /** Processes and threads together. */
  tasks: number
}

/** A numerical library starts a thread a core for each kernel, so a few hundred are honest use; a fork bomb is not. */
const defaultTasks = 1000

/** The file's shape, before units are read. */
interface ConfigFileShape {
  base_url?: string
  users?: Partial<Record<'allowed' | 'banned' | 'admin', UserName[] | null>> | null
  auth?: { type?: string; FirstUseAuthenticator?: { create_users?: boolean } | null } | null
  limits?: { memory?: string | number | null; cpu?: string | number | null; tasks?: number | null } | null
  user_environment?: { default_app?: 'jupyterlab' | 'classic' } | null
}

const names = { type: ['array', 'null'], items: { type: 'string', pattern: userNamePattern } }

function section(properties: Record<string, object>): object {
  return { type: ['object', 'null'], additionalProperties: false, properties }
}

const schema = section({
  base_url: { type: 'string', pattern: '^/(?:[A-Za-z0-9._~-]+/)*$' },
  users: section({ allowed: names, banned: names, admin: names }),
  auth: section({
    type: { enum: ['firstuseauthenticator.FirstUseAuthenticator', 'firstuse'] },
    FirstUseAuthenticator: section({ create_users: { type: 'boolean' } }),
  }),
  limits: section({
    memory: { type: ['string', 'number', 'null'] },
    cpu: { type: ['string', 'number', 'null'] },
    tasks: { type: ['integer', 'null'], minimum: 64 },
  }),
  user_environment: section({ default_app: { enum: ['jupyterlab', 'classic'] } }),
})

const validate = new Ajv({ allowUnionTypes: true, allErrors: true, verbose: true }).compile<ConfigFileShape | null>(
  schema,
)

/**
 * Reads the text of a configuration. An empty text is the default configuration.
 * Throws a `ProblemError` (`CONFIG_…`) that names line, key and value of the first thing that is wrong.
 */
export function parseConfig(text: string): Config {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const broken = document.errors[0]
  if (broken) {
    throw new ProblemError('CONFIG_YAML', {
      what: `The configuration is not YAML from line ${lines.linePos(broken.pos[0]).line} on`,
      why: broken.message,
      fix: 'Mend that line: most often a colon, a quote or the space at its start is missing or too many',
    })
  }
  const value = plainValue(document)
  if (!validate(value)) {
    const error = validate.errors?.[0]
    if (error) throw schemaProblem(error, document.contents, lines, value)
  }
  return meaning((value ?? {}) as ConfigFileShape)
}

/** Without aliases (`*name`): a few lines of them can stand for gigabytes, and nobody needs them here. */
function plainValue(document: Document): unknown {
  try {
    return document.toJS({ maxAliasCount: 0 }) ?? {}
  } catch (cause) {
    throw new ProblemError('CONFIG_YAML', {
      what: 'The configuration uses an alias',
      why: cause instanceof Error ? cause.message : String(cause),
      fix: 'Write the value out where the alias stands (a word after a star, as in *name)',
      cause,
    })
  }
}

export function isAdmin(config: Config, user: UserName): boolean {
  return config.users.admin.has(user) && !config.users.banned.has(user)
}

/** Whether `user` may log in and have a server: `banned` is stronger than every other list. */
export function mayEnter(config: Config, user: UserName): boolean {
  const { allowed, banned, admin } = config.users
  return !banned.has(user) && (allowed.has(user) || admin.has(user) || config.createUsers)
}

function meaning(file: ConfigFileShape): Config {
  const { memory = null, cpu = null, tasks } = file.limits ?? {}
  return {
    baseUrl: file.base_url ?? '/',
    users: {
      allowed: new Set(file.users?.allowed),
      banned: new Set(file.users?.banned),
      admin: new Set(file.users?.admin),
    },
    createUsers: file.auth?.FirstUseAuthenticator?.create_users ?? false,
    limits: {
      memory: memory === null ? null : parseBytes(memory, 'limits.memory'),
      cpu: cpu === null ? null : parseCpus(cpu, 'limits.cpu'),
      tasks: tasks ?? defaultTasks,
    },
    defaultUrl: file.user_environment?.default_app === 'classic' ? '/tree' : '/lab',
  }
}

function schemaProblem(error: ErrorObject, contents: unknown, lines: LineCounter, value: unknown): ProblemError {
  const unknownKey: unknown = error.params.additionalProperty
  const path = error.instancePath.split('/').slice(1)
  if (typeof unknownKey === 'string') path.push(unknownKey)
  const key = path.join('.') || 'the file'
  const line = lineOf(contents, path, lines)
  const at = line === undefined ? '' : ` (line ${line})`
  if (typeof unknownKey === 'string') {
    const known = Object.keys((error.parentSchema as { properties?: object } | undefined)?.properties ?? {})
    return new ProblemError('CONFIG_KEY', {
      what: `${key}${at} is set`,
      why: 'there is no such key',
      fix: known.length ? `The keys here are: ${known.join(', ')}` : 'Check its spelling and its indentation',
    })
  }
  const isName = error.params.pattern === userNamePattern
  return new ProblemError('CONFIG_VALUE', {
    what: `${key}${at} is ${JSON.stringify(valueAt(value, path))}`,
    why: isName
      ? 'that cannot be a user name: 1 to 64 of a-z, 0-9 and . _ @ -'
      : `it ${error.message ?? 'is not allowed'}`,
    fix: Array.isArray(error.params.allowedValues)
      ? `Write one of: ${error.params.allowedValues.join(', ')}`
      : 'Correct the value, or remove the line to have the default',
  })
}

function lineOf(contents: unknown, path: string[], lines: LineCounter): number | undefined {
  let node: unknown = contents
  let offset: number | undefined
  for (const step of path) {
    if (isMap(node)) {
      const pair = node.items.find(item => String(item.key) === step)
      offset = (pair?.key as { range?: [number] } | undefined)?.range?.[0] ?? offset
      node = pair?.value
    } else if (node !== null && typeof node === 'object' && 'items' in node && Array.isArray(node.items)) {
      node = node.items[Number(step)]
      offset = (node as { range?: [number] } | undefined)?.range?.[0] ?? offset
    }
  }
  return offset === undefined ? undefined : lines.linePos(offset).line
}

function valueAt(value: unknown, path: string[]): unknown {
  return path.reduce<unknown>((at, step) => (at as Record<string, unknown> | undefined)?.[step], value)
}
