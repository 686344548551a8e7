import RateLimiterRes from 'rate-limiter-flexible/lib/RateLimiterRes.js'
import RateLimiterStoreAbstract from 'rate-limiter-flexible/lib/RateLimiterStoreAbstract.js'
import type { LimitState } from './store.ts'

/** How much in how long. */
export interface Limit {
  /** How many are let through in a window. */
  readonly max: number
  readonly windowMs: number
}

/** A read leaves a counter behind where there was none: it goes at once. */
const READ_WINDOW_MS = 1000

/** Adds to a counter: `store.limit.take`, or what counts in this process. */
export type Take = (key: string, cost: number, windowMs: number) => LimitState | Promise<LimitState>

/** What a limiter is made of. */
export interface StoreLimiterOptions {
  readonly limit: Limit
  readonly take: Take
  /** Counts in this process while `take` fails. Without it, `take` must not fail. */
  readonly insurance?: Take
  /** Hears of every failure of `take`. */
  readonly onFailure?: (error: unknown) => void
}

/** Counts what is done, and says when it is too much. Never rejects: see `insurance`. */
export interface StoreLimiter {
  /** Adds one and says how many that makes. */
  take(key: string): Promise<LimitState>
  /** Takes one back: it was none of those that count. */
  giveBack(key: string): Promise<void>
  /** Whether anything was taken of this key, and not given back. */
  isCounted(key: string): Promise<boolean>
}

/**
 * Makes a limiter: rate-limiter-flexible on the store's own counters, so that it works on every store
 * there is. When the store fails or is late, its insurance limiter goes on in this process: limited
 * for each node, never unlimited, and nobody is refused because the store is away.
 */
export function createStoreLimiter(options: StoreLimiterOptions): StoreLimiter {
  const { limit, take, insurance, onFailure } = options
  const limiter = new OnStore(limit, take, onFailure, insurance && new OnStore(limit, insurance))
  return {
    take: async (key) => stateOf(limiter.consume(key)),
    async giveBack(key) {
      await stateOf(limiter.reward(key))
    },
    async isCounted(key) {
      const found = await limiter.get(key)
      return found !== null && found.consumedPoints > 0
    },
  }
}

/** What the package counts, of which it resolves with what is within the limit and rejects the rest. */
async function stateOf(counted: Promise<RateLimiterRes>): Promise<LimitState> {
  const result = await counted.catch((thrown: unknown) => {
    if (thrown instanceof RateLimiterRes) return thrown
    throw thrown
  })
  return { used: result.consumedPoints, resetsInMs: result.msBeforeNext }
}

/** The part of the package's contract for stores that counting and giving back need. */
class OnStore extends RateLimiterStoreAbstract {
  readonly #take: Take
  readonly #onFailure: ((error: unknown) => void) | undefined

  constructor(
    { max, windowMs }: Limit,
    take: Take,
    onFailure?: (error: unknown) => void,
    insurance?: OnStore,
  ) {
    super({
      storeClient: null,
      keyPrefix: '',
      points: max,
      duration: windowMs / 1000,
      ...(insurance && { insuranceLimiter: insurance }),
    })
    this.#take = take
    this.#onFailure = onFailure
  }

  async _upsert(key: string, cost: number, windowMs: number): Promise<LimitState> {
    return this.#count(key, cost, windowMs)
  }

  async _get(key: string): Promise<LimitState> {
    return this.#count(key, 0, READ_WINDOW_MS)
  }

  async #count(key: string, cost: number, windowMs: number): Promise<LimitState> {
    try {
      const state = await this.#take(key, cost, Math.round(windowMs))
      // No number is above any limit but NaN is not: that would be no limit at all.
      if (Number.isFinite(state.used) && Number.isFinite(state.resetsInMs)) return state
      throw new TypeError('limit.take answered no numbers')
    } catch (error) {
      this.#onFailure?.(error)
      throw error
    }
  }

  _getRateLimiterRes(_key: string, _changed: number, state: LimitState): RateLimiterRes {
    const remaining = Math.max(0, this.points - state.used)
    return new RateLimiterRes(remaining, state.resetsInMs, state.used)
  }
}
