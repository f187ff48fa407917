/**
 * Changes of a configuration's text that keep everything else as it stands, byte for byte: comments, order, quotes,
 * indentation, line ends.
 *
 * `yaml` tells where each key and value is, and the text is changed there and nowhere else; writing the whole document anew
 * would reformat what nobody touched. The result is read again and compared with what was wanted. A text that is
 * laid out in a way that is not foreseen here (explicit keys, tags, anchors) is left to the Document API, which keeps comments
 * and order, and is checked in the same way. Pure: text in, text out, and nothing here knows the schema's rules.
 */
import { isDeepStrictEqual } from 'node:util'
import {
  type Document,
  isCollection,
  isMap,
  isNode,
  isScalar,
  isSeq,
  type Node,
  type Pair,
  parseDocument,
  stringify,
  type YAMLMap,
  type YAMLSeq,
} from 'yaml'
import { ProblemError } from '../../problem.ts'
import { lineStart } from './findings.ts'
import {
  afterLine,
  colonOf,
  commentsBelow,
  dashOf,
  endOf,
  eol,
  indentAt,
  indentOf,
  linesAt,
  listStepOf,
  propsOf,
  type Splice,
  startOf,
  stepOf,
} from './places.ts'
import { readConfigText, yamlOptions } from './read.ts'

export type Path = readonly string[]
export type Plain = null | boolean | number | string | Plain[] | { [key: string]: Plain }

/** Sets a key, and makes the sections above it. Throws `CONFIG_NOT_YAML`, `CONFIG_LAYOUT`. */
export function setKey(text: string, path: Path, value: Plain): string {
  const content = contentOf(text)
  if (isDeepStrictEqual(valueAt(content, path), value)) return text
  return edited(text, withValue(content, path, value), {
    splices: place => settingSplices(place, inlineLeaf(value)),
    rewrite: document => document.setIn(path, document.createNode(value)),
    path,
  })
}

/** Removes a key, and the sections that are empty then. Throws `CONFIG_NOT_SET` where it is not there. */
export function unsetKey(text: string, path: Path): string {
  const content = contentOf(text)
  if (valueAt(content, path) === undefined) throw notSet(path)
  return edited(text, without(content, path), {
    splices: removalSplices,
    rewrite: document => {
      for (let length = path.length; length > 0; length--) {
        document.deleteIn(path.slice(0, length))
        const above: unknown = document.getIn(path.slice(0, length - 1))
        if (!isMap(above) || above.items.length) break
      }
    },
    path,
  })
}

/** Adds an item to a list, and makes the list. The same text where the item is in it. Throws `CONFIG_NOT_A_LIST`. */
export function addItem(text: string, path: Path, item: Plain): string {
  const content = contentOf(text)
  const list = valueAt(content, path) ?? []
  if (!Array.isArray(list)) throw notAList(path)
  if (list.some(known => isDeepStrictEqual(known, item))) return text
  return edited(text, withValue(content, path, [...list, item]), {
    splices: place => additionSplices(place, item),
    rewrite: document => document.setIn(path, document.createNode([...list, item])),
    path,
  })
}

/** Removes an item from a list, as often as it is in it. Throws `CONFIG_NOT_A_LIST`, and `CONFIG_NOT_SET` where it is not there. */
export function removeItem(text: string, path: Path, item: Plain): string {
  const content = contentOf(text)
  const list = valueAt(content, path)
  if (list === undefined || list === null) throw notSet(path)
  if (!Array.isArray(list)) throw notAList(path)
  const index = list.findIndex(known => isDeepStrictEqual(known, item) || String(known) === String(item))
  if (index === -1) {
    throw new ProblemError('CONFIG_NOT_SET', {
      what: `${JSON.stringify(item)} cannot be removed from ${path.join('.')}`,
      why: 'it is not in that list',
      fix: list.length ? `The list has: ${list.map(String).join(', ')}` : 'The list is empty',
    })
  }
  const rest = list.toSpliced(index, 1)
  const next = edited(text, withValue(content, path, rest), {
    splices: place => itemRemovalSplices(place, index),
    rewrite: document => document.deleteIn([...path, index]),
    path,
  })
  return rest.some(known => String(known) === String(item)) ? removeItem(next, path, item) : next
}

