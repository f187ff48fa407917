/**
 * One owner's share of the hub: of its only thread, and of its memory. An owner is the user whose server it is.
 *
 * What always holds:
 * 1. In a turn of the event loop, no more than about twice `turnBudget` is spent on what comes from and for one owner's server. Then all of
 *    the owner's connections are not read (`Reader`), and others have their turn before they are read on.
 * 2. Whoever spends it on pieces that are tiny waits until what was spent is a fifth of the time: a program of that kind is slowed, and nobody else.
 * 3. None of an owner's connections waits for ever behind another of the same owner: whoever had no turn is the first to be read again.
 * 4. What waits for sides that are slow (hub/bounds/outlet.ts) is counted for all of an owner's connections together.
 *
 * Costs are reckoned, because to look at the clock for each read would cost more than some reads. The unit is about a microsecond.
 */

/** Of each read, and of what is done with it whatever its size. */
const readCost = 10
const bytesPerCost = 2_048
/** Chunks and frames that are found in what was read. */
const piecesPerCost = 12
/** Of a chunk of a request, which node:http hands over by itself. */
const handedCost = 2
const turnBudget = 4_000
/** What of the owner's is done in a millisecond: the owner's part of the thread is a fifth, then. */
const costPerMs = 200
const tinyPauseMs = turnBudget / costPerMs
/** How many are read again at once: to start and stop a thousand each time would cost more than reading them. */
const releasedAtOnce = 32
const releasedSlowly = 4

/** Bytes for one owner that make the hub careful: connections that wait are read no more, however little waits for each. */
const crowdedBytes = 8 * 1024 * 1024
/** And from here on, whatever still wants to wait is given up. A class of slow readers has no such owner. */
const mostBytes = 32 * 1024 * 1024
/** As long as a server may take to begin its answer. A browser that has slept for longer comes back with new connections. */
const stalledMs = 10 * 60_000

/** What can be paused: a socket, or the body of a request. */
interface Readable {
  pause(): unknown
  resume(): unknown
}

/** A side for which something waits (hub/bounds/outlet.ts). */
interface SlowSide {
  /** Counts anew. */
  look(): void
  /** How long nothing was taken. */
  stalledMs(now: number): number
  giveUp(): void
}

/** What comes from one side. It is read where neither the other side is full nor the owner's share is spent. */
export class Reader {
  readonly #source: Readable
  readonly #share: Share
  #isStopped = false
  #isHeld = false
  #hasRead = false

  constructor(source: Readable, share: Share) {
    this.#source = source
    this.#share = share
    share.follow(this)
  }

  /** To be told of each read: how many bytes, and of how many pieces. */
  read(bytes: number, pieces: number): void {
    this.#hasRead = true
    this.#share.read(bytes, pieces)
  }

  /** To be told of a request's body, as it comes. */
  handed(bytes: number, chunks: number): void {
    this.#hasRead = true
    this.#share.handed(bytes, chunks)
  }

  /** The other side is full. */
  stop(): void {
    this.#isStopped = true
    this.#source.pause()
  }

