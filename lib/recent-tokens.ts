import type { IssuedAccessToken } from './access-token-issuer.ts'

/** What {@link RecentTokens} is made of. */
export interface RecentTokensOptions {
  /** Longest life of a token, milliseconds. */
  readonly ttlMs: number
  /** How many tokens are kept at most. */
  readonly maxTokens: number
  /** Epoch milliseconds. */
  readonly clock: () => number
}

interface Recent {
  readonly token: Promise<IssuedAccessToken>
  readonly madeAt: number
  /** Epoch milliseconds: half of its life is over then. */
  freshUntil: number
}

/**
 * Tokens that were made lately, so that a request costs a signature only now and then. One is used
 * until half of its life is over: who gets it has the other half. Requests that come together share
 * the signature that is under way; one that failed is not remembered.
 *
 * Whether a token that is found here may still be used is for the caller to say.
 */
export class RecentTokens {
  readonly #options: RecentTokensOptions
  // Two maps take turns: bounded, and what is not asked for is gone with the second turn.
  #young = new Map<string, Recent>()
  #old = new Map<string, Recent>()
  #turnedAt = -Infinity

  constructor(options: RecentTokensOptions) {
    this.#options = options
  }

  /**
   * The token made for `key` lately, else a new one.
   *
   * @param key - everything that decides what is in the token, but its time
   * @param make - makes one; what it throws is thrown
   */
  async get(key: string, make: () => Promise<IssuedAccessToken>): Promise<string> {
    const now = this.#options.clock()
    const known = this.#young.get(key) ?? this.#old.get(key)
    if (known !== undefined && known.madeAt <= now && now < known.freshUntil) {
      return (await known.token).token
    }
    const made: Recent = {
      token: make(),
      madeAt: now,
      freshUntil: now + this.#options.ttlMs / 2,
    }
    this.#put(key, made)
    try {
      const { token, expiresAt } = await made.token
      made.freshUntil = Math.min(made.freshUntil, now + (expiresAt - now) / 2)
      return token
    } catch (error) {
      for (const tokens of [this.#young, this.#old]) {
        // Another one may have taken its place.
        if (tokens.get(key) === made) tokens.delete(key)
      }
      throw error
    }
  }

  /** How many tokens are here, good or not. */
  get size(): number {
    return this.#young.size + this.#old.size
  }

  #put(key: string, made: Recent): void {
    const { ttlMs, maxTokens } = this.#options
    const isFull = this.#young.size >= maxTokens / 2 && !this.#young.has(key)
    if (isFull || Math.abs(made.madeAt - this.#turnedAt) >= ttlMs / 2) {
      this.#old = this.#young
      this.#young = new Map()
      this.#turnedAt = made.madeAt
    }
    this.#young.set(key, made)
  }
}
