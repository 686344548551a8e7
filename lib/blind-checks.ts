import { StoreUnavailable } from './errors.ts'

/** One question to the store, with its answer held for a moment. */
interface Held<Answer> {
  readonly at: number
  readonly answer: Promise<Answer>
}

const HOLD_MS = 1000
const MAX_IN_FLIGHT = 64
const MAX_HELD = 10_000
const BREAKER_FAILURES = 5
const BREAKER_OPEN_MS = 1000

/**
 * Asks the store for a node that is blind, without letting the blindness become a stampede: equal
 * questions share one call, answers are held for a second, few calls are under way at once, and
 * after some failures in a row the store is left alone for a second.
 */
export class BlindChecks<Answer> {
  readonly #monotonic: () => number
  #young = new Map<string, Held<Answer>>()
  #old = new Map<string, Held<Answer>>()
  #turnedAt = -Infinity
  #inFlight = 0
  #failures = 0
  #openUntil = -Infinity

  /** @param monotonic - a clock that never goes back, milliseconds */
  constructor(monotonic: () => number = () => performance.now()) {
    this.#monotonic = monotonic
  }

  /**
   * The answer to a question, from the last second or from the store.
   *
   * @param key - what makes two questions equal
   * @param ask - the call; it must end by itself
   * @throws {StoreUnavailable} when the store failed, or is left alone for now
   */
  async ask(key: string, ask: () => Promise<Answer>): Promise<Answer> {
    const now = this.#monotonic()
    this.#turn(now)
    const held = this.#young.get(key) ?? this.#old.get(key)
    if (held !== undefined && now - held.at < HOLD_MS) return held.answer
    // After failures one call finds out whether the store is back, and the others wait for it.
    const most = this.#failures >= BREAKER_FAILURES ? 1 : MAX_IN_FLIGHT
    if (now < this.#openUntil || this.#inFlight >= most || this.#young.size >= MAX_HELD) {
      throw new StoreUnavailable('check', { cause: new Error('left alone after failures or load') })
    }
    const mine = { at: now, answer: this.#call(ask) }
    this.#young.set(key, mine)
    mine.answer.catch((error: unknown) => {
      if (error instanceof StoreUnavailable) this.#forget(key, mine)
    })
    return mine.answer
  }

  /** Forgets all answers: what they say may be outdated. */
  clear(): void {
    this.#young = new Map()
    this.#old = new Map()
  }

  async #call(ask: () => Promise<Answer>): Promise<Answer> {
    this.#inFlight++
    try {
      const answer = await ask()
      this.#failures = 0
      return answer
    } catch (error) {
      // A refusal is an answer like any other. Were it counted as a failure, whoever repeats a dead
      // token would open the breaker, and tokens would pass on their signature.
      if (!(error instanceof StoreUnavailable)) {
        this.#failures = 0
        throw error
      }
      this.#failures++
      if (this.#failures >= BREAKER_FAILURES) {
        this.#openUntil = this.#monotonic() + BREAKER_OPEN_MS
      }
      throw error
    } finally {
      this.#inFlight--
    }
  }

  /** A failure is not held. By now a later call may have the place. */
  #forget(key: string, held: Held<Answer>): void {
    for (const map of [this.#young, this.#old]) if (map.get(key) === held) map.delete(key)
  }

  #turn(now: number): void {
    if (now - this.#turnedAt < HOLD_MS) return
    this.#old = this.#young
    this.#young = new Map()
    this.#turnedAt = now
  }
}
