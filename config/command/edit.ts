/**
 * `tljh-ts config edit`, in the manner of visudo: lock → a private copy → the editor → check → difference, plan, question →
 * apply, or the editor again, or nothing.
 *
 * What always holds: until the answer 'yes' the configuration is not touched, and from then on config/change/apply.ts sees to
 * it. The copy (config/command/edit-copy.ts) is removed at every end but two: where this program was killed, and where the editor failed;
 * then the next edit offers it. Ctrl-C at a question discards, and so does a terminal that is closed.
 */

import { Interrupted } from '../../cli/terminal.ts'
import { ProblemError } from '../../problem.ts'
import { versions } from '../change/history.ts'
import { lockConfig } from '../change/lock.ts'
import {
  type CheckedChange,
  carryOut,
  type Desk,
  printFindings,
  propose,
  readBytesOf,
  type Situation,
  survey,
} from '../change/proposal.ts'
import { showPlan, showTime } from '../change/show.ts'
import { showDiff } from '../text/show.ts'
import { type Copy, openCopy } from './edit-copy.ts'
import { type Editor, findEditor, runEditor } from './editors.ts'

/** Edits, and answers the exit code: 0 where it ended as was wanted, 1 where not, 130 after Ctrl-C. */
export async function edit(desk: Desk, environment: NodeJS.ProcessEnv): Promise<number> {
  const { configFile, terminal, who } = desk
  if (!terminal.isInteractive) {
    throw new ProblemError('CONFIG_NO_TERMINAL', {
      what: 'The configuration was not opened',
      why: 'there is no terminal to edit it in',
      fix: 'From a program, use: sudo tljh-ts config apply -',
    })
  }
  const editor = findEditor(environment)
  await using _lock = await lockConfig(configFile, { who, how: 'tljh-ts config edit' })
  using signals = catchSignals()
  const copy = openCopy(configFile)
  const session = createSession({ desk, copy, editor, environment, hangup: signals.hangup })
  try {
    return await session()
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error
    copy.remove()
    // Then nobody is there to read a sentence.
    if (signals.hangup.aborted) return 1
    terminal.print('\nNothing was changed.')
    return 130
  }
}

interface Parts {
  desk: Desk
  copy: Copy
  editor: Editor
  environment: NodeJS.ProcessEnv
  /** Aborted when the terminal is gone. */
  hangup: AbortSignal
}

/** What comes after a step: the editor again, the end, or the next step. */
type Next = { kind: 'edit'; line?: number | undefined } | { kind: 'end'; code: number } | { kind: 'on' }