  goOn(): void {
    if (!this.#isStopped) return
    this.#isStopped = false
    if (!this.#isHeld) this.#source.resume()
  }

  /** Answers whether anything was read since it was released. */
  hold(): boolean {
    this.#isHeld = true
    this.#source.pause()
    const hasRead = this.#hasRead
    this.#hasRead = false
    return hasRead
  }

  release(): void {
    this.#isHeld = false
    if (!this.#isStopped) this.#source.resume()
  }

  /** To be called when nothing more is read. */
  close(): void {
    this.#share.leave(this)
  }
}

export class Share {
  readonly #reading = new Set<Reader>()
  readonly #held = new Set<Reader>()
  /** Of those that are held, who had no turn: the reads of others came first, and spent all. */
  readonly #passedOver = new Set<Reader>()
  readonly #slowSides = new Set<SlowSide>()
  readonly #turn: () => number
  #lastTurn = -1
  #spent = 0
  #spentOnPieces = 0
  /** On tiny pieces, and not waited for yet. One read may cost several budgets. */
  #owed = 0
  #waitingBytes = 0

  /** @param turn a number that is another in each turn of the event loop */
  constructor(turn: () => number = () => performance.nodeTiming.uvMetricsInfo.loopCount) {
    this.#turn = turn
  }

  read(bytes: number, pieces: number): void {
    this.#spend(readCost + bytes / bytesPerCost, pieces / piecesPerCost)
  }

  handed(bytes: number, chunks: number): void {
    this.#spend(bytes / bytesPerCost, chunks * handedCost)
  }

  follow(reader: Reader): void {
    this.#reading.add(reader)
  }

  leave(reader: Reader): void {
    this.#reading.delete(reader)
    this.#held.delete(reader)
    this.#passedOver.delete(reader)
  }

  /** Counts what waits. */
  count(side: SlowSide, more: number, isWaiting: boolean): void {
    this.#waitingBytes += more
    if (isWaiting) this.#slowSides.add(side)
    else this.#slowSides.delete(side)
  }

  /** Whether something is to be given up. */
  isOverfull(): boolean {
    if (this.#waitingBytes <= mostBytes) return false
    // Who has taken little says so to nobody.
    for (const side of this.#slowSides) side.look()
    return this.#waitingBytes > mostBytes
  }

  isCrowded(): boolean {
    return this.#waitingBytes > crowdedBytes
  }

  /** Whether anything is read for the owner, or waits. */
  isUsed(): boolean {
    return this.#reading.size + this.#heldCount() + this.#slowSides.size > 0
  }

  waitingBytes(): number {
    return this.#waitingBytes
  }

  /** To be called now and then: gives up what has waited for long, and nothing of it was taken. @param now in milliseconds */
  sweep(now: number): void {
    for (const side of this.#slowSides) {
      side.look()
      if (side.stalledMs(now) > stalledMs) side.giveUp()
    }
  }

  #spend(cost: number, onPieces: number): void {
    this.#spentOnPieces += onPieces
    this.#spent += cost + onPieces
    if (this.#spent > turnBudget) this.#settle()
  }

  /** When a turn begins costs nothing to know only where a budget is spent; so the budget is looked at then. */
  #settle(): void {
    const turn = this.#turn()
    const isTiny = this.#spentOnPieces > this.#spent / 2
    if (isTiny) this.#owed += this.#spent
    this.#spent = this.#spentOnPieces = 0
    const isSameTurn = turn === this.#lastTurn
    this.#lastTurn = turn
    if (!isSameTurn && !isTiny) return
    const isScheduled = this.#heldCount() > 0
    for (const reader of this.#reading) {
      if (reader.hold()) this.#held.add(reader)
      else this.#passedOver.add(reader)
    }
    this.#reading.clear()
    if (!isScheduled) this.#releaseAfter(isTiny)
  }

  #releaseAfter(isTiny: boolean): void {
    const release = () => this.#release(isTiny)
    if (isTiny) setTimeout(release, tinyPauseMs)
    else setImmediate(release)
  }

  #release(isTiny: boolean): void {
    const owedMs = this.#owed / costPerMs - tinyPauseMs
    this.#owed = 0
    if (owedMs >= 1) return void setTimeout(() => this.#release(isTiny), owedMs)
    let left = isTiny ? releasedSlowly : releasedAtOnce
    // Not together with others, whose reads could come first again.
    const waiting = this.#passedOver.size > 0 ? this.#passedOver : this.#held
    for (const reader of waiting) {
      if (left-- === 0) break
      waiting.delete(reader)
      this.#reading.add(reader)
      reader.release()
    }
    if (this.#heldCount() > 0) this.#releaseAfter(isTiny)
  }

  #heldCount(): number {
    return this.#held.size + this.#passedOver.size
  }
}