/** The content of a text, of whatever shape. Throws `CONFIG_NOT_YAML`. */
export function contentOf(text: string): Plain {
  const { content, findings } = readConfigText(text)
  const broken = findings.find(({ key, severity }) => key === '' && severity === 'error')
  if (!broken) return content as Plain
  throw new ProblemError('CONFIG_NOT_YAML', {
    what: `The configuration on disk is not valid: ${broken.what} (line ${broken.line})`,
    why: broken.why,
    fix: 'Mend it with: sudo tljh-ts config edit',
  })
}

/** Undefined where there is nothing. */
export function valueAt(content: Plain, path: Path): Plain | undefined {
  return path.reduce<Plain | undefined>((at, step) => {
    const isSection = typeof at === 'object' && at !== null && !Array.isArray(at)
    return isSection && Object.hasOwn(at, step) ? at[step] : undefined
  }, content)
}

interface Edit {
  splices(place: Place): Splice[] | undefined
  rewrite(document: Document): void
  path: Path
}

function edited(text: string, wanted: Plain, { splices, rewrite, path }: Edit): string {
  const isRight = (result: string) => isDeepStrictEqual(readConfigText(result).content, wanted)
  const spliced = splices(locate(text, path))
  if (spliced) {
    // A file with nothing in it at all looks like one that was lost.
    const result = apply(text, spliced) || `{}${eol(text)}`
    if (isRight(result)) return result
  }
  const document = parseDocument(text, yamlOptions)
  rewrite(document)
  const result = document.toString({ lineWidth: 0, flowCollectionPadding: false })
  if (isRight(result)) return result
  throw new ProblemError('CONFIG_LAYOUT', {
    what: `${path.join('.')} was not changed`,
    why: 'the file is laid out in a way in which this cannot be done safely',
    fix: 'Change it by hand with: sudo tljh-ts config edit',
  })
}

function apply(text: string, splices: readonly Splice[]): string {
  return splices
    .toSorted((a, b) => b.from - a.from)
    .reduce((result, { from, to, insert }) => result.slice(0, from) + insert + result.slice(to), text)
}

/** As far as the file has the key: the sections on the way with their pairs, and the steps that are missing. */
interface Place {
  text: string
  document: Document
  chain: { map: YAMLMap; pair: Pair }[]
  rest: Path
  /** Of the last pair, or the whole file's. */
  value: Node | null
}

function locate(text: string, path: Path): Place {
  const document: Document = parseDocument(text, { ...yamlOptions, keepSourceTokens: true })
  const chain: Place['chain'] = []
  let value: Node | null = document.contents
  for (const step of path) {
    if (!isMap(value)) break
    const map: YAMLMap = value
    const pair = map.items.find(({ key }) => nameOf(key) === step)
    if (!pair) break
    chain.push({ map, pair })
    value = isNode(pair.value) ? pair.value : null
  }
  return { text, document, chain, rest: path.slice(chain.length), value }
}

function nameOf(key: unknown): string {
  return isScalar(key) ? (key.source ?? String(key.value)) : String(key)
}

/** What is written at the end of the path: beside the key, or below it. */
interface Leaf {
  inline(isInFlow: boolean): string
  below?: (indent: string) => string[]
}

function inlineLeaf(value: Plain): Leaf {
  return { inline: isInFlow => valueText(value, isInFlow) }
}