function createSession({ desk, copy, editor, environment, hangup }: Parts): () => Promise<number> {
  const { terminal, configFile } = desk
  const ask = (question: string, choices: readonly string[]) => terminal.ask(question, choices, hangup)

  async function session(): Promise<number> {
    if (!(await isLeftBehindTaken())) begin()
    let next: Next = { kind: 'edit' }
    while (next.kind === 'edit') next = await editOnce(next.line)
    return next.kind === 'end' ? next.code : 0
  }

  function begin(): void {
    const bytes = readBytesOf(configFile)
    const newest = versions(configFile).at(-1)
    const isLost = bytes.length === 0 && newest !== undefined
    if (isLost) {
      terminal.print(
        `${configFile} is empty or not there: this is version ${newest.number}, the newest of the history.`,
      )
    }
    copy.begin(bytes, isLost ? Buffer.from(newest.text) : bytes)
  }

  /** Whether to go on with an edit that was interrupted. Until that is decided, it stays. */
  async function isLeftBehindTaken(): Promise<boolean> {
    const time = copy.leftAt()
    if (time === undefined) return false
    terminal.print(`An edit that was interrupted (${showTime(time)}) is in ${copy.path}.`)
    for (;;) {
      const answer = await ask('What now?', ['continue with it', 'show what it changes', 'throw it away']).catch(keep)
      if (answer !== 's') return answer === 'c'
      terminal.print(difference(copy.base(), copy.read()))
    }
  }

  /** Ctrl-C before anything was decided. */
  function keep(error: unknown): never {
    if (!(error instanceof Interrupted)) throw error
    throw new ProblemError('CONFIG_LEFT', {
      what: 'Nothing was changed',
      why: 'the question was not answered',
      fix: `The edit that was interrupted is still in ${copy.path}`,
    })
  }

  async function editOnce(line: number | undefined): Promise<Next> {
    const { code } = await runEditor(editor, copy.path, { line, signal: hangup, environment })
    if (hangup.aborted) throw new Interrupted()
    const bytes = copy.read()
    if (code !== 0) return afterFailure(code, bytes)
    if (!bytes) return end('The editor left no file: nothing was changed.', 1)
    const situation = await survey(desk)
    if (bytes.equals(situation.bytes)) return end('The file is as it was: nothing was changed.')
    const foreign = await foreignChange(situation)
    if (foreign.kind !== 'on') return foreign
    const proposal = propose(bytes, situation, desk)
    return proposal.plan ? agreed(proposal, situation) : mended(proposal, situation)
  }

  function afterFailure(code: number | undefined, bytes: Buffer | undefined): Next {
    const how = code === undefined ? 'was killed' : `ended with code ${code}`
    if (!bytes || bytes.equals(copy.base())) return end(`The editor ${how}: nothing was changed.`, 1)
    terminal.complain(`The editor ${how}, so nothing was changed. Your text is kept in ${copy.path}:`)
    terminal.complain('the next tljh-ts config edit offers it.')
    return { kind: 'end', code: 1 }
  }

  /** The file may be changed by hand while somebody edits; the lock keeps out commands alone. */
  async function foreignChange({ bytes }: Situation): Promise<Next> {
    if (bytes.equals(copy.base())) return { kind: 'on' }
    terminal.print(`${configFile} was changed by somebody else meanwhile:`)
    terminal.print(difference(copy.base(), bytes))
    const answer = await ask('What now?', [
      'overwrite it with your text',
      'edit again',
      'quit without changing anything',
    ])
    if (answer === 'e') return { kind: 'edit' }
    if (answer === 'q') return end('Nothing was changed.', 1)
    copy.rebase(bytes)
    return { kind: 'on' }
  }

  async function mended({ findings, text }: CheckedChange, situation: Situation): Promise<Next> {
    printFindings(findings, text, copy.path, terminal)
    const errors = findings.filter(({ severity }) => severity === 'error')
    const count = errors.length === 1 ? 'There is one error' : `There are ${errors.length} errors`
    terminal.print(`${count}, so this cannot be applied. The configuration is as it was.`)
    for (;;) {
      const answer = await ask('What now?', ['edit again', 'difference', 'quit without changing anything'])
      if (answer === 'e') return { kind: 'edit', line: errors[0]?.line }
      if (answer === 'q') return end('Nothing was changed.', 1)
      terminal.print(difference(situation.bytes, Buffer.from(text)))
    }
  }

  async function agreed(proposal: CheckedChange, situation: Situation): Promise<Next> {
    const { findings, text, plan } = proposal
    terminal.print(difference(situation.bytes, Buffer.from(text)))
    printFindings(findings, text, copy.path, terminal)
    if (plan) terminal.print(showPlan(plan))
    const answer = await ask('Apply?', ['yes', 'edit again', 'no'])
    if (answer === 'e') return { kind: 'edit' }
    if (answer === 'n') return end('Nothing was changed.')
    try {
      const code = await carryOut(proposal, 'edit', situation, desk)
      copy.remove()
      return { kind: 'end', code }
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error
      terminal.complain(`${error.what}\n  why: ${error.why}\n  what to do: ${error.fix}`)
      const next = await ask('What now?', ['edit again', 'quit without changing anything'])
      return next === 'e' ? { kind: 'edit' } : end('Nothing was changed.', 1)
    }
  }

  function end(sentence: string, code = 0): Next {
    copy.remove()
    terminal.print(sentence)
    return { kind: 'end', code }
  }

  function difference(before: Buffer, after: Buffer = Buffer.alloc(0)): string {
    const { hasColour } = terminal
    const names = { from: configFile, to: copy.path, hasColour }
    return showDiff(before.toString('utf8'), after.toString('utf8'), names) || 'There is no difference.'
  }

  return session
}

/**
 * While somebody edits, Ctrl-C is the editor's, and one that comes while a change is applied must not cut it in two. A closed
 * terminal ends the edit where it can be ended.
 */
function catchSignals(): Disposable & { hangup: AbortSignal } {
  const controller = new AbortController()
  const hangup = () => controller.abort()
  const ignore = () => undefined
  process.on('SIGHUP', hangup).on('SIGTERM', hangup).on('SIGINT', ignore).on('SIGQUIT', ignore)
  return {
    hangup: controller.signal,
    [Symbol.dispose]() {
      process.off('SIGHUP', hangup).off('SIGTERM', hangup).off('SIGINT', ignore).off('SIGQUIT', ignore)
    },
  }
}
