/** People who come to the hub one after the other, each on a connection of their own, while something is done to it. */

export interface Reception {
  /** How many were shown the login page. */
  answered: number
  /** What the others met. */
  refused: string[]
}

/** `count` at a time ask for the login page by `ask`, again and again until `work` is done. */
export async function receive(
  count: number,
  ask: () => Promise<{ status: number; body: string }>,
  work: () => Promise<void>,
): Promise<Reception> {
  const reception: Reception = { answered: 0, refused: [] }
  let isOver = false
  const visitors = Array.from({ length: count }, async () => {
    while (!isOver) {
      const { status, body } = await ask().catch(error => ({ status: 0, body: String(error) }))
      if (status === 200 && body.includes('Log in')) reception.answered++
      else reception.refused.push(`${status} ${body}`)
    }
  })
  try {
    await work()
  } finally {
    isOver = true
    await Promise.all(visitors)
  }
  return reception
}
