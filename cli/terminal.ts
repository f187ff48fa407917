/**
 * The person at the command line: what is printed for them, and what they are asked.
 *
 * A question is answered with the first letter of a choice. Ctrl-C, Ctrl-D and the end of the terminal are no answers: they
 * throw `Interrupted`, and whoever asked gives up without a change.
 */
import { createInterface } from 'node:readline'

export interface Terminal {
  /** For people and programs, on standard output. */
  print(text: string): void
  /** Problems and warnings, on standard error. */
  complain(text: string): void
  /** Whether somebody can be asked. */
  isInteractive: boolean
  hasColour: boolean
  /** Asks until one of `choices` is given, and answers its first letter. Throws `Interrupted`. */
  ask(question: string, choices: readonly string[], signal?: AbortSignal): Promise<string>
  /** All of standard input. */
  read(): Promise<Buffer>
}

export class Interrupted extends Error {
  constructor() {
    super('interrupted')
    this.name = 'Interrupted'
  }
}

export interface Streams {
  stdin: NodeJS.ReadStream
  stdout: NodeJS.WriteStream
  stderr: NodeJS.WriteStream
}

export function openTerminal({ stdin, stdout, stderr }: Streams, environment: NodeJS.ProcessEnv): Terminal {
  // A terminal that is closed while something is printed is no reason to leave anything half done.
  for (const stream of [stdin, stdout, stderr]) stream.on('error', () => undefined)
  return {
    print: text => void stdout.write(ended(text)),
    complain: text => void stderr.write(ended(text)),
    isInteractive: Boolean(stdin.isTTY && stdout.isTTY),
    hasColour: Boolean(stdout.isTTY) && !environment.NO_COLOR && environment.TERM !== 'dumb',
    async ask(question, choices, signal) {
      const letters = choices.map(choice => choice.slice(0, 1))
      const shown = choices.map(choice => `(${choice.slice(0, 1)})${choice.slice(1)}`).join(', ')
      for (;;) {
        const answer = await line({ stdin, stdout }, `${question} ${shown}: `, signal)
        const letter = answer.trim().toLowerCase().slice(0, 1)
        if (letters.includes(letter)) return letter
      }
    },
    async read() {
      const chunks: Buffer[] = []
      for await (const chunk of stdin) chunks.push(Buffer.from(chunk))
      return Buffer.concat(chunks)
    },
  }
}

/** The interface lives for one question, because between two of them the terminal may belong to an editor. */
function line(
  { stdin, stdout }: Pick<Streams, 'stdin' | 'stdout'>,
  question: string,
  signal: AbortSignal | undefined,
): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  if (signal?.aborted) return Promise.reject(new Interrupted())
  const reader = createInterface({ input: stdin, output: stdout, historySize: 0 })
  let isGivenUp = false
  const giveUp = () => {
    // Closing sets the terminal's mode, which is the next error of one that is gone.
    if (isGivenUp) return
    isGivenUp = true
    reader.close()
  }
  signal?.addEventListener('abort', giveUp)
  // Ctrl-C is a key here, and no signal: a terminal that is read line by line by Node.js is in raw mode.
  reader.on('SIGINT', giveUp)
  // Reading from a terminal that is gone.
  reader.on('error', giveUp)
  reader.on('close', () => {
    signal?.removeEventListener('abort', giveUp)
    // After an answer this has no effect.
    reject(new Interrupted())
  })
  reader.question(question, answer => {
    resolve(answer)
    reader.close()
  })
  return promise
}

function ended(text: string): string {
  return text === '' || text.endsWith('\n') ? text : `${text}\n`
}
