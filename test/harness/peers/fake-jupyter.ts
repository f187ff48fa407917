/** http-cases-server.ts in the place of a student's Jupyter: the hub has her session, and her server is that program. */
import { once } from 'node:events'
import type { Visitor } from '../people/visitor.ts'
import { type Classroom, openClassroom } from '../product/classroom.ts'
import { checkoutProgram } from '../product/product.ts'

export interface StandIn extends AsyncDisposable {
  classroom: Classroom
  ann: Visitor
  /** Of her session. */
  cookie: string
  /** Where it is asked directly. */
  address: string
}

const port = 9000

/** Opens a class for it. */
export async function openStandIn(): Promise<StandIn> {
  const classroom = await openClassroom(undefined)
  const { host } = classroom
  const ann = await classroom.student('ann')
  const cookie = ann.headersFor('/user/ann/').cookie ?? ''
  const command = [
    ...checkoutProgram('test/harness/peers/http-cases-server.ts'),
    String(port),
    '/run/tljh/users/ann/socket',
  ]
  const farEnd = await host.start(command, { user: 'jupyter-ann' })
  await once(farEnd.stdout, 'data')
  // It holds connections to the server before.
  await host.run(['systemctl', 'restart', 'tljh-hub'])
  const address = `http://${host.address}:${port}`
  return {
    ...{ classroom, ann, cookie, address },
    async [Symbol.asyncDispose]() {
      await farEnd[Symbol.asyncDispose]()
      await classroom[Symbol.asyncDispose]()
    },
  }
}
