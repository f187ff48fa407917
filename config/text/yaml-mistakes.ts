/**
 * What people get wrong in YAML, in words of ours and at the line where the mistake is. The library says what its grammar expected, at the place where
 * it gave up, and quotes the file.
 */
import type { YAMLParseError } from 'yaml'
import { lineStart } from './findings.ts'

/** What is wrong with a text that is not YAML, and where: an offset in it. */
export interface YamlMistake {
  what: string
  why: string
  fix: string
  offset: number
}

/** For the first error of a document. */
export function yamlMistake(
  text: string,
  { code, pos: [offset], message }: Pick<YAMLParseError, 'code' | 'pos' | 'message'>,
): YamlMistake {
  if (code === 'TAB_AS_INDENT') return tab(text, offset)
  if (code === 'MULTIPLE_DOCS') return secondDocument(offset)
  const open = openAt(text, code === 'BAD_INDENT' || code === 'BLOCK_IN_FLOW' ? offset : text.length)
  if (open && (open.mark === '"' || open.mark === "'")) return openQuote(open)
  if (open && /flow|]|}/i.test(message)) return openBracket(open)
  if (code === 'BAD_SCALAR_START') return reserved(text, offset)
  const line = lineAt(text, offset)
  const key = /^\s*(?:-\s+)?([\w.@-]+):\s+(?:.*:\s.*|.*:)$/.exec(line)?.[1]
  if (key !== undefined) return colon(key, offset)
  if (/^\s*-[^\s-]/.test(line)) return dash(line, offset)
  if (/^\s*-\s/.test(line)) return uneven(offset)
  return {
    what: 'The file cannot be read from here on',
    why: 'a line here is not written as YAML is',
    fix: 'See whether a colon, a quote, a bracket or a space is missing or too many, in this line or the one above',
    offset,
  }
}

function tab(text: string, offset: number): YamlMistake {
  return {
    what: 'A line begins with a tab',
    why: 'YAML takes only spaces there',
    fix: 'Use two spaces for each step instead',
    offset: lineStart(text, offset),
  }
}

function secondDocument(offset: number): YamlMistake {
  return {
    what: 'A second document begins here',
    why: 'the line --- ends the first, and only one is read',
    fix: 'Remove the line ---, and what is below it',
    offset,
  }
}

function openQuote({ mark, offset }: Open): YamlMistake {
  return {
    what: `A quote opens here and is never closed`,
    why: 'everything after it is taken for a part of the text',
    fix: `Write ${mark} at the end of the text`,
    offset,
  }
}

function openBracket({ mark, offset }: Open): YamlMistake {
  const isList = mark === '['
  return {
    what: `The ${mark} here is never closed`,
    why: `what follows is taken for a part of the ${isList ? 'list' : 'section'}`,
    fix: `Write ${isList ? ']' : '}'} where the ${isList ? 'list' : 'section'} ends`,
    offset,
  }
}

function reserved(text: string, offset: number): YamlMistake {
  return {
    what: `A value begins with ${text.charAt(offset)}`,
    why: 'in YAML, that sign has a meaning of its own',
    fix: 'Put the value in quotes',
    offset,
  }
}

/** The value may be a secret. */
function colon(key: string, offset: number): YamlMistake {
  return {
    what: `The value of ${key} has a colon in it`,
    why: 'after a colon, YAML expects a value, and there are two',
    fix: `Put the value in quotes, as in ${key}: "…"`,
    offset,
  }
}

function dash(line: string, offset: number): YamlMistake {
  return {
    what: 'An entry of a list has no space after its dash',
    why: 'without the space, the dash is a part of the text',
    fix: `Write: - ${line.trim().slice(1, 60)}`,
    offset,
  }
}

function uneven(offset: number): YamlMistake {
  return {
    what: 'The entries of a list are not below each other',
    why: 'each dash must be in the same column as the one above it',
    fix: 'Indent this line as the entry above it',
    offset,
  }
}

function lineAt(text: string, offset: number): string {
  return /.*/.exec(text.slice(lineStart(text, offset)))?.[0] ?? ''
}

interface Open {
  mark: string
  offset: number
}

/** The innermost bracket or quote that is open at `end`. */
function openAt(text: string, end: number): Open | undefined {
  const open: Open[] = []
  /** The last character of the line that is no blank; the end of the line before where there is none. */
  let before = '\n'
  for (let offset = 0; offset < end; offset++) {
    const mark = text.charAt(offset)
    const inner = open.at(-1)
    if (inner?.mark === '"' || inner?.mark === "'") {
      const isDoubled = mark === "'" && inner.mark === "'" && text.charAt(offset + 1) === "'"
      if (isDoubled || (mark === '\\' && inner.mark === '"')) offset++
      else if (mark === inner.mark) open.pop()
    } else if (mark === '#' && /\s|^$/.test(text.charAt(offset - 1))) {
      const next = text.indexOf('\n', offset)
      if (next < 0) break
      offset = next
    } else if ((mark === '"' || mark === "'") && /[\s[{,:-]|^$/.test(text.charAt(offset - 1)))
      open.push({ mark, offset })
    else if (mark === '[' || mark === '{') {
      // In the middle of a text, a bracket is a letter.
      if (inner || '\n:-,[{'.includes(before)) open.push({ mark, offset })
    } else if (mark === (inner?.mark === '[' ? ']' : inner?.mark === '{' ? '}' : undefined)) open.pop()
    if (!' \t'.includes(text.charAt(offset))) before = text.charAt(offset)
  }
  return open.at(-1)
}
