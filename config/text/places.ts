/**
 * Where things are in the text of a configuration: lines, indentation, the ends of what is written of a key or value. For
 * config/text/edit.ts, which changes the text there and nowhere else.
 *
 * Places are offsets into the text. `undefined` is a layout that is not foreseen: tags, anchors, explicit keys.
 */

import {
  type Document,
  isCollection,
  isMap,
  isNode,
  isPair,
  isScalar,
  isSeq,
  type Node,
  type Pair,
  type YAMLSeq,
} from 'yaml'
import { lineStart } from './findings.ts'

/** A change of the text: what is between the two offsets becomes `insert`. */
export interface Splice {
  from: number
  to: number
  insert: string
}

/** Lines put in where a line begins, or at an end of the file that has no line end. */
export function linesAt(text: string, at: number, lines: readonly string[]): Splice {
  const isUnended = at === text.length && text !== '' && !text.endsWith('\n')
  const joined = lines.join(eol(text))
  return { from: at, to: at, insert: isUnended ? eol(text) + joined : joined + eol(text) }
}

export function eol(text: string): string {
  return text.includes('\r\n') ? '\r\n' : '\n'
}

/** Where the line after the one of `at` begins; a block scalar ends there already. */
export function afterLine(text: string, at: number): number {
  if (at > 0 && text[at - 1] === '\n') return at
  const end = text.indexOf('\n', at)
  return end === -1 ? text.length : end + 1
}

/** The space before what is at `at`; undefined where there is something else on the line before it. */
export function indentAt(text: string, at: number): string | undefined {
  const before = text.slice(lineStart(text, at), at)
  return /^ *$/.test(before) ? before : undefined
}

export function indentOf(text: string, item: unknown): string | undefined {
  const start = startOf(item)
  return start === undefined ? undefined : indentAt(text, start)
}

/** Comment lines that are further in than the key above them belong below it. */
export function commentsBelow(text: string, from: number, outer: number): { end: number; indent: string | undefined } {
  let end = from
  let indent: string | undefined
  for (let at = from; at < text.length; at = afterLine(text, at + 1)) {
    const found = /^( *)#/.exec(text.slice(at, at + 1000))
    if (!found || (found[1] ?? '').length <= outer) break
    indent ??= found[1]
    end = afterLine(text, at + 1)
  }
  return { end, indent }
}

export function startOf(item: unknown): number | undefined {
  const node = isPair(item) ? item.key : item
  return isNode(node) && !propsOf(node) ? node.range?.[0] : undefined
}

/** Where what is written of a node or pair ends, without comments behind it. */
export function endOf(item: unknown): number | undefined {
  if (isPair(item)) {
    if (!isNode(item.value)) return isNode(item.key) ? item.key.range?.[1] : undefined
    const isEmpty = isScalar(item.value) && item.value.range?.[0] === item.value.range?.[1]
    return isEmpty ? colonOf(item) : endOf(item.value)
  }
  if (!isNode(item)) return undefined
  if (isCollection(item) && !item.flow && item.items.length) return endOf(item.items.at(-1))
  return item.range?.[1]
}

export function colonOf(pair: Pair): number | undefined {
  const colon = pair.srcToken?.sep?.find(({ type }) => type === 'map-value-ind')
  return colon && colon.offset + 1
}

export function dashOf(list: YAMLSeq, index: number): number | undefined {
  const token = list.srcToken
  if (token?.type !== 'block-seq') return undefined
  return token.items[index]?.start.find(({ type }) => type === 'seq-item-ind')?.offset
}

/** Tags and anchors stand before the place where a node begins. */
export function propsOf(node: Node | null): boolean {
  return node !== null && (('anchor' in node && node.anchor !== undefined) || node.tag !== undefined)
}

/** The indentation that the file uses; two spaces where it shows none. */
export function stepOf(document: Document): string {
  const root = document.contents
  if (!isMap(root) || root.flow) return '  '
  for (const { value } of root.items) {
    const first = isMap(value) && !value.flow ? value.items[0] : undefined
    const token = first && isMap(value) ? value.srcToken : undefined
    if (token?.type === 'block-map' && token.indent > 0) return ' '.repeat(token.indent)
  }
  return '  '
}

/** How far the lists of the file are in from their keys. */
export function listStepOf(document: Document, text: string): string | undefined {
  const find = (node: unknown): string | undefined => {
    if (!isMap(node) || node.flow) return undefined
    for (const pair of node.items) {
      const outer = indentOf(text, pair)
      const dash = isSeq(pair.value) && !pair.value.flow ? dashOf(pair.value, 0) : undefined
      const inner = dash === undefined ? undefined : indentAt(text, dash)
      if (outer !== undefined && inner !== undefined) return inner.slice(outer.length)
      const deeper = find(pair.value)
      if (deeper !== undefined) return deeper
    }
    return undefined
  }
  return find(document.contents)
}
