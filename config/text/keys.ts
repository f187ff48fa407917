/**
 * Keys and values as people type them on a command line, read by what the schema says of them: `007` is a name where a
 * name belongs, and a number where a number does. The syntax is TLJH's (`none`, `true`, `1.25`), and lists and sections
 * can be given as YAML writes them on one line: `[ann, bob]`, `{memory: 1G}`.
 */
import { ProblemError } from '../../problem.ts'
import { type SchemaNode, schema, schemaAt } from '../schema/schema.ts'
import type { Path, Plain } from './edit.ts'
import { readValueText, unknownKey, type Words } from './read.ts'

/**
 * The steps of a dotted key. Names may have dots of their own (`limits.users.ann.smith.memory`): the schema tells where
 * they end, and where it does not, quotes do (`limits.users."a.memory".cpu`). Throws `CONFIG_KEY` for one that is not there.
 */
export function parseKey(text: string): string[] {
  const words = [...text.matchAll(/"([^"]*)"|([^."]+)/g)].map(match => match[1] ?? match[2] ?? '')
  if (words.length === 0) throw new ProblemError('CONFIG_KEY', notAKey(text))
  const path = resolve(schema, words)
  if (path) return path
  const list = words.findIndex((_word, at) => schemaAt(words.slice(0, at))?.items)
  if (list > 0) {
    const key = words.slice(0, list).join('.')
    throw new ProblemError('CONFIG_KEY', {
      what: `${text} is no key`,
      why: `${key} is a list`,
      fix: `Use: sudo tljh-ts config add-item ${key} VALUE, or remove-item`,
    })
  }
  throw new ProblemError('CONFIG_KEY', unknownKey(words) ?? notAKey(text))
}

function notAKey(text: string): Words {
  return {
    what: `${JSON.stringify(text)} is no key`,
    why: 'a key is made of names with dots between them',
    fix: 'Write it like limits.memory',
  }
}

/** The value that `text` stands for at `path`. Whether it is allowed there is for the check of the whole to say. */
export function parseValue(text: string, path: Path): Plain {
  const node = schemaAt(path) ?? {}
  const types = [node.type ?? 'string'].flat()
  if (/^none$/i.test(text) && types.includes('null')) return null
  const wanted = types.includes('array') ? '[' : types.includes('object') ? '{' : undefined
  if (wanted && text.trimStart().startsWith(wanted)) return flow(text, path)
  // An amount is a text or a number as it is written; of all other texts, none is anything but a text.
  if (types.includes('string') && !isAmount(node)) return text
  if (/^-?\d+(?:\.\d*)?$/.test(text) && Number.isSafeInteger(Math.trunc(Number(text)))) return Number(text)
  if (types.includes('boolean') && /^(?:true|false)$/i.test(text)) return text.toLowerCase() === 'true'
  return text
}

/** The value of an item of the list at `path`. Throws `CONFIG_NOT_A_LIST` where there is no list. */
export function parseItem(text: string, path: Path): Plain {
  const item = schemaAt(path)?.items
  if (item) return parseValue(text, [...path, '0'])
  throw new ProblemError('CONFIG_NOT_A_LIST', {
    what: `${path.join('.')} was not changed`,
    why: 'it is not a list',
    fix: `Set it with: sudo tljh-ts config set ${path.join('.')} VALUE`,
  })
}

function isAmount({ format }: SchemaNode): boolean {
  return format === 'bytes' || format === 'cpus'
}

function flow(text: string, path: Path): Plain {
  const { value, problem } = readValueText(text, path)
  if (problem === undefined) return value as Plain
  throw new ProblemError('CONFIG_VALUE', {
    what: `${path.join('.')} cannot be set to ${text}`,
    why: problem,
    fix: 'Write a list like [ann, bob], a section like {memory: 1G}, in quotes for the shell',
  })
}

/** The shortest names that lead to a key of the schema. */
function resolve(node: SchemaNode, words: readonly string[]): string[] | undefined {
  if (words.length === 0) return []
  for (let count = 1; count <= words.length; count++) {
    const name = words.slice(0, count).join('.')
    const isOwn = node.properties && Object.hasOwn(node.properties, name)
    const free = typeof node.additionalProperties === 'object' ? node.additionalProperties : undefined
    const below = isOwn ? node.properties?.[name] : free
    const rest = below && resolve(below, words.slice(count))
    if (rest) return [name, ...rest]
  }
  return undefined
}
