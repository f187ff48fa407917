/** How a configuration is shown: without its secrets, with its defaults, and what two of them differ in. */
import { styleText } from 'node:util'
import { createTwoFilesPatch, FILE_HEADERS_ONLY } from 'diff'
import { Document, isCollection, isMap, isScalar, isSeq, type Node, Pair, parseDocument, Scalar, YAMLMap } from 'yaml'
import { type SchemaNode, schema, schemaAt } from '../schema/schema.ts'
import type { Path, Plain } from './edit.ts'
import { visible } from './findings.ts'
import { yamlOptions } from './read.ts'

/** What stands where a secret was. It is no value: who writes it back is told so. */
export const mask = '(secret)'

/** The text with every secret masked, and nothing else changed. A text that is not YAML stays as it is. */
export function maskSecrets(text: string): string {
  const places: [number, number][] = []
  const walk = (node: unknown, path: Path, isSecret: boolean): void => {
    const isHidden = isSecret || schemaAt(path)?.secret === true
    if (isMap(node)) for (const { key, value } of node.items) walk(value, [...path, nameOf(key)], isHidden)
    else if (isSeq(node)) for (const [index, item] of node.items.entries()) walk(item, [...path, `${index}`], isHidden)
    else if (isHidden && isScalar(node) && node.range && node.range[0] !== node.range[1])
      places.push([node.range[0], node.range[1]])
  }
  const document = parseDocument(text, yamlOptions)
  if (document.errors.length === 0) walk(document.contents, [], false)
  return places.reduceRight((rest, [from, to]) => {
    // As many lines as before, so that what is said of a line is still right.
    const ends = '\n'.repeat(rest.slice(from, to).split('\n').length - 1)
    return `${rest.slice(0, from)}${mask}${ends}${rest.slice(to)}`
  }, text)
}

/** The keys whose value is the mask. */
export function maskedKeys(content: Plain | undefined, path: Path = []): string[] {
  if (content === mask && schemaAt(path)?.secret) return [path.join('.')]
  if (typeof content !== 'object' || content === null || Array.isArray(content)) return []
  return Object.entries(content).flatMap(([name, value]) => maskedKeys(value, [...path, name]))
}

/** The content with the defaults of what is not set, as YAML that says which they are. */
export function effectiveText(content: Plain): string {
  const document = new Document(effectiveNode(schema, content, true) ?? new YAMLMap())
  return document.toString({ lineWidth: 0, flowCollectionPadding: false })
}

/** The same as a value. */
export function effective(content: Plain): Plain {
  return parseDocument(effectiveText(content)).toJS() as Plain
}

function effectiveNode(node: SchemaNode, value: Plain | undefined, hasDefaults: boolean): Node | undefined {
  if (node.replaced !== undefined) return undefined
  if (node.properties || node.additionalProperties) {
    const section = typeof value === 'object' && value !== null && !Array.isArray(value) ? value : {}
    const map = new YAMLMap()
    for (const name of new Set([...Object.keys(node.properties ?? {}), ...Object.keys(section)])) {
      const own = node.properties && Object.hasOwn(node.properties, name) ? node.properties[name] : undefined
      const free = typeof node.additionalProperties === 'object' ? node.additionalProperties : undefined
      const below = own ?? free
      const made = below && effectiveNode(below, section[name], hasDefaults && own !== undefined)
      if (made) map.items.push(new Pair(new Document(name).contents, made))
    }
    // A user or group that is named counts, even if nothing is said of it.
    return map.items.length || (!hasDefaults && value !== undefined) ? map : undefined
  }
  const isSet = value !== undefined
  if (!isSet && (!hasDefaults || node.pending || node.default === undefined)) return undefined
  const made = new Document(isSet ? value : node.default).contents ?? new Scalar(null)
  if (!isSet) made.comment = ' by default'
  if (isSet && node.pending) made.comment = ' has no effect in this version'
  if (isCollection(made) && made.items.length) made.flow = false
  return made
}

/** The lines that differ, in the way of `diff -u`. Empty where none do. */
export function showDiff(before: string, after: string, { from, to, hasColour }: DiffOptions): string {
  if (before === after) return ''
  const [shownBefore, shownAfter] = [maskSecrets(before), maskSecrets(after)]
  if (shownBefore === shownAfter) return 'Only secrets differ, which are not shown here.'
  const options = { context: 3, headerOptions: FILE_HEADERS_ONLY }
  return createTwoFilesPatch(from, to, shownBefore, shownAfter, undefined, undefined, options)
    .trimEnd()
    .split('\n')
    .map(line => coloured(visible(line.replace(/\r$/, '')), hasColour))
    .join('\n')
}

interface DiffOptions {
  /** What the two are called. */
  from: string
  to: string
  hasColour: boolean
}

function coloured(line: string, hasColour: boolean): string {
  const colour = { '+': 'green', '-': 'red', '@': 'cyan' }[line.charAt(0)]
  return colour && hasColour ? styleText(colour as 'green', line, { validateStream: false }) : line
}

function nameOf(key: unknown): string {
  return isScalar(key) ? (key.source ?? String(key.value)) : String(key)
}
