/**
 * How the commands of `tljh-ts` read what was typed: options, verbs, help, and what is said to a call that means nothing.
 */
import { type ParseArgsOptionsConfig, parseArgs } from 'node:util'
import type { Layout } from '../machine/layout.ts'
import { ProblemError } from '../problem.ts'
import type { Streams } from './terminal.ts'

/** What a command is called with, beside its own words. It answers the exit code: 0 done, 1 not done. */
export interface CommandContext {
  layout: Layout
  streams: Streams
  environment: NodeJS.ProcessEnv
}

export interface CommandLine<Options extends ParseArgsOptionsConfig> {
  /** Begins with `Usage: tljh-ts …`, and ends with a line break. */
  usage: string
  options: Options
  /** How many arguments it takes: at least, and at most. */
  count: [number, number]
}

/** Reads the words behind a command's name. Undefined: help was asked for, and `usage` is what to print. Throws `USAGE`. */
export function readCommandLine<const Options extends ParseArgsOptionsConfig>(
  args: readonly string[],
  { usage, options, count: [least, most] }: CommandLine<Options>,
) {
  if (args[0] === 'help' || args.includes('--help')) return undefined
  const { values, positionals } = parse(args, options, `Write it like this:\n${usage}`)
  if (positionals.length < least) throw misused('something is missing', `Write it like this:\n${usage}`)
  if (positionals.length > most) {
    throw misused(`${JSON.stringify(positionals[most])} is too much`, `Write it like this:\n${usage}`)
  }
  return { values, positionals }
}

/** A verb of a command that has several: `user add`. */
export interface VerbText {
  usage: string
  /** A line for the list of all verbs. */
  line: string
  /** What else there is to know. */
  more: string
  /** How many arguments it takes: at least, and at most. */
  count: [number, number]
  /** The names of its options. */
  options: readonly string[]
}

export interface VerbLine<Verb extends VerbText, Options extends ParseArgsOptionsConfig> {
  /** As in `tljh-ts COMMAND VERB`. */
  command: string
  verbs: Readonly<Record<string, Verb>>
  /** Of all verbs together. */
  options: Options
  /** Those that each verb takes. */
  optionsOfAll?: readonly string[]
  /** What stands below the list of verbs. */
  note?: string
}

/** Reads the words behind a command that has verbs. A text: help was asked for, and this is what to print. Throws `USAGE`. */
export function readVerb<Verb extends VerbText, const Options extends ParseArgsOptionsConfig>(
  argv: readonly string[],
  { command, verbs, options, optionsOfAll = [], note = '' }: VerbLine<Verb, Options>,
) {
  const known = { ...options, help: { type: 'boolean' as const } }
  const help = argv.includes('--help')
  const typed = argv.filter(word => word !== '--help').map(protectNumber)
  const { positionals, values } = parse(typed, known, `See: tljh-ts ${command} help`)
  const [first = 'help', ...args] = positionals.map(unprotectNumber)
  const name = first === 'help' ? args[0] : first
  if (name === undefined) return helpOfAll(command, verbs, note)
  const verb = Object.hasOwn(verbs, name) ? verbs[name] : undefined
  if (!verb) throw misused(`there is no command ${JSON.stringify(name)}`, `See: tljh-ts ${command} help`)
  if (first === 'help' || help) return helpOf(command, verb)
  if (args.length < verb.count[0] || args.length > verb.count[1]) {
    throw misused('the command has too few or too many arguments', `Write: tljh-ts ${command} ${verb.usage}`)
  }
  // An option that a verb does not know must not be passed over: `set … --dry-run` would set.
  const foreign = Object.keys(values).find(option => ![...optionsOfAll, ...verb.options].includes(option))
  if (foreign) throw misused(`${name} has no option --${foreign}`, `See: tljh-ts ${command} help ${name}`)
  return { name, verb, args, values }
}

function helpOfAll(command: string, verbs: Readonly<Record<string, VerbText>>, note: string): string {
  const width = Math.max(...Object.keys(verbs).map(name => name.length))
  const lines = Object.entries(verbs).map(([name, { line }]) => `  ${name.padEnd(width)}  ${line}`)
  const below = `${note && `${note}\n\n`}More of each: tljh-ts ${command} help COMMAND`
  return `Usage: sudo tljh-ts ${command} COMMAND\n\n${lines.join('\n')}\n\n${below}\n`
}

function helpOf(command: string, { usage, line, more }: VerbText): string {
  const first = `${line.charAt(0).toUpperCase()}${line.slice(1)}.`
  return `Usage: sudo tljh-ts ${command} ${usage}\n\n${first}\n${more && `\n${more}\n`}`
}

/** `-1` is a value, not an option. */
function protectNumber(arg: string): string {
  return /^-\d/.test(arg) ? `\0${arg}` : arg
}

function unprotectNumber(arg: string): string {
  return arg.replace(/^\0/, '')
}

function parse<const Options extends ParseArgsOptionsConfig>(args: readonly string[], options: Options, fix: string) {
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true })
  } catch (error) {
    // Only of what was typed; anything else is a mistake of ours.
    if (!(error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS'))) throw error
    throw misused(error.message, fix)
  }
}

/** A command was called in a way that means nothing. */
export function misused(why: string, fix: string): ProblemError {
  return new ProblemError('USAGE', { what: 'Nothing was done', why, fix })
}
