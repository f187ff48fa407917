/**
 * `tljh-ts config`: reads the command line, and calls the verb. `tljh-config`, the name that TLJH's users know, is the same.
 */
import { userInfo } from 'node:os'
import type { parseArgs } from 'node:util'
import { misused, readVerb, type VerbText } from '../../cli/arguments.ts'
import { openTerminal, type Streams } from '../../cli/terminal.ts'
import { ProblemError } from '../../problem.ts'
import type { Desk } from '../change/proposal.ts'
import type { Services } from '../change/services.ts'
import { edit } from './edit.ts'
import { completionScript } from './shell-completion.ts'
import {
  addItemTo,
  apply,
  diff,
  get,
  log,
  reload,
  removeItemFrom,
  rollback,
  set,
  show,
  showSchema,
  unset,
  validate,
} from './verbs.ts'

export interface Surroundings {
  /** Where the configuration is, if the command line does not say. */
  configFile: string
  /** Undefined where the hub is not installed. */
  services: Services | undefined
  streams: Streams
  environment: NodeJS.ProcessEnv
}

const options = {
  effective: { type: 'boolean' },
  markdown: { type: 'boolean' },
  secrets: { type: 'boolean' },
  version: { type: 'string' },
  json: { type: 'boolean' },
  'dry-run': { type: 'boolean' },
  yes: { type: 'boolean' },
  'at-once': { type: 'boolean' },
  'config-path': { type: 'string' },
  validate: { type: 'boolean' },
  'no-validate': { type: 'boolean' },
} as const

type Values = ReturnType<typeof parseArgs<{ options: typeof options; allowPositionals: true }>>['values']

interface Verb extends VerbText {
  /** Beside those of all verbs. */
  options: readonly (keyof typeof options)[]
  /** Whether it may be called by somebody who is not root. */
  isForAll?: boolean
  run(desk: Desk, args: string[], values: Values, surroundings: Surroundings): number | Promise<number>
}

const keyHelp = `KEY is dotted, like limits.memory or limits.users.ann.cpu. VALUE is read by what the key is: a name stays a
name (007), an amount is written like 1.5G or 50%, none empties a key, and a list is written [ann, bob].
The change counts at once, and is kept in the history.

  --at-once   limits count now, also for servers that use more than they will be allowed (their kernels are killed)
  --json      prints what was done as JSON

A VALUE that begins with a dash is written after two: set KEY -- -x`

