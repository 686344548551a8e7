import { hash } from 'node:crypto'
import { AuthError } from './errors.ts'
import type { EventFields, Events } from './events.ts'
import { LocalCounters } from './local-counters.ts'
import type { RateLimitName } from './rate-limit-options.ts'
import type { LimitState } from './store.ts'
import type { Limit, StoreLimiter, Take } from './store-limiter.ts'
import { createStoreLimiter } from './store-limiter.ts'

/** What a counter counts: kind and names, in their order. */
export type LimitKey = readonly string[]

/** Whom an event about a limit is about. */
export type LimitSubject = Pick<EventFields, 'user' | 'sessionId' | 'request'>

/** A counter's name: no name of a user or a network reaches a store, or stays in memory, as it is. */
export function limitName(kind: string, key: LimitKey): string {
  return hash('sha256', JSON.stringify([kind, ...key]), 'base64url')
}

/** What one limit works with. */
export interface RateLimitParts {
  readonly name: RateLimitName
  readonly limit: Limit
  /** `store.limit.take`; absent for what no store is asked about. */
  readonly take?: Take
  readonly clock: () => number
  readonly events: Pick<Events, 'security' | 'operational'>
}

/** One limit: counts by key, and reports once when a key is over it. */
export class CountedLimit {
  readonly #parts: RateLimitParts
  readonly #limiter: StoreLimiter
  readonly #reported: LocalCounters

  constructor(parts: RateLimitParts) {
    const { limit, take, clock, events } = parts
    const local = new LocalCounters(clock)
    const here: Take = (key, cost, windowMs) => local.take(key, cost, windowMs)
    this.#parts = parts
    this.#reported = new LocalCounters(clock)
    this.#limiter = createStoreLimiter({
      limit,
      take: take ?? here,
      ...(take && { insurance: here }),
      onFailure: (error) =>
        events.operational('store_failure', { result: 'failure', cause: 'limit', error }),
    })
  }

  get max(): number {
    return this.#parts.limit.max
  }

  /** Counts one more, and says how things stand. Never rejects. */
  async take(key: LimitKey, about: LimitSubject): Promise<LimitState & { readonly over: boolean }> {
    const name = this.#nameOf(key)
    const state = await this.#limiter.take(name)
    // Who crosses the line reports, on whichever node that is; what is given back may cross it twice.
    const crossed = state.used === this.max + 1
    if (crossed && this.#reported.take(name, 1, Math.max(1, state.resetsInMs)).used === 1) {
      this.#report(about)
    }
    return { ...state, over: state.used > this.max }
  }

  /** Takes one back, in the background: it was none of those that count. */
  giveBack(key: LimitKey): void {
    void this.#limiter.giveBack(this.#nameOf(key))
  }

  #nameOf(key: LimitKey): string {
    return limitName(this.#parts.name, key)
  }

  #report(about: LimitSubject): void {
    const { name, limit, events } = this.#parts
    events.security('excess_rate_limit_exceeded', {
      ...about,
      result: 'failure',
      cause: name,
      detail: { max: limit.max, window_s: limit.windowMs / 1000 },
    })
  }
}

/**
 * What whoever is over a limit hears: 429 (RFC 6585 §4), with `Retry-After` in whole seconds, at
 * least 1.
 *
 * @param resetsInMs - until the counter starts anew
 */
export function rateLimited(resetsInMs: number): AuthError {
  const seconds = Math.max(1, Math.ceil(resetsInMs / 1000))
  return new AuthError('rate_limited', 'too many of these; wait, then try again', {
    headers: { 'Retry-After': String(seconds) },
  })
}
