/** What reaches a page of what a kernel says, and how a cell is held up: spawner/jupyter in a Python without Jupyter. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'

const folder = join(import.meta.dirname, '../../../spawner/jupyter')

/** Runs a program with the folder of our Python files as its argument, and reads what it prints. */
function python(program: string, input: unknown = null): unknown {
  const options = { input: JSON.stringify(input), encoding: 'utf8', timeout: 60_000 } as const
  return JSON.parse(execFileSync('python3', ['-B', '-c', program, folder], options))
}

/** What the kernel says on the channel for all: the kind, the request that it is about, and the content. */
type Said = [kind: string, cell: string, content?: object]

/** In place of Jupyter's classes: every message that is not left out is shown, and nothing waits for a browser that is not `slow`. */
const page = `
import concurrent.futures, itertools, json, sys, types

shown = []

def show(message):
    content = message["content"]
    text = content.get("text", content.get("execution_state", ""))
    shown.append([message["header"]["msg_type"], message["parent_header"]["msg_id"], text])

class Session:
    def msg(self, kind, content, parent):
        return {"header": {"msg_type": kind}, "parent_header": parent, "content": content}

class Browser:
    def write_message(self, message, binary):
        show(json.loads(message))
        written = concurrent.futures.Future()
        written.set_result(None)
        return written

class Connection:
    session, websocket_handler, subprotocol = Session(), Browser(), ""
    def get_part(self, field, value, parts):
        return json.loads(parts[{"header": 0, "parent_header": 1, "content": 3}[field]]) if value is None else value
    def _limit_rate(self, channel, msg, parts):
        return False

def module(name, **names):
    made = sys.modules[name] = types.ModuleType(name)
    vars(made).update(names)

connection = "jupyter_server.services.kernels.connection"
for name in ("jupyter_client", "jupyter_server", "jupyter_server.services", "jupyter_server.services.kernels", connection):
    module(name)
module("jupyter_client.jsonutil", json_default=None)
module(connection + ".base", serialize_msg_to_ws_v1=None)
module(connection + ".channels", ZMQChannelsWebsocketConnection=Connection)
sys.path.insert(0, sys.argv[1])
import output

# Each look at the clock is a second later: what a cell may print does not hang on how fast this runs.
output.time = types.SimpleNamespace(monotonic=itertools.count().__next__)
page = output.KernelConnection()
for kind, cell, *content in json.load(sys.stdin):
    if kind == "slow":
        page.waiting = 2 * output.MOST_WAITING
        continue
    message = page.session.msg(kind, content[0] if content else {}, {"msg_id": cell})
    parts = [json.dumps(message[field]).encode() for field in ("header", "parent_header")] + [b"{}", json.dumps(message["content"]).encode()]
    if not page._limit_rate("iopub", dict.fromkeys(message), parts):
        show(message)
print(json.dumps(shown))
`

const prints = (cell: string, text: string): Said => ['stream', cell, { name: 'stdout', text }]
const status = (cell: string, state: 'busy' | 'idle'): Said => ['status', cell, { execution_state: state }]
const flood = (cell: string) => prints(cell, `${'x'.repeat(2_000_000)}\nthe end\n`)
const beginning = /^x{490000,500000}\n$/
const notice = /^This cell writes more/
const theEnd = '…\nthe end\n'

/** What a page shows of it: the texts and states, and the kinds of messages that have none. */
function shown(said: Said[]): { kind: string; cell: string; text: string }[] {
  const messages = python(page, said) as [string, string, string][]
  return messages.map(([kind, cell, text]) => ({ kind, cell, text: text || kind }))
}

function textsOf(cell: string, said: Said[]): string[] {
  return shown(said).flatMap(message => (message.cell === cell ? message.text : []))
}

test('of what a cell has cleared, no end is shown', () => {
  for (const wait of [false, true]) {
    const said: Said[] = [flood('a'), ['clear_output', 'a', { wait }], prints('a', 'done\n'), status('a', 'idle')]
    const [first = '', second = '', ...later] = textsOf('a', said)
    assert.match(first, beginning)
    assert.match(second, notice)
    assert.deepEqual(later, ['clear_output', 'done\n', 'idle'])
  }
})

test('before a widget that comes later, the end of what was left out is shown', () => {
  for (const kind of ['comm_open', 'comm_msg', 'display_data', 'execute_result', 'error']) {
    const texts = textsOf('a', [flood('a'), status('a', 'busy'), [kind, 'a'], status('a', 'idle')])
    assert.deepEqual(texts.slice(2), ['busy', theEnd, kind, 'idle'])
  }
})

test('a browser that is slow is shown the end before an error and when the cell has ended, and not with each message of a widget', () => {
  for (const [kind, state] of [
    ['error', 'error'],
    ['status', 'idle'],
  ] as const) {
    const said: Said[] = [flood('a'), ['slow', 'a'], ['comm_msg', 'a'], [kind, 'a', { execution_state: state }]]
    assert.deepEqual(textsOf('a', said).slice(2), ['comm_msg', theEnd, state])
  }
  const others = Array.from({ length: 17 }, (_, number) => prints(`other ${number}`, 'hello\n'))
  const texts = textsOf('a', [flood('a'), ['slow', 'a'], ...others])
  assert.equal(texts.length, 2, 'nor where the cell is forgotten for others')
})

test('requests that are no cells cost no cell the end of its output, nor its notice', () => {
  const names = Array.from({ length: 40 }, (_, number) => `completion ${number}`)
  const said = [flood('a'), ...names.flatMap(name => [status(name, 'busy'), status(name, 'idle')])]
  const texts = textsOf('a', [...said, flood('a'), status('a', 'idle')])
  assert.match(texts[1] ?? '', notice)
  assert.deepEqual(texts.slice(2), [theEnd, 'idle'])
})

test('of a cell that is forgotten for many others, the end is shown before', () => {
  const others = Array.from({ length: 16 }, (_, number) => prints(`other ${number}`, 'hello\n'))
  const messages = shown([flood('a'), ...others])
  const last = messages.slice(-2)
  assert.deepEqual(last, [
    { kind: 'stream', cell: 'a', text: theEnd },
    { kind: 'stream', cell: 'other 15', text: 'hello\n' },
  ])
})

/** Pauses of a cell that prints three megabytes, with clocks that the cell has changed before the third. */
const pauses = `
import json, sys, time
slept, faked = [], []
now = 1e9
time.sleep, time.monotonic = slept.append, lambda: now
sys.path.insert(0, sys.argv[1])
import paced_kernel

class Stream:
    def write(self, text):
        return len(text)
paced_kernel.pace(Stream)
stream = Stream()
stream.write("x" * paced_kernel.MEGABYTE * 2)
if json.load(sys.stdin) == "patched":
    time.sleep, time.monotonic = faked.append, lambda: 0
else:
    now = 0
stream.write("x" * paced_kernel.MEGABYTE)
print(json.dumps([slept, faked]))
`

test('a cell that puts a clock of its own in the place of time’s is held up as long as others', () => {
  for (const how of ['patched', 'set back']) {
    const [slept, faked] = python(pauses, how) as [number[], number[]]
    assert.deepEqual(faked, [], how)
    assert.equal(slept.length, 3, how)
    assert.ok(
      slept.slice(1).every(seconds => seconds > 0.09 && seconds <= 0.1),
      `${how}: ${slept.join()}`,
    )
  }
})
