import type { LimitState } from './store.ts'

interface Counter {
  readonly used: number
  /** Epoch milliseconds. */
  readonly endsAt: number
  readonly windowMs: number
}

const MAX_COUNTERS = 10_000

/**
 * Counters of this process, as `store.limit` has them: fixed windows that start with the first take.
 * For what no store should be asked about, and for while it does not answer. Bounded: when it is
 * full, the oldest counter gives way. No timers.
 */
export class LocalCounters {
  readonly #counters = new Map<string, Counter>()
  readonly #clock: () => number
  readonly #maxCounters: number

  /**
   * @param clock - wall clock, epoch milliseconds
   * @param maxCounters - how many counters fit
   */
  constructor(clock: () => number, maxCounters: number = MAX_COUNTERS) {
    this.#clock = clock
    this.#maxCounters = maxCounters
  }

  /** Adds to a counter, less when `cost` is negative, never below 0. */
  take(key: string, cost: number, windowMs: number): LimitState {
    const now = this.#clock()
    const begun = this.#inForce(key, now) ?? { used: 0, endsAt: now + windowMs, windowMs }
    const used = Math.max(0, begun.used + cost)
    this.#counters.set(key, { ...begun, used })
    const [oldest] = this.#counters.keys()
    if (this.#counters.size > this.#maxCounters && oldest !== undefined) {
      this.#counters.delete(oldest)
    }
    return { used, resetsInMs: begun.endsAt - now }
  }

  /** Reads a counter; undefined when nothing was taken. */
  find(key: string): LimitState | undefined {
    const now = this.#clock()
    const counter = this.#inForce(key, now)
    return counter && { used: counter.used, resetsInMs: counter.endsAt - now }
  }

  /** How many counters are here, over or not. */
  get size(): number {
    return this.#counters.size
  }

  #inForce(key: string, now: number): Counter | undefined {
    const counter = this.#counters.get(key)
    if (counter === undefined) return undefined
    const leftMs = counter.endsAt - now
    // When the clock was set back, nobody waits for as long as it went.
    if (leftMs > 0 && leftMs <= counter.windowMs) return counter
    // Written anew it is a young counter, not an old one.
    this.#counters.delete(key)
    return undefined
  }
}