function settingSplices(place: Place, leaf: Leaf): Splice[] | undefined {
  const { text, document, chain, rest, value } = place
  const last = chain.at(-1)
  const isInFlow = chain.some(({ map }) => map.flow)
  const flowRest = () => nested(rest, leaf.inline(true))
  if (isMap(value) && rest.length) {
    if (value.flow && value.items.length) return afterLastFlowItem(value, flowPair(rest, leaf))
    if (value.flow && !last && value.range)
      return [{ from: value.range[0], to: value.range[1], insert: blockLines(place, rest, leaf, '').join(eol(text)) }]
    if (value.flow) return replacement(place, flowRest())
    const indent = indentOf(text, value.items[0])
    const end = endOf(value)
    if (indent === undefined || end === undefined) return undefined
    return [linesAt(text, afterLine(text, end), blockLines(place, rest, leaf, indent))]
  }
  if (!last) {
    return document.contents === null ? [linesAt(text, text.length, blockLines(place, rest, leaf, ''))] : undefined
  }
  const isEmpty = value === null || (isScalar(value) && value.range?.[0] === value.range?.[1])
  const goesBelow = rest.length > 0 || leaf.below
  if (!isEmpty || isInFlow || !goesBelow) return replacement(place, rest.length ? flowRest() : leaf.inline(isInFlow))
  // `limits:` and nothing below it but, perhaps, comments.
  const colon = colonOf(last.pair)
  const indent = indentOf(text, last.pair)
  if (colon === undefined || indent === undefined || propsOf(value)) return undefined
  const comments = commentsBelow(text, afterLine(text, colon), indent.length)
  const inner = rest.length
    ? (comments.indent ?? indent + stepOf(document))
    : indent + (listStepOf(document, text) ?? stepOf(document))
  const lines = rest.length ? blockLines(place, rest, leaf, inner) : (leaf.below?.(inner) ?? [])
  return [linesAt(text, comments.end, lines)]
}

function additionSplices(place: Place, item: Plain): Splice[] | undefined {
  const { text, rest, value } = place
  const leaf: Leaf = {
    inline: () => `[${valueText(item, true)}]`,
    below: indent => [`${indent}- ${valueText(item, false)}`],
  }
  if (rest.length || !isSeq(value)) return settingSplices(place, leaf)
  if (!value.range || propsOf(value)) return undefined
  if (value.flow && !value.items.length) {
    return [{ from: value.range[0] + 1, to: value.range[0] + 1, insert: valueText(item, true) }]
  }
  if (value.flow) return afterLastFlowItem(value, valueText(item, true))
  const dash = dashOf(value, 0)
  const indent = dash === undefined ? undefined : indentAt(text, dash)
  const end = endOf(value)
  if (indent === undefined || end === undefined) return undefined
  return [linesAt(text, afterLine(text, end), [`${indent}- ${valueText(item, false)}`])]
}

function itemRemovalSplices(place: Place, index: number): Splice[] | undefined {
  const { text, chain, value } = place
  const pair = chain.at(-1)?.pair
  if (!isSeq(value) || !pair) return undefined
  if (value.flow) return flowItemRemoval(value, index)
  const dash = dashOf(value, index)
  const end = endOf(value.items[index])
  const colon = colonOf(pair)
  if (dash === undefined || end === undefined || colon === undefined) return undefined
  if (indentAt(text, dash) === undefined) return undefined
  const removed = { from: lineStart(text, dash), to: afterLine(text, end), insert: '' }
  return value.items.length > 1 ? [removed] : [{ from: colon, to: colon, insert: ' []' }, removed]
}

function removalSplices({ text, chain }: Place): Splice[] | undefined {
  let top = chain.length - 1
  while (top > 0 && chain[top]?.map.items.length === 1) top--
  const out: Splice[] = []
  for (const { map, pair } of chain.slice(top)) {
    if (map.flow) return [...out, ...(flowItemRemoval(map, map.items.indexOf(pair)) ?? [])]
    const key = startOf(pair)
    const colon = colonOf(pair)
    if (key === undefined || indentAt(text, key) === undefined) return undefined
    const isLast = pair === chain.at(-1)?.pair || (isMap(pair.value) && pair.value.flow)
    // Comments between an emptied section and its last key stay.
    const end = isLast ? endOf(pair) : colon
    if (end === undefined) return undefined
    out.push({ from: lineStart(text, key), to: afterLine(text, end), insert: '' })
    if (isLast) break
  }
  return out
}

/** Writes another value in the place of the last pair's. */
function replacement({ text, chain, value }: Place, insert: string): Splice[] | undefined {
  const pair = chain.at(-1)?.pair
  if (!pair || propsOf(value)) return undefined
  const key = isNode(pair.key) ? pair.key.range?.[1] : undefined
  if (!value && key !== undefined) return [{ from: key, to: key, insert: `: ${insert}` }]
  const colon = colonOf(pair)
  if (!value?.range || colon === undefined) return undefined
  const [from, to] = value.range
  if (from === to) return [{ from: colon, to: colon, insert: ` ${insert}` }]
  if (isCollection(value) && !value.flow) {
    const end = endOf(value)
    if (end === undefined || indentAt(text, from) === undefined) return undefined
    return [
      { from: colon, to: colon, insert: ` ${insert}` },
      { from: lineStart(text, from), to: afterLine(text, end), insert: '' },
    ]
  }
  return [{ from, to, insert: text[to - 1] === '\n' ? insert + eol(text) : insert }]
}

