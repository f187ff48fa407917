import assert from 'node:assert/strict'
import { after, before, beforeEach, test } from 'node:test'
import { bootHost, type Host } from '../../harness/host/host.ts'
import { CTRL_C, CTRL_D, openTerminal, type Terminal } from '../../harness/host/terminal.ts'
import { TLJH_TS } from '../../harness/product/product.ts'

const configFile = '/opt/tljh/config/config.yaml'
const folder = '/opt/tljh/config'
const original = `# the class of autumn
users:
  admin: [adm]
  allowed:
    - ann   # sits in front
limits:
  memory: 1G
`

let host: Host

before(async () => {
  host = await bootHost()
})
after(() => host.close())

beforeEach(async () => {
  await host.run(['rm', '-rf', folder])
  await host.writeFile(configFile, original, { mode: 0o640 })
})

/** `tljh-ts config edit`, with an editor of one's own. */
function edit(editor: string): Terminal {
  return openTerminal(host, [...TLJH_TS, 'config', 'edit'], { EDITOR: editor })
}

/** An editor that does what sed(1) does. */
const sed = (script: string) => `sed -i ${script}`

/** Writes a program that edits the file that is its last argument. */
async function program(name: string, text: string): Promise<string> {
  await host.writeFile(`/usr/local/bin/${name}`, `#!/bin/sh\n${text}\n`, { mode: 0o755 })
  return name
}

const onDisk = () => host.readFile(configFile)

/** Nothing is left but the configuration itself, its history and the lock's file. */
async function assertClean(): Promise<void> {
  const { stdout } = await host.run(['ls', '-A', folder])
  const left = stdout.split('\n').filter(name => name && !['config.yaml', 'config.lock', 'history'].includes(name))
  assert.deepEqual(left, [])
}

async function assertUntouched(): Promise<void> {
  assert.equal(await onDisk(), original)
  await assertClean()
}

test('vi: the file is edited, the change is shown in words, and applied after a yes', async () => {
  await using terminal = edit('vi')
  await terminal.sees(/autumn/)
  terminal.types(`:%s/1G/2G/${'\r'}:wq\r`)
  await terminal.sees(/-\s+memory: 1G/)
  await terminal.sees(/\+\s+memory: 2G/)
  await terminal.sees(/limits of each server become: 2 GB of memory/)
  await terminal.sees(/Apply\? \(y\)es, \(e\)dit again, \(n\)o: /)
  assert.equal(await onDisk(), original, 'not before the yes')
  terminal.types('y\r')
  await terminal.sees(/version 2\.\s+To go back: sudo tljh-ts config rollback 1/)
  assert.equal(await terminal.ended, 0)
  assert.equal(await onDisk(), original.replace('1G', '2G'))
  await assertClean()
})

