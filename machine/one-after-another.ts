/**
 * One thing after another, in the order in which they were asked for. What fails is told to who asked for it, and keeps
 * nobody else from their turn.
 */

export type InTurn = <Result>(work: () => Promise<Result>) => Promise<Result>

export function oneAfterAnother(): InTurn {
  let last: Promise<unknown> = Promise.resolve()
  return work => {
    const turn = last.then(work)
    last = turn.catch(() => undefined)
    return turn
  }
}
