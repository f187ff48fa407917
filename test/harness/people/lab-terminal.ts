/**
 * A terminal of JupyterLab, over its WebSocket through the hub, as the page has it.
 *
 *   using terminal = await openLabTerminal(ann, 'ann')
 *   assert.match(await terminal.run('which python'), /\/opt\/tljh\/user\/bin\/python/)
 */
import { on, once } from 'node:events'
import { stripVTControlCharacters } from 'node:util'
import type { Visitor } from './visitor.ts'

export interface LabTerminal extends Disposable {
  /** Types a line, and gives what the screen shows until the shell has done it. */
  run(line: string): Promise<string>
}

/** Opens a new terminal in the server of `user`, which runs. */
export async function openLabTerminal(visitor: Visitor, user: string): Promise<LabTerminal> {
  const { status, body } = await visitor.jupyter('POST', 'api/terminals')
  if (status !== 200) throw new Error(`no terminal: ${status} ${body}`)
  const { name } = JSON.parse(body) as { name: string }
  const socket = visitor.webSocket(`/user/${user}/terminals/websocket/${name}`)
  await once(socket, 'open')
  let count = 0

  return {
    async run(line) {
      const mark = `done-${++count}`
      let seen = ''
      const messages = on(socket, 'message', { close: ['close'] })
      // What is typed is shown as well, and must not look like the mark. A second line would be lost: sudo throws away what is typed ahead.
      socket.send(JSON.stringify(['stdin', `${line}; echo do''ne-${count}\r`]))
      for await (const [data] of messages) {
        const [kind, text] = JSON.parse(String(data)) as [string, string]
        if (kind === 'stdout') seen += text
        if (kind === 'disconnect') break
        if (stripVTControlCharacters(seen).includes(mark)) return stripVTControlCharacters(seen)
      }
      throw new Error(`the terminal ended: ${seen}`)
    },
    [Symbol.dispose]() {
      socket.terminate()
    },
  }
}