test('nano: the same', async () => {
  await using terminal = edit('nano')
  await terminal.sees(/autumn/)
  terminal.types('# spring\r\x0f')
  // Its words from version 8 on, and before.
  await terminal.sees(/Write to File|File Name to Write/)
  terminal.types('\r')
  await terminal.sees(/Wrote \d+ lines/)
  terminal.types('\x18')
  await terminal.sees(/\+# spring/)
  await terminal.sees(/Nothing that anybody notices changes/)
  await terminal.sees(/Apply\?.*: /)
  terminal.types('y\r')
  assert.equal(await terminal.ended, 0)
  assert.equal(await onDisk(), `# spring\n${original}`)
  await assertClean()
})

test('a mistake is shown with its line, and vi opens again there', async () => {
  await using terminal = edit('vi')
  await terminal.sees(/autumn/)
  terminal.types(':%s/memory/memroy/\r:wq\r')
  await terminal.sees(/config\.yaml:7:3 error: limits\.memroy is set/)
  await terminal.sees(/> 7 \|\s+memroy: 1G/)
  await terminal.sees(/Did you mean limits\.memory\?/)
  await terminal.sees(/What now\?.*: /)
  terminal.types('e\r')
  await terminal.sees(/autumn/)
  // The cursor stands in the line of the error, so `s` without a range mends that line.
  terminal.types(':s/memroy/memory/\r:s/1G/3G/\r:wq\r')
  await terminal.sees(/Apply\?.*: /)
  terminal.types('y\r')
  assert.equal(await terminal.ended, 0)
  assert.equal(await onDisk(), original.replace('1G', '3G'))
})

test('a mistake: the difference is shown, and quitting changes nothing', async () => {
  await using terminal = edit(sed('s/1G/1GB/'))
  await terminal.sees(/limits\.memory is "1GB"/)
  await terminal.sees(/What now\?.*: /)
  terminal.types('x\r')
  await terminal.sees(/What now\?.*: /)
  terminal.types('d\r')
  await terminal.sees(/\+\s+memory: 1GB/)
  await terminal.sees(/What now\?.*: /)
  terminal.types('q\r')
  await terminal.sees(/Nothing was changed/)
  assert.equal(await terminal.ended, 1)
  await assertUntouched()
})

test('a file that was not changed is said to be so, and nobody is asked', async () => {
  await using terminal = edit('true')
  await terminal.sees(/The file is as it was: nothing was changed/)
  assert.equal(await terminal.ended, 0)
  await assertUntouched()
})

test('a no changes nothing', async () => {
  await using terminal = edit(sed('s/1G/2G/'))
  await terminal.sees(/Apply\?.*: /)
  terminal.types('n\r')
  await terminal.sees(/Nothing was changed/)
  assert.equal(await terminal.ended, 0)
  await assertUntouched()
})

for (const [name, key] of [
  ['Ctrl-C', CTRL_C],
  ['Ctrl-D', CTRL_D],
] as const) {
  test(`${name} at the question whether to apply discards, and says so`, async () => {
    await using terminal = edit(sed('s/1G/2G/'))
    await terminal.sees(/Apply\?.*: /)
    terminal.types(key)
    await terminal.sees(/Nothing was changed/)
    assert.equal(await terminal.ended, 130)
    await assertUntouched()
  })

  test(`${name} at the question what to do about a mistake discards, and says so`, async () => {
    await using terminal = edit(sed('s/1G/1GB/'))
    await terminal.sees(/What now\?.*: /)
    terminal.types(key)
    await terminal.sees(/Nothing was changed/)
    assert.equal(await terminal.ended, 130)
    await assertUntouched()
  })
}

test('Ctrl-C in an editor that dies of it changes nothing', async () => {
  await using terminal = edit(await program('asking-editor', 'echo editing; read -r answer'))
  await terminal.sees(/editing/)
  terminal.types(CTRL_C)
  await terminal.sees(/The editor .*: nothing was changed/)
  assert.equal(await terminal.ended, 1)
  await assertUntouched()
})

test('a terminal that is closed at a question, or in the editor, changes nothing and leaves nothing', async () => {
  const slow = await program('slow-editor', 'sed -i s/1G/2G/ "$1"; echo editing; sleep 1000')
  for (const [editor, seen] of [
    [sed('s/1G/2G/'), /Apply\?.*: /],
    [sed('s/1G/1GB/'), /What now\?.*: /],
    [slow, /editing/],
    ['vi', /autumn/],
  ] as const) {
    await using terminal = edit(editor)
    await terminal.sees(seen)
    terminal.close()
    await lockIsFree()
    await assertUntouched()
  }
})

test('two editors at once: the second is told who holds the lock since when, and the first goes on', async () => {
  await using first = edit('vi')
  await first.sees(/autumn/)
  await using second = edit('vi')
  await second.sees(/root began 'tljh-ts config edit' just now \(process \d+\)/)
  assert.equal(await second.ended, 1)
  const verb = await host.run([...TLJH_TS, 'config', 'set', 'limits.memory', '4G'], { check: false })
  assert.equal(verb.code, 1)
  assert.match(verb.stderr, /root began 'tljh-ts config edit'/)

  first.types(':%s/1G/2G/\r:wq\r')
  await first.sees(/Apply\?.*: /)
  first.types('y\r')
  assert.equal(await first.ended, 0)
  assert.match(await onDisk(), /memory: 2G/)
})

test('an edit that was killed is offered by the next one, and can be finished', async () => {
  const slow = await program('slow-editor', 'sed -i s/1G/2G/ "$1"; echo editing; sleep 1000')
  await kill(slow)
  assert.equal(await onDisk(), original)
  const { stdout } = await host.run(['stat', '--format=%a %U', `${folder}/edit`, `${folder}/edit/config.yaml`])
  assert.equal(stdout, '700 root\n600 root\n')

  await using terminal = edit('true')
  await terminal.sees(/An edit that was interrupted .* is in \/opt\/tljh\/config\/edit\/config\.yaml/)
  await terminal.sees(/What now\?.*: /)
  terminal.types('s\r')
  await terminal.sees(/\+\s+memory: 2G/)
  await terminal.sees(/What now\?.*: /)
  terminal.types('c\r')
  await terminal.sees(/Apply\?.*: /)
  terminal.types('y\r')
  assert.equal(await terminal.ended, 0)
  assert.equal(await onDisk(), original.replace('1G', '2G'))
  await assertClean()
})

test('an edit that was killed stays after a Ctrl-C, and can be thrown away', async () => {
  await kill(await program('slow-editor', 'sed -i s/1G/2G/ "$1"; echo editing; sleep 1000'))
  {
    await using terminal = edit('true')
    await terminal.sees(/What now\?.*: /)
    terminal.types(CTRL_C)
    await terminal.sees(/still in/)
    assert.equal(await terminal.ended, 1)
  }
  await using terminal = edit('true')
  await terminal.sees(/What now\?.*: /)
  terminal.types('t\r')
  await terminal.sees(/as it was/)
  assert.equal(await terminal.ended, 0)
  await assertUntouched()
})

test('an editor that fails keeps the text for the next time, and one that fails without a change keeps nothing', async () => {
  {
    await using terminal = edit('false')
    await terminal.sees(/The editor ended with code 1: nothing was changed/)
    assert.equal(await terminal.ended, 1)
    await assertUntouched()
  }
  await using terminal = edit(await program('failing-editor', 'sed -i s/1G/2G/ "$1"; exit 3'))
  await terminal.sees(/ended with code 3.*Your text is kept in \/opt\/tljh\/config\/edit\/config\.yaml/)
  assert.equal(await terminal.ended, 1)
  assert.equal(await onDisk(), original)
})

test('a file that somebody else changed meanwhile is not overwritten without a question', async () => {
  const meanwhile = `echo '# by hand' >>${configFile}; sed -i s/1G/2G/ "$1"`
  {
    await using terminal = edit(await program('meanwhile', meanwhile))
    await terminal.sees(/was changed by somebody else meanwhile/)
    await terminal.sees(/\+# by hand/)
    await terminal.sees(/What now\?.*: /)
    terminal.types('q\r')
    assert.equal(await terminal.ended, 1)
    assert.equal(await onDisk(), `${original}# by hand\n`)
  }
  await using terminal = edit(await program('meanwhile', meanwhile))
  await terminal.sees(/What now\?.*: /)
  terminal.types('o\r')
  await terminal.sees(/-# by hand/)
  await terminal.sees(/Apply\?.*: /)
  terminal.types('y\r')
  assert.equal(await terminal.ended, 0)
  assert.match(await onDisk(), /memory: 2G/)
})

test('the editor is the first of SUDO_EDITOR, VISUAL and EDITOR that is there, and may have arguments', async () => {
  await program('mine', 'echo "with $*"')
  const env = { SUDO_EDITOR: '/nowhere/editor', VISUAL: 'mine --wait  -x', EDITOR: 'false' }
  await using terminal = openTerminal(host, [...TLJH_TS, 'config', 'edit'], env)
  await terminal.sees(/with --wait -x \/opt\/tljh\/config\/edit\/config\.yaml/)
  assert.equal(await terminal.ended, 0)
})

test('a file that was not valid before can be mended, and one that is not UTF-8 as well', async () => {
  await host.writeFile(configFile, Buffer.from('# caf\xe9\nlimits:\n  memory: 1GB\n', 'latin1'), { mode: 0o640 })
  await using terminal = edit(sed('-e 1d -e s/1GB/1G/'))
  await terminal.sees(/Apply\?.*: /)
  terminal.types('y\r')
  assert.equal(await terminal.ended, 0)
  assert.equal(await onDisk(), 'limits:\n  memory: 1G\n')
})

test('where the file was lost, the newest version of the history is opened', async () => {
  await host.run([...TLJH_TS, 'config', 'set', 'limits.memory', '2G'])
  await host.run(['rm', configFile])
  await using terminal = edit('true')
  await terminal.sees(/empty or not there: this is version 2/)
  await terminal.sees(/Apply\?.*: /)
  terminal.types('y\r')
  assert.equal(await terminal.ended, 0)
  assert.equal(await onDisk(), original.replace('1G', '2G'))
})

test('without a terminal it says what to use', async () => {
  const { code, stderr } = await host.run([...TLJH_TS, 'config', 'edit'], { check: false })
  assert.equal(code, 1)
  assert.match(stderr, /no terminal.*config apply -/s)
  await assertUntouched()
})

/** Starts an edit, and kills it with the terminal and all, in the middle. */
async function kill(editor: string): Promise<void> {
  await using terminal = edit(editor)
  await terminal.sees(/editing/)
  const { stdout } = await host.run(['pgrep', '--full', 'tljh-ts.ts config edit', '--newest'])
  await host.run(['kill', '-KILL', stdout.trim()])
  await lockIsFree()
}

/** The end of a process is the end of its lock, a moment later. */
async function lockIsFree(): Promise<void> {
  await host.run(['flock', '--timeout=100', `${folder}/config.lock`, 'true'])
}
