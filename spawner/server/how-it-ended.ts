/**
 * Says in a student's words how a server ended: what happened, why, and what to do.
 *
 * What systemd knows is its `Result` (systemd.exec(5), $SERVICE_RESULT) and the exit status or signal of the main
 * process. Statuses from 200 up are systemd's own, for what it could not set up before the program ran (systemd.exec(5),
 * 'Process Exit Codes').
 */
import { constants } from 'node:os'
import type { ProblemText } from '../../problem.ts'
import type { UnitState } from '../../systemd/state.ts'

/** What the words are made from; a `UnitState` has it. */
export type EndedUnit = Pick<UnitState, 'name' | 'result' | 'execMainCode' | 'execMainStatus'>

export type EndText = Pick<ProblemText, 'what' | 'why' | 'fix'>

const START_AGAIN = 'Start it again; files that were saved are still there'
const TELL_TEACHER = 'tell your teacher'

/** What shows all lines of a server's, its own and systemd's of it. The former are in the journal of that namespace alone. */
export function journalCommand({ name }: Pick<EndedUnit, 'name'>, namespace: string): string {
  return `sudo journalctl --namespace=+${namespace} --unit=${name}`
}

/** The text for a unit that has ended or could not be started: for students, so it names no command. */
export function describeEnd(unit: EndedUnit): EndText {
  switch (unit.result) {
    case 'success':
      return { what: 'The server has ended', why: 'it was stopped, or closed itself', fix: START_AGAIN }
    case 'oom-kill':
      return outOfMemory()
    case 'signal':
    case 'core-dump':
      return bySignal(unit.execMainStatus)
    case 'exit-code':
      return unit.execMainStatus >= 200 ? bySystemd(unit.execMainStatus) : byItself(unit.execMainStatus)
    case 'timeout':
      return {
        what: 'The server took too long to start or stop, and was ended',
        why: 'the machine may be very busy, or a setting of Jupyter in the home folder may hold it up',
        fix: `Start it again; if that does not help, ${TELL_TEACHER}`,
      }
    case 'watchdog':
      return { what: 'The server was ended', why: 'it no longer answered', fix: START_AGAIN }
    case 'start-limit-hit':
      return {
        what: 'The server is not started any more for now',
        why: 'it failed several times in a short while',
        fix: `Wait a minute and start it again; if that does not help, ${TELL_TEACHER}`,
      }
    case 'protocol':
      return {
        what: 'The server could not be started',
        why: 'it ended before it had said that it is ready',
        fix: `Start it again; if that does not help, ${TELL_TEACHER}`,
      }
    case 'resources':
      return {
        what: 'The server could not be started',
        why: 'the machine had no memory, no process or no file left for it, or something that it needs is missing',
        fix: `Wait a minute and start it again; if that does not help, ${TELL_TEACHER}`,
      }
    default:
      return {
        what: 'The server has ended',
        why: unit.result ? `systemd gives '${unit.result}' as the reason` : 'systemd gives no reason',
        fix: `Start it again; if that does not help, ${TELL_TEACHER}`,
      }
  }
}

function outOfMemory(): EndText {
  return {
    what: 'The server was stopped because it needed more memory than it may use',
    why: 'the kernel ends the biggest program when the limit is reached',
    fix: 'Start it again, and load less data at once or close notebooks that you do not need; your teacher can raise the limit',
  }
}

function bySignal(signal: number): EndText {
  const name = signalName(signal)
  // On cgroup v1, and with OOMPolicy=continue, the limit of memory shows as nothing but this.
  if (name === 'SIGKILL')
    return {
      what: 'The server was killed',
      why: 'most often that is because it needed more memory than it may use (SIGKILL)',
      fix: `Start it again, and load less data at once; if memory was not it, ${TELL_TEACHER}`,
    }
  if (['SIGTERM', 'SIGINT', 'SIGHUP'].includes(name))
    return { what: 'The server was stopped', why: `somebody or something ended it (${name})`, fix: START_AGAIN }
  return {
    what: 'The server crashed',
    why: `a fault in a program or in one of its libraries ended it (${name})`,
    fix: `Start it again; if it happens again, ${TELL_TEACHER}`,
  }
}

function byItself(status: number): EndText {
  // It is the command after it that failed (ExecStartPost=), which waits until the server says that it is ready.
  if (status === 0)
    return {
      what: 'The server ended before it was ready',
      why: 'it closed itself and named no error: a setting of Jupyter in the home folder, or a package, may ask for that',
      fix: `Read its last lines, and start it again; if that does not help, ${TELL_TEACHER}`,
    }
  return {
    what: `The server ended with an error (exit status ${status})`,
    why: 'its last lines say more',
    fix: `Read them, and start it again; if that does not help, ${TELL_TEACHER}`,
  }
}

/** Where systemd's own statuses mean something that the reader can do something about. */
const SETUP_FAILURES: Readonly<Record<number, string>> = {
  200: 'the folder that it should run in is not there or may not be entered (CHDIR)',
  202: 'the machine has no file descriptors left (FDS)',
  203: 'the program is not there or cannot be run; the environment of the class may be damaged (EXEC)',
  205: 'a limit could not be set (LIMITS)',
  206: 'its priority for running out of memory could not be set (OOM_ADJUST)',
  209: 'its input could not be opened (STDIN)',
  210: 'the root folder could not be changed (CHROOT)',
  214: 'its scheduling could not be set (SETSCHEDULER)',
  216: 'its group is not known to the machine (GROUP)',
  217: 'its user is not known to the machine (USER)',
  218: 'its capabilities could not be set (CAPABILITIES)',
  219: 'its control group could not be made (CGROUP)',
  221: 'it could not be made a session of its own (SETSID)',
  222: 'its place in the journal could not be opened (STDOUT)',
  223: 'its place in the journal could not be opened (STDERR)',
  224: 'the check of its user by PAM failed (PAM)',
  225: 'its network could not be set up (NETWORK)',
  226: 'the folders that it may see could not be set up: one of them may be missing (NAMESPACE)',
  227: 'its privileges could not be given up (NO_NEW_PRIVILEGES)',
  228: 'its filter of system calls could not be set (SECCOMP)',
  233: 'its folder below /run could not be made (RUNTIME_DIRECTORY)',
  235: 'a file could not be given to its user (CHOWN)',
  238: 'its state folder could not be made (STATE_DIRECTORY)',
  243: 'its credentials could not be set up (CREDENTIALS)',
}

function bySystemd(status: number): EndText {
  const reason = SETUP_FAILURES[status] ?? 'something that it needs could not be set up'
  return {
    what: `The server could not be started (exit status ${status})`,
    why: reason,
    fix: 'Tell your teacher what is written here',
  }
}

/** Some numbers have two names: the first is the one that people know. */
const SIGNALS = new Map(
  Object.entries(constants.signals)
    .toReversed()
    .map(([name, number]) => [number, name]),
)

/** SIGKILL for 9; `signal 77` for one that has no name. */
export function signalName(signal: number): string {
  return SIGNALS.get(signal) ?? `signal ${signal}`
}
