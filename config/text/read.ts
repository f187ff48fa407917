/**
 * The text of a configuration: read as YAML, checked against the schema, each finding with its place in the file.
 *
 * Any bytes may come: what is not UTF-8, not YAML, too big, too deep, or stands for more than it shows (aliases) is a
 * finding like any other. The text itself is never changed here.
 */
import { Ajv, type ErrorObject } from 'ajv'
import { closest, distance } from 'fastest-levenshtein'
import { Document, isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml'
import { formats } from '../schema/formats.ts'
import { type ConfigFileContent, ownWords, type SchemaNode, schema, schemaAt } from '../schema/schema.ts'
import type { Finding } from './findings.ts'
import { yamlMistake } from './yaml-mistakes.ts'

export type ConfigContent = NonNullable<ConfigFileContent>

export interface ConfigText {
  text: string
  document: Document
  /** Of the schema's shape only where no finding is an error. */
  content: ConfigContent
  findings: Finding[]
  /** Makes a finding about a key, with its place. */
  finding(severity: Finding['severity'], path: readonly string[], words: Words): Finding
}

export interface Words {
  what: string
  why: string
  fix: string
}

/**
 * The biggest class list has thousands of names, not millions; and what is nothing but mistakes costs the library a few
 * microseconds a character, each time that a service looks at the file.
 */
const mostCharacters = 256 * 1024
const mostDepth = 20
/** After so many of a kind, the file is something else altogether. */
export const mostFindings = 50

/**
 * Keys that are there twice are found here (`plain`): the library compares each key with each other, which takes minutes for a
 * file of 1 MB.
 */
export const yamlOptions = { uniqueKeys: false, prettyErrors: false } as const

const validate = createValidator()

function createValidator() {
  const ajv = new Ajv({ allowUnionTypes: true, allErrors: true, verbose: true, strictTypes: false })
  for (const word of ownWords) ajv.addKeyword(word)
  // ajv's own binds a format to one type; an amount is written as a text or as a number.
  ajv.removeKeyword('format')
  const accepts = (name: string, value: string | number) => formats[name]?.accepts(value) ?? false
  ajv.addKeyword({
    keyword: 'format',
    type: ['string', 'number'],
    schemaType: 'string',
    errors: false,
    validate: accepts,
  })
  return ajv.compile(schema)
}

/** Reads and checks. Never throws, whatever the text is. */
export function readConfigText(source: string | Uint8Array): ConfigText {
  const lines = new LineCounter()
  const text = decode(source)
  const unusable = (what: string, why: string, fix: string, line = 1, column = 1): ConfigText => {
    const finding: ConfigText['finding'] = (severity, path, words) => {
      return { severity, key: path.join('.'), line, column, ...words }
    }
    const findings = [finding('error', [], { what, why, fix })]
    return { text: text ?? '', document: new Document({}), content: {}, findings, finding }
  }
  if (text === undefined) {
    return unusable('The file is not text', 'it is not UTF-8', 'Save it as UTF-8, as every editor can')
  }
  if (text.length > mostCharacters) {
    return unusable(
      'The file is too long',
      `it has more than ${mostCharacters} characters`,
      'See whether it is the right file',
    )
  }

  let document: Document
  try {
    document = parseDocument(text, { ...yamlOptions, lineCounter: lines })
  } catch (error) {
    const why = error instanceof RangeError ? 'it is nested too deeply' : String(error)
    return unusable('The file cannot be read as YAML', why, 'See whether it is the right file')
  }
  const broken = document.errors[0]
  if (broken) {
    const { what, why, fix, offset } = yamlMistake(text, broken)
    const { line, col } = lines.linePos(offset)
    return unusable(what, why, fix, line, col)
  }

  const placeOf = (path: readonly string[]) => {
    const { line, col } = lines.linePos(offsetOf(document.contents, path))
    return { line, column: col }
  }
  const finding: ConfigText['finding'] = (severity, path, words) => ({
    severity,
    key: path.join('.'),
    ...placeOf(path),
    ...words,
  })
  const trouble: Finding[] = []
  const content = plain(document.contents, schema, [], (path, words, at) => {
    if (trouble.length >= mostFindings) return
    const found = finding('error', path, words)
    const place = at === undefined ? undefined : lines.linePos(at)
    trouble.push(place ? { ...found, line: place.line, column: place.col } : found)
  })
  if (trouble.length === 0 && !validate(content))
    trouble.push(...schemaFindings(validate.errors ?? [], content, finding))
  if (trouble.length === 0) trouble.push(...annotationFindings(content, finding))
  return {
    text,
    document,
    content: (content ?? {}) as ConfigContent,
    findings: trouble.slice(0, mostFindings),
    finding,
  }
}

/**
 * Reads a value that stands alone, such as `[ann, 007]`, as it would be read at `path`. `problem` says what YAML finds wrong with it.
 */
export function readValueText(text: string, path: readonly string[]): { value: unknown; problem: string | undefined } {
  const document = parseDocument(text, yamlOptions)
  let problem = document.errors[0] && lowered(yamlMistake(text, document.errors[0]).what)
  const value = plain(document.contents, schemaAt(path), path, (_path, { why }) => {
    problem ??= why
  })
  return { value, problem }
}

/** What is wrong with a key; undefined where the schema has it. */
export function unknownKey(path: readonly string[]): Words | undefined {
  const index = path.findIndex((_step, at) => !schemaAt(path.slice(0, at + 1)))
  if (index === -1) return undefined
  const [section, wrong] = [path.slice(0, index), path.slice(0, index + 1)]
  const node = schemaAt(section) ?? {}
  const isEnd = !node.properties && !node.additionalProperties
  return {
    what: `There is no key ${wrong.join('.')}`,
    why: isEnd ? `${section.join('.')} has no keys below it` : 'nothing reads it',
    fix: isEnd ? `Use ${section.join('.')} itself` : nearestKey(wrong, node),
  }
}

function decode(source: string | Uint8Array): string | undefined {
  if (typeof source === 'string') return source
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(source)
  } catch {
    return undefined
  }
}

