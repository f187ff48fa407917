/**
 * A certificate that somebody else keeps up to date: two files, looked at every two seconds, so that it does not matter whether they
 * are written anew, renamed into place, or reached by symbolic links that somebody turns (as certbot does).
 *
 * Key and certificate are two files, so between them there is a moment in which they do not belong together. A pair that is wrong
 * counts as wrong only when it was so at two looks.
 */
import { readFileSync } from 'node:fs'
import { ProblemError } from '../../problem.ts'
import { type Certificate, readCertificate } from './certificate.ts'

export interface CertificateFiles {
  key: string
  cert: string
}

export interface FilesEvents {
  onCertificate(certificate: Certificate): void
  /** It is not told twice of the same. */
  onProblem(problem: ProblemError): void
}

const lookEveryMs = 2_000

/** Looks at once, and then until the function that is returned is called. */
export function watchFiles(files: CertificateFiles, { onCertificate, onProblem }: FilesEvents): () => void {
  let inForce = ''
  let told = ''
  let isDoubtful = false

  function look(isFirst: boolean): void {
    try {
      const pair = { key: readPem(files.key), chain: readPem(files.cert) }
      const content = `${pair.key}\n${pair.chain}`
      // What was wrong in between and is the old pair again is no change, but the end of a problem.
      if (content === inForce && told === '') return
      const certificate = readCertificate(pair)
      inForce = content
      told = ''
      isDoubtful = false
      onCertificate(certificate)
    } catch (error) {
      const problem = error instanceof ProblemError ? error : unreadable(files.cert, error)
      if (problem.message === told) return
      if (isDoubtful || isFirst) {
        told = problem.message
        onProblem(problem)
      }
      isDoubtful = true
    }
  }

  look(true)
  const timer = setInterval(() => look(false), lookEveryMs).unref()
  return () => clearInterval(timer)
}

function readPem(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw unreadable(file, error)
  }
}

function unreadable(file: string, cause: unknown): ProblemError {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
  const why =
    code === 'ENOENT' ? 'there is no such file' : code === 'EACCES' ? 'the hub may not read it' : String(cause)
  return new ProblemError('CERTIFICATE', {
    what: `The certificate in ${file} cannot be used`,
    why,
    fix: `Let the group tljh-hub read the file, and enter each folder above it; nothing below /home or /root can be seen by the hub`,
    cause,
  })
}