function afterLastFlowItem(collection: YAMLMap | YAMLSeq, insert: string): Splice[] | undefined {
  const end = endOf(collection.items.at(-1))
  return end === undefined ? undefined : [{ from: end, to: end, insert: `, ${insert}` }]
}

/** Takes the comma before the item with it, or the one behind where it is the first. */
function flowItemRemoval(collection: YAMLMap | YAMLSeq, index: number): Splice[] | undefined {
  const item = collection.items[index]
  const token = collection.srcToken
  const [from, to] = [startOf(item), endOf(item)]
  if (token?.type !== 'flow-collection' || from === undefined || to === undefined) return undefined
  const separators = token.items[index === 0 ? 1 : index]?.start ?? []
  const comma = separators.findIndex(({ type }) => type === 'comma')
  const found = separators[comma]
  if (!found) return collection.items.length === 1 ? [{ from, to, insert: '' }] : undefined
  const space = separators[comma + 1]?.type === 'space' && separators.length === 2 ? 1 : 0
  return [
    { from, to, insert: '' },
    { from: found.offset, to: found.offset + 1 + space, insert: '' },
  ]
}

function blockLines({ document, text }: Place, path: Path, leaf: Leaf, indent: string): string[] {
  const [step = '', ...rest] = path
  const key = `${indent}${valueText(step, false)}:`
  if (rest.length) {
    const place = { document, text } as Place
    return [key, ...blockLines(place, rest, leaf, indent + stepOf(document))]
  }
  if (leaf.below) return [key, ...leaf.below(indent + (listStepOf(document, text) ?? stepOf(document)))]
  return [`${key} ${leaf.inline(false)}`]
}

function flowPair([step = '', ...rest]: Path, leaf: Leaf): string {
  return `${valueText(step, true)}: ${nested(rest, leaf.inline(true))}`
}

function nested(path: Path, value: string): string {
  return path.reduceRight((inner, step) => `{${valueText(step, true)}: ${inner}}`, value)
}

/** On one line, so that it fits wherever a value can be. */
function valueText(value: Plain, isInFlow: boolean): string {
  if (typeof value === 'string' && /[\n\r\u0085\u2028\u2029]/.test(value)) return JSON.stringify(value)
  const options = { lineWidth: 0, flowCollectionPadding: false, collectionStyle: 'flow' } as const
  if (isInFlow) return stringify([value], options).trim().slice(1, -1)
  return stringify(value, options).trim()
}

function withValue(content: Plain | undefined, path: Path, value: Plain): Plain {
  const [step, ...rest] = path
  if (step === undefined) return value
  const section = typeof content === 'object' && content !== null && !Array.isArray(content) ? content : {}
  const below = Object.hasOwn(section, step) ? section[step] : undefined
  return { ...section, [step]: withValue(below, rest, value) }
}

function without(content: Plain, path: Path): Plain {
  const [step = '', ...rest] = path
  const section = content as { [key: string]: Plain }
  const { [step]: below = null, ...others } = section
  const left = rest.length ? without(below, rest) : {}
  return Object.keys(left as object).length ? { ...section, [step]: left } : others
}

function notSet(path: Path): ProblemError {
  return new ProblemError('CONFIG_NOT_SET', {
    what: `${path.join('.')} cannot be removed`,
    why: 'it is not set in the file',
    fix: 'See what is set with: sudo tljh-ts config show',
  })
}

function notAList(path: Path): ProblemError {
  return new ProblemError('CONFIG_NOT_A_LIST', {
    what: `${path.join('.')} was not changed`,
    why: 'its value is not a list',
    fix: `Give it another value with: sudo tljh-ts config set ${path.join('.')} VALUE`,
  })
}