/**
 * The value of a node. What the schema wants as text is taken as it was written, so that the user `007` is not the
 * user 7.
 */
function plain(
  node: unknown,
  wanted: SchemaNode | undefined,
  path: readonly string[],
  refuse: (path: readonly string[], words: Words, at?: number) => void,
): unknown {
  if (path.length > mostDepth) {
    refuse(path.slice(0, mostDepth), {
      what: 'The file is nested too deeply',
      why: `no key is more than ${mostDepth} levels deep`,
      fix: 'Check the indentation',
    })
    return null
  }
  if (isAlias(node)) {
    refuse(path, {
      what: `${path.join('.') || 'The file'} is an alias (*${node.source})`,
      why: 'a few of them can stand for gigabytes, so they are not read',
      fix: 'Write the value out',
    })
    return null
  }
  if (isMap(node)) {
    const seen = new Set<string>()
    return Object.fromEntries(
      node.items.map(({ key, value }) => {
        const name = isScalar(key) ? (key.source ?? String(key.value)) : String(key)
        const here = [...path, name]
        if (seen.has(name)) refuse(here, twice(here), isScalar(key) ? key.range?.[0] : undefined)
        seen.add(name)
        return [name, plain(value, below(wanted, name), here, refuse)]
      }),
    )
  }
  if (isSeq(node)) return node.items.map((item, index) => plain(item, wanted?.items, [...path, String(index)], refuse))
  if (!isScalar(node)) return null
  const { value, source } = node
  const types = [wanted?.type].flat()
  const isPlainWord = typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint'
  if (isPlainWord && source !== undefined && types.includes('string') && !types.includes(typeOf(value))) return source
  return typeof value === 'bigint' ? Number(value) : value
}

function twice(path: readonly string[]): Words {
  return {
    what: `${path.join('.')} is there twice`,
    why: 'keys must be unique: one of the two would be lost',
    fix: 'Put what belongs together under one of the two',
  }
}

