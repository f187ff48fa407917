/**
 * A class: the product on a host, with students who have logged in and whose servers run.
 */
import type { TestContext } from 'node:test'
import type { HostOptions } from '../host/host.ts'
import { type Visitor, visit } from '../people/visitor.ts'
import { bootProduct, type Product } from './product.ts'

export interface Classroom extends Product {
  /** Logs a student in (`ann` and `bob` may enter) and starts the server. */
  student(name: string): Promise<Visitor>
  /** Logs the administrator in. */
  administrator(): Promise<Visitor>
}

export const studentPassword = 'correct horse battery'

/** For a configuration in which students choose their passwords by being first, as with TLJH. */
export const claiming = 'auth: { FirstUseAuthenticator: { claim_named_users: true } }\n'

/** Opens a class for the length of a test, or of a suite. `limits` is the section of that name, as YAML. */
export async function openClassroom(
  t: TestContext | undefined,
  limits = '',
  options: HostOptions = {},
): Promise<Classroom> {
  const product = await bootProduct({
    ...options,
    config: `users:\n  allowed: [ann, bob]\n${claiming}${limits && `limits:\n${limits}`}`,
  })
  t?.after(() => product[Symbol.asyncDispose]())
  return {
    ...product,
    async student(name) {
      const visitor = visit(product.url)
      await logIn(visitor, name, studentPassword)
      await visitor.startServer()
      return visitor
    },
    async administrator() {
      const visitor = visit(product.url)
      await logIn(visitor, product.admin, product.adminPassword)
      return visitor
    },
  }
}

async function logIn(visitor: Visitor, name: string, password: string): Promise<void> {
  const { status, body } = await visitor.logIn(name, password)
  if (status !== 302) throw new Error(`${name} could not log in: ${status} ${body}`)
}
