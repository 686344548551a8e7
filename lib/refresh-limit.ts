import { LocalCounters } from './local-counters.ts'
import type { CountedLimit, LimitSubject } from './rate-limit.ts'

/**
 * The limit of refreshes, which no refresh waits for: counting goes on beside the rotation, and what
 * it finds out holds from the next one on. So a session that has used up its limit is held by this
 * node until the window ends; each other node lets one more through before it knows too.
 */
export class RefreshLimit {
  readonly #limit: CountedLimit
  readonly #held: LocalCounters

  /** @param clock - wall clock, epoch milliseconds */
  constructor(limit: CountedLimit, clock: () => number) {
    this.#limit = limit
    this.#held = new LocalCounters(clock)
  }

  /**
   * Counts a refresh of a session whose token's MAC has been checked.
   *
   * @returns null when it may go on; else for how long the session is held, milliseconds
   */
  count(sid: string, about: LimitSubject): number | null {
    const held = this.#held.find(sid)
    if (held === undefined) {
      void this.#countInStore(sid, about)
      return null
    }
    // The first that is refused is counted, so that the node on which it was reports it.
    if (held.used === 1) void this.#limit.take([sid], about)
    this.#held.take(sid, 1, held.resetsInMs)
    return held.resetsInMs
  }

  async #countInStore(sid: string, about: LimitSubject): Promise<void> {
    const { used, resetsInMs } = await this.#limit.take([sid], about)
    const isFull = used >= this.#limit.max
    if (isFull && this.#held.find(sid) === undefined) {
      this.#held.take(sid, 1, Math.max(1, resetsInMs))
    }
  }
}