function below(wanted: SchemaNode | undefined, name: string): SchemaNode | undefined {
  if (wanted?.properties && Object.hasOwn(wanted.properties, name)) return wanted.properties[name]
  return typeof wanted?.additionalProperties === 'object' ? wanted.additionalProperties : undefined
}

function schemaFindings(errors: readonly ErrorObject[], content: unknown, make: ConfigText['finding']): Finding[] {
  const seen = new Set<string>()
  return errors.flatMap(error => {
    if (seen.size >= mostFindings) return []
    const path = error.instancePath.split('/').slice(1).map(unescapePointer)
    if (error.keyword === 'propertyNames') return []
    const extra = error.propertyName ?? error.params.additionalProperty
    if (typeof extra === 'string') path.push(extra)
    // The first of several at one place is the one that the others follow from.
    const key = path.join('.')
    if (seen.has(key)) return []
    seen.add(key)
    return [make('error', path, wordsFor(error, path, valueAt(content, path)))]
  })
}

function wordsFor(error: ErrorObject, path: readonly string[], value: unknown): Words {
  const key = path.join('.') || 'The file'
  const what = `${key} is ${shown(value, schemaAt(path))}`
  const node = (error.parentSchema ?? {}) as SchemaNode
  switch (error.keyword) {
    case 'additionalProperties':
      return { what: `${key} is set`, why: 'there is no such key', fix: nearestKey(path, node) }
    case 'type':
      return wrongType(key, path, value, node)
    case 'enum': {
      const allowed = (node.enum ?? []).map(String)
      const fix =
        allowed.length === 1 ? `Write ${allowed[0]}, or remove the line` : `Write one of: ${allowed.join(', ')}`
      return {
        what,
        why: node.description && allowed.length === 1 ? lowered(node.description) : 'it is not one of the choices',
        fix,
      }
    }
    case 'format': {
      const format = formats[String(error.schema)]
      const named = typeof error.propertyName === 'string' ? `${key} is set` : what
      return { what: named, why: format?.why ?? 'it is not valid', fix: format?.fix ?? example(path) }
    }
    case 'minLength':
      return { what, why: 'it is too short', fix: `Write at least ${String(error.params.limit)} characters` }
    case 'maxLength':
      return { what, why: 'it is too long', fix: `Write at most ${String(error.params.limit)} characters` }
    case 'minItems':
      return { what, why: 'it is an empty list', fix: 'Name at least one, or remove the line' }
    case 'minimum':
      return { what, why: 'it is too small', fix: `Write ${String(error.params.limit)} or more` }
    case 'maximum':
      return { what, why: 'it is too big', fix: `Write ${String(error.params.limit)} or less` }
    default:
      return { what, why: `it ${error.message ?? 'is not valid'}`, fix: example(path) }
  }
}

function annotationFindings(content: unknown, make: ConfigText['finding']): Finding[] {
  const findings: Finding[] = []
  const walk = (value: unknown, path: readonly string[]): void => {
    const node = schemaAt(path)
    if (value === null || value === undefined || !node) return
    const key = path.join('.')
    if (node.replaced !== undefined) {
      const fix = 'The line does no harm, and can be removed'
      findings.push(make('note', path, { what: `${key} has no effect`, why: node.replaced, fix }))
      return
    }
    if (node.pending) {
      const why = 'this version of tljh-ts reads it and does nothing with it yet'
      findings.push(make('warning', path, { what: `${key} has no effect`, why, fix: 'Do not count on it' }))
      return
    }
    if (typeof value === 'object') for (const [name, child] of Object.entries(value)) walk(child, [...path, name])
  }
  walk(content, [])
  return findings
}

