/** The programs that a release is made with (npm, pip, tar, ssh-keygen, git), and what is said where one of them fails. */
import { type CommandResult, runProgram } from '../../machine/run-program.ts'
import { ProblemError } from '../../problem.ts'

/** Packages are fetched, and archives of 200 MB compressed, on small machines too. */
const timeoutMs = 15 * 60_000

/**
 * Runs a program with the variables of whoever makes the release, as npm and pip keep their settings there.
 * @throws ProblemError `RELEASE_PROGRAM` with what the program said
 */
export async function runOrStop(
  file: string,
  args: readonly string[],
  environment: NodeJS.ProcessEnv,
  fix = 'Mend what it says and start again',
): Promise<CommandResult> {
  const result = await runProgram(file, args, { timeoutMs, env: environment }).catch((cause: unknown) => {
    throw stopped(`${file} could not be run (${String(cause)})`, `Install ${file} and start again`)
  })
  if (result.code === 0) return result
  throw stopped(`${[file, ...args].join(' ')} ended with code ${result.code}: ${result.stderr || result.stdout}`, fix)
}

/** No release was made. */
export function stopped(why: string, fix: string): ProblemError {
  return new ProblemError('RELEASE', { what: 'The release was not made', why, fix })
}
