/**
 * A kernel of a student's server, over its WebSocket through the hub, as JupyterLab speaks with it
 * (the Jupyter messaging protocol, version 5.3, as JSON).
 */
import { randomUUID } from 'node:crypto'
import { on, once } from 'node:events'
import type { WebSocket } from 'ws'
import type { Visitor } from './visitor.ts'

export interface Kernel extends Disposable {
  id: string
  /** Runs a cell to its end. Rejects with `KERNEL_DIED` when the kernel does not live to answer. */
  run(code: string): Promise<CellResult>
  /** Resolves when a cell writes something with that text in it, from now on. */
  hasWritten(text: string): Promise<void>
  interrupt(): Promise<void>
  restart(): Promise<void>
  socket: WebSocket
}

export interface CellResult {
  status: 'ok' | 'error' | 'aborted'
  /** What it printed, and the plain text of its last value. */
  text: string
  /** Of an error: `KeyboardInterrupt`, `MemoryError`. */
  error: string
}

interface Message {
  header: { msg_type: string }
  parent_header: { msg_id?: string }
  content: Record<string, unknown>
}

interface Waiting {
  text: string[]
  error: string
  isIdle: boolean
  status: CellResult['status'] | undefined
  resolve(result: CellResult): void
  reject(error: Error): void
}

/** Starts a kernel in the server of `user`, who has logged in and whose server runs. */
export async function startKernel(visitor: Visitor, user: string, name = 'python3'): Promise<Kernel> {
  const { status, body } = await visitor.jupyter('POST', 'api/kernels', { name })
  if (status !== 201) throw new Error(`no kernel: ${status} ${body}`)
  const { id } = JSON.parse(body) as { id: string }
  return joinKernel(visitor, user, id)
}

/** Opens the WebSocket of a kernel that runs. */
export async function joinKernel(visitor: Visitor, user: string, id: string): Promise<Kernel> {
  const session = randomUUID()
  const socket = visitor.webSocket(`/user/${user}/api/kernels/${id}/channels?session_id=${session}`)
  const cells = new Map<string, Waiting>()
  /** Pending while the server starts a kernel anew: what is sent meanwhile, and what is answered, can be lost. */
  let isUp: Promise<void> = Promise.resolve()

  socket.on('message', data => take(JSON.parse(String(data)) as Message))
  socket.on('close', () => fail('CLOSED', 'the WebSocket was closed'))
  await once(socket, 'open')

  function fail(code: string, reason: string): void {
    for (const cell of cells.values()) cell.reject(Object.assign(new Error(reason), { code }))
    cells.clear()
  }

  function take({ header, parent_header: parent, content }: Message): void {
    if (
      header.msg_type === 'status' &&
      (content.execution_state === 'restarting' || content.execution_state === 'dead')
    ) {
      isUp = answersAgain()
      fail('KERNEL_DIED', 'the kernel died')
    }
    const cell = cells.get(parent.msg_id ?? '')
    if (!cell) return
    if (header.msg_type === 'stream') cell.text.push(String(content.text))
    if (header.msg_type === 'execute_result')
      cell.text.push(String((content.data as Record<string, unknown>)['text/plain']))
    if (header.msg_type === 'error') cell.error = String(content.ename)
    if (header.msg_type === 'status' && content.execution_state === 'idle') cell.isIdle = true
    if (header.msg_type === 'execute_reply') cell.status = content.status as CellResult['status']
    if (!cell.isIdle || !cell.status) return
    cells.delete(parent.msg_id ?? '')
    cell.resolve({ status: cell.status, text: cell.text.join(''), error: cell.error })
  }

  /** Asks until the new kernel answers, on the channel that comes up last: that of what it says to all. */
  async function answersAgain(): Promise<void> {
    const asked = new Set<string>()
    const asking = setInterval(() => asked.add(send('shell', 'kernel_info_request', {})), 200)
    for await (const [data] of on(socket, 'message', { close: ['close'] })) {
      const { header, parent_header: parent, content } = JSON.parse(String(data)) as Message
      const isIdle = header.msg_type === 'status' && content.execution_state === 'idle'
      if (isIdle && asked.has(parent.msg_id ?? '')) break
    }
    clearInterval(asking)
  }

  function send(channel: string, type: string, content: object): string {
    const id = randomUUID()
    const header = {
      msg_id: id,
      msg_type: type,
      username: user,
      session,
      date: new Date().toISOString(),
      version: '5.3',
    }
    socket.send(JSON.stringify({ header, parent_header: {}, metadata: {}, content, channel, buffers: [] }))
    return id
  }

  return {
    id,
    socket,
    async run(code) {
      await isUp
      const { promise, resolve, reject } = Promise.withResolvers<CellResult>()
      const request = {
        code,
        silent: false,
        store_history: true,
        user_expressions: {},
        allow_stdin: false,
        stop_on_error: true,
      }
      const cell = send('shell', 'execute_request', request)
      cells.set(cell, { text: [], error: '', isIdle: false, status: undefined, resolve, reject })
      return promise
    },
    async hasWritten(text) {
      for await (const [data] of on(socket, 'message', { close: ['close'] })) {
        const { header, content } = JSON.parse(String(data)) as Message
        if (header.msg_type === 'stream' && String(content.text).includes(text)) return
      }
    },
    async interrupt() {
      await must(visitor.jupyter('POST', `api/kernels/${id}/interrupt`), 204)
    },
    async restart() {
      await must(visitor.jupyter('POST', `api/kernels/${id}/restart`), 200)
      isUp = answersAgain()
    },
    [Symbol.dispose]() {
      socket.terminate()
    },
  }
}

async function must(answer: ReturnType<Visitor['jupyter']>, wanted: number): Promise<void> {
  const { status, body } = await answer
  if (status !== wanted) throw new Error(`Jupyter answered ${status}: ${body}`)
}