/** The key that was meant, as far as one can tell. */
function nearestKey(path: readonly string[], parent: SchemaNode): string {
  const wrong = path.at(-1) ?? ''
  const section = path.slice(0, -1)
  const here = Object.keys(parent.properties ?? {})
  const near = here.length ? closest(wrong, here) : ''
  if (near && distance(wrong, near) <= Math.max(2, wrong.length / 3))
    return `Did you mean ${[...section, near].join('.')}?`
  const elsewhere = allKeys().filter(key => key.split('.').at(-1) === wrong)
  if (elsewhere.length) return `Did you mean ${elsewhere.join(' or ')}? Then mind the indentation`
  return here.length ? `The keys here are: ${here.join(', ')}` : 'Check the indentation'
}

/** Every key that has a name of its own, dotted. */
export function allKeys(node: SchemaNode = schema, path: readonly string[] = []): string[] {
  return Object.entries(node.properties ?? {}).flatMap(([name, child]) => [
    [...path, name].join('.'),
    ...allKeys(child, [...path, name]),
  ])
}

function wrongType(key: string, path: readonly string[], value: unknown, node: SchemaNode): Words {
  const wanted = `it must be ${kinds(node.type)}`
  const isList = Array.isArray(value)
  if (isList && node.properties)
    return {
      what: `${key} is the list ${shown(value, schemaAt(path))}`,
      why: wanted,
      fix: `Remove the dashes. ${example(path)}`,
    }
  if (!isList && typeof value === 'object' && value !== null && node.items)
    return {
      what: `${key} is the section ${shown(value, schemaAt(path))}`,
      why: wanted,
      fix: `Write a dash before each entry, and no colon behind it`,
    }
  const glued = typeof value === 'string' && node.properties ? /^([a-z_]+):\S/.exec(value)?.[1] : undefined
  return {
    what: `${key} is ${shown(value, schemaAt(path))}`,
    why: `it is ${kindOf(value)}, and must be ${kinds(node.type)}`,
    fix: glued === undefined ? example(path) : `Write a space after the colon of ${glued}`,
  }
}

function example(path: readonly string[]): string {
  const node = schemaAt(path)
  if (node?.examples?.length) return `Write it like ${node.examples.map(String).join(' or ')}`
  if (node?.properties) return `Write its keys below it, indented: ${Object.keys(node.properties).join(', ')}`
  if (node?.items) return 'Write a list, like [one, two]'
  return 'Correct the value, or remove the line to have the default'
}

const kindNames: Record<string, string> = {
  array: 'a list',
  boolean: 'true or false',
  integer: 'a whole number',
  null: 'empty',
  number: 'a number',
  object: 'a section with keys of its own',
  string: 'text',
}

function kinds(types: SchemaNode['type']): string {
  return [types ?? []]
    .flat()
    .map(type => kindNames[type] ?? type)
    .join(' or ')
}

function kindOf(value: unknown): string {
  return kindNames[typeOf(value)] ?? 'something else'
}

function typeOf(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'array'
  return typeof value === 'bigint' ? 'number' : typeof value
}

/** A value as it goes into a sentence: short, on one line, and no secret. */
export function shown(value: unknown, node: SchemaNode | undefined): string {
  if (node?.secret) return '(secret)'
  const text = JSON.stringify(value) ?? 'nothing'
  return text.length <= 80 ? text : `${text.slice(0, 80)}…`
}

function valueAt(value: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>((at, step) => (at as Record<string, unknown> | null | undefined)?.[step], value)
}

function offsetOf(contents: Node | null, path: readonly string[]): number {
  let node: unknown = contents
  let offset = 0
  for (const step of path) {
    if (isMap(node)) {
      const pair = node.items.find(
        ({ key }) => (isScalar(key) ? (key.source ?? String(key.value)) : String(key)) === step,
      )
      offset = (pair?.key as Node | undefined)?.range?.[0] ?? offset
      node = pair?.value
    } else if (isSeq(node)) {
      node = node.items[Number(step)]
      offset = (node as Node | undefined)?.range?.[0] ?? offset
    }
  }
  return offset
}

function lowered(sentence: string): string {
  return `${sentence.charAt(0).toLowerCase()}${sentence.slice(1)}`.replace(/\.$/, '')
}

function unescapePointer(step: string): string {
  return step.replaceAll('~1', '/').replaceAll('~0', '~')
}
