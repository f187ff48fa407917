/**
 * The steps of an installation, and how they are shown: a list with progress in a terminal, one line for each as it begins where the
 * output is none.
 *
 * Each step looks first and makes what is missing, so the list may be run again over an installation, and after a run that was cut
 * off. What a step changes outside of our own folder it notes first (installer/installation/changes.ts), which is how it is undone.
 */
import type { Streams } from '../cli/terminal.ts'
import { fullAt } from '../machine/disk.ts'
import { isDiskFull, ProblemError } from '../problem.ts'

export interface Step {
  /** One word, for whoever reads the lines. */
  name: string
  /** For people: what is seen to, without a full stop. */
  title: string
  /** Answers whether anything had to be changed. Throws a `ProblemError`. */
  run(): Promise<boolean>
}

/** Told as it goes; the progress page listens. */
export interface Watcher {
  begins(step: Step): void
  ends(step: Step): void
}

const asItWas = 'as it was'

/** Runs all steps, one after the other. Throws what a step throws, in words, and then no further step has begun. */
export async function runSteps(
  steps: readonly Step[],
  { stdout, stderr }: Pick<Streams, 'stdout' | 'stderr'>,
  watcher: Watcher,
): Promise<void> {
  const watched = steps.map(step => ({
    ...step,
    async run() {
      watcher.begins(step)
      const isChanged = await inWords(step)
      watcher.ends(step)
      return isChanged
    },
  }))
  if (stdout.isTTY && stderr.isTTY) await runInTerminal(watched)
  else await runInLines(watched, line => stderr.write(`${line}\n`))
}

async function runInTerminal(steps: readonly Step[]): Promise<void> {
  const { Listr } = await import('listr2')
  const tasks = steps.map(step => ({
    title: step.title,
    task: async (_: unknown, task: { title: string }) => {
      if (!(await step.run())) task.title = `${step.title}: ${asItWas}`
    },
  }))
  // The error is told once, by the command line.
  await new Listr(tasks, { rendererOptions: { showErrorMessage: false, collapseErrors: false } }).run()
}

async function runInLines(steps: readonly Step[], print: (line: string) => void): Promise<void> {
  for (const step of steps) {
    print(`${step.name}: ${step.title}`)
    if (!(await step.run())) print(`${step.name}: ${asItWas}`)
  }
}

/** What the system says of a step becomes a sentence. */
async function inWords(step: Step): Promise<boolean> {
  try {
    return await step.run()
  } catch (cause) {
    if (cause instanceof ProblemError) throw cause
    const isFull = isDiskFull(cause)
    const again = 'start the same command again; it goes on where it was'
    throw new ProblemError(isFull ? 'INSTALL_DISK_FULL' : 'INSTALL_STEP', {
      what: `The installation stopped at this: ${step.title}`,
      why: isFull ? fullAt(cause) : cause instanceof Error ? cause.message : String(cause),
      fix: isFull ? `Make room (df -h), and ${again}` : `Mend that, and ${again}`,
      cause,
    })
  }
}
