/** What `using` holds is given back when its block is left: with `return` and no `await`, while the promise that is returned goes on. */
import assert from 'node:assert/strict'
import { relative, resolve } from 'node:path'
import { test } from 'node:test'
import ts from 'typescript'

const checkout = resolve(import.meta.dirname, '../..')

function isHolding(statement: ts.Statement): boolean {
  if (!ts.isVariableStatement(statement)) return false
  const kind = statement.declarationList.flags & ts.NodeFlags.BlockScoped
  return kind === ts.NodeFlags.Using || kind === ts.NodeFlags.AwaitUsing
}

/** Where a promise is returned out of a block that holds something. */
function tooEarly(source: ts.SourceFile, checker: ts.TypeChecker): string[] {
  const found: string[] = []
  const look = (node: ts.Node, isHeld: boolean): void => {
    const isIn = ts.isFunctionLike(node) ? false : isHeld || (ts.isBlock(node) && node.statements.some(isHolding))
    if (isIn && ts.isReturnStatement(node) && node.expression) {
      const type = checker.getTypeAtLocation(node.expression)
      const { line } = source.getLineAndCharacterOfPosition(node.getStart())
      if (type.getProperty('then')) found.push(`${relative(checkout, source.fileName)}:${line + 1} ${node.getText()}`)
    }
    ts.forEachChild(node, child => look(child, isIn))
  }
  look(source, false)
  return found
}

test('no lock is given back before what it is for is done', () => {
  const file = resolve(checkout, 'tsconfig.json')
  const { config } = ts.readConfigFile(file, path => ts.sys.readFile(path))
  const { fileNames, options } = ts.parseJsonConfigFileContent(config, ts.sys, checkout)
  const program = ts.createProgram(fileNames, options)
  const own = program.getSourceFiles().filter(({ fileName }) => !fileName.includes('/node_modules/'))
  assert.ok(own.length > 300)
  assert.deepEqual(
    own.flatMap(source => tooEarly(source, program.getTypeChecker())),
    [],
  )
})

test('and such a place is seen', () => {
  const source = ts.createSourceFile(
    'lock.ts',
    `declare function take(): AsyncDisposable
     export async function early() { await using _lock = take(); return Promise.resolve(1) }
     export async function late() { await using _lock = take(); return await Promise.resolve(1) }`,
    ts.ScriptTarget.ESNext,
    true,
  )
  const options: ts.CompilerOptions = { lib: ['lib.esnext.d.ts'], target: ts.ScriptTarget.ESNext, types: [] }
  const host = ts.createCompilerHost(options)
  const { getSourceFile } = host
  host.getSourceFile = (name, ...more) => (name === 'lock.ts' ? source : getSourceFile.call(host, name, ...more))
  const program = ts.createProgram(['lock.ts'], options, host)
  assert.deepEqual(tooEarly(source, program.getTypeChecker()), ['lock.ts:2 return Promise.resolve(1)'])
})