const verbs: Readonly<Record<string, Verb>> = {
  edit: {
    usage: 'edit',
    line: 'opens the file in your editor, checks it, shows what it will do, and applies it',
    more: `The editor is the first of $SUDO_EDITOR, $VISUAL, $EDITOR, sensible-editor, editor, nano, vi. Nothing changes until
you say so, and a file that is not valid is never put in force.

  --at-once   limits count now, also for servers that use more than they will be allowed`,
    count: [0, 0],
    options: ['at-once'],
    run: (desk, _args, _values, { environment }) => edit(desk, environment),
  },
  show: {
    usage: 'show [--effective] [--secrets] [--version N] [--json]',
    line: 'prints the file',
    more: `  --effective   with the defaults of what is not set
  --secrets     with secrets, which are masked otherwise
  --version N   version N of the history`,
    count: [0, 0],
    options: ['effective', 'secrets', 'version', 'json'],
    run: (desk, _args, { effective = false, secrets = false, version }) =>
      show(desk, { isEffective: effective, hasSecrets: secrets, number: numberOf(version) }),
  },
  get: {
    usage: 'get KEY [--secrets] [--json]',
    line: 'prints the value of one key, or its default',
    more: 'Ends with code 1 where the key has neither.',
    count: [1, 1],
    options: ['secrets', 'json'],
    run: (desk, [key = ''], { secrets = false }) => get(desk, key, { hasSecrets: secrets }),
  },
  set: {
    usage: 'set KEY VALUE',
    line: 'sets a key',
    more: keyHelp,
    count: [2, 2],
    options: ['at-once', 'json'],
    run: (desk, [key = '', value = '']) => set(desk, key, value),
  },
  unset: {
    usage: 'unset KEY',
    line: 'removes a key, and sections that are empty then',
    more: keyHelp,
    count: [1, 1],
    options: ['at-once', 'json'],
    run: (desk, [key = '']) => unset(desk, key),
  },
  'add-item': {
    usage: 'add-item KEY VALUE',
    line: 'adds an item to a list',
    more: keyHelp,
    count: [2, 2],
    options: ['at-once', 'json'],
    run: (desk, [key = '', value = '']) => addItemTo(desk, key, value),
  },
  'remove-item': {
    usage: 'remove-item KEY VALUE',
    line: 'removes an item from a list',
    more: keyHelp,
    count: [2, 2],
    options: ['at-once', 'json'],
    run: (desk, [key = '', value = '']) => removeItemFrom(desk, key, value),
  },
  validate: {
    usage: 'validate [FILE] [--json]',
    line: 'says what is wrong with the file on disk, or with FILE (- is standard input)',
    more: 'Ends with code 1 where something is. Warnings and notes are no errors.',
    count: [0, 1],
    options: ['json'],
    isForAll: true,
    run: (desk, [file]) => validate(desk, file),
  },
  apply: {
    usage: 'apply FILE|- [--dry-run] [--yes] [--at-once] [--json]',
    line: 'puts FILE, or standard input, in the place of the whole configuration',
    more: `  --dry-run   changes nothing; says what would change. Ends with code 2 where something would, 0 where nothing would,
              1 where FILE is not valid
  --yes       does not ask (it asks only in a terminal)
  --at-once   limits count now, also for servers that use more than they will be allowed`,
    count: [1, 1],
    options: ['dry-run', 'yes', 'at-once', 'json'],
    run: (desk, [file = ''], { 'dry-run': isDryRun = false, yes = false }) =>
      apply(desk, file, { isDryRun, isSure: yes }),
  },
  diff: {
    usage: 'diff [N] [--json]',
    line: 'shows how the file on disk differs from the newest version of the history, or from version N',
    more: '',
    count: [0, 1],
    options: ['json'],
    run: (desk, [number]) => diff(desk, numberOf(number)),
  },
  log: {
    usage: 'log [--json]',
    line: 'lists the history: version, when, who, what',
    more: '',
    count: [0, 0],
    options: ['json'],
    run: desk => log(desk),
  },
  rollback: {
    usage: 'rollback [N] [--yes] [--at-once] [--json]',
    line: 'goes back to version N, or to the one before; that makes a new version, so it can be undone as well',
    more: '  --yes   does not ask (it asks only in a terminal)',
    count: [0, 1],
    options: ['yes', 'at-once', 'json'],
    run: (desk, [number], { yes = false }) => rollback(desk, numberOf(number), { isSure: yes }),
  },
  reload: {
    usage: 'reload [--at-once] [--json]',
    line: 'brings a file that was changed by hand into force and into the history, if it is valid',
    more: 'TLJH’s reload hub and reload proxy are the same here.',
    count: [0, 1],
    options: ['at-once', 'json'],
    run: desk => reload(desk),
  },
  completion: {
    usage: 'completion',
    line: 'prints a script that completes verbs and keys in bash',
    more: 'The installation puts it into /etc/bash_completion.d.',
    count: [0, 0],
    options: [],
    isForAll: true,
    run: ({ terminal }) => {
      terminal.print(completionScript(Object.keys(verbs)))
      return 0
    },
  },
  schema: {
    usage: 'schema [--markdown]',
    line: 'prints the JSON Schema of the file',
    more: '  --markdown   every key in words, as in the docs',
    count: [0, 0],
    options: ['markdown'],
    isForAll: true,
    run: (desk, _args, { markdown = false }) => showSchema(desk, markdown),
  },
}

/** Runs one command, and answers its exit code. Throws what is for the person as a `ProblemError`. */
export async function runConfig(argv: readonly string[], surroundings: Surroundings): Promise<number> {
  const { streams, environment } = surroundings
  const terminal = openTerminal(streams, environment)
  const asked = readVerb(argv, {
    ...{ command: 'config', verbs, options, optionsOfAll: ['config-path', 'validate', 'no-validate'] },
    note: '  --config-path FILE   another file than /opt/tljh/config/config.yaml',
  })
  if (typeof asked === 'string') {
    terminal.print(asked)
    return 0
  }
  const { name, verb, args, values } = asked
  if (values['no-validate']) throw misused('an invalid configuration is never put in force', 'Leave --no-validate away')
  if (!verb.isForAll || (name === 'validate' && args.length === 0)) mustBeRoot(argv)
  const desk: Desk = {
    configFile: values['config-path'] ?? surroundings.configFile,
    // A file elsewhere is not the hub's.
    services: values['config-path'] === undefined ? surroundings.services : undefined,
    who: environment.SUDO_USER || userInfo().username,
    terminal,
    isJson: values.json ?? false,
    isAtOnce: values['at-once'] ?? false,
  }
  return verb.run(desk, args, values, surroundings)
}

function numberOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text)
  throw misused(`${JSON.stringify(text)} is not the number of a version`, 'See: sudo tljh-ts config log')
}

function mustBeRoot(argv: readonly string[]): void {
  if (process.getuid?.() === 0) return
  throw new ProblemError('CONFIG_ROOT', {
    what: 'Nothing was done',
    why: 'the configuration is for root alone: it may hold secrets',
    fix: `Write: sudo tljh-ts config ${argv.join(' ')}`,
  })
}
