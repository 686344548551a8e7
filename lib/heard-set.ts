import type { FeedEntry } from './store.ts'

/** Heard for a session that was revoked: no `ver` is as new. */
export const REVOKED: number = Infinity

/**
 * The name of feed entries that tell of the signing keys; `ver` is the version of their document. No
 * session is called so: session ids have 24 characters.
 */
export const KEYS_ENTRY = 'keys'

/**
 * What a node remembers of the feed: per session id the highest `ver` heard.
 *
 * Two maps take turns, so that forgetting costs nothing per entry: an entry lives at least
 * `retentionMs` and at most twice as long. Keeping it longer is harmless, because session ids are
 * never used again and a version never goes back.
 */
export class HeardSet {
  readonly #retentionMs: number
  readonly #maxEntries: number
  readonly #monotonic: () => number
  #young = new Map<string, number>()
  #old = new Map<string, number>()
  #turnedAt: number
  #overflowedAt = -Infinity

  /**
   * @param retentionMs - how long an entry is kept at least
   * @param maxEntries - entries per map
   * @param monotonic - a clock that never goes back, milliseconds
   */
  constructor(retentionMs: number, maxEntries: number, monotonic: () => number) {
    this.#retentionMs = retentionMs
    this.#maxEntries = maxEntries
    this.#monotonic = monotonic
    this.#turnedAt = monotonic()
  }

  /** Remembers an entry. Says whether it was news. */
  hear(entry: FeedEntry): boolean {
    this.turn()
    if (entry.ver <= (this.versionOf(entry.sid) ?? -1)) return false
    // What replaces an older entry needs no room.
    const fits = this.#young.size < this.#maxEntries || this.#young.has(entry.sid)
    if (fits) this.#young.set(entry.sid, entry.ver)
    else this.#overflowedAt = this.#monotonic()
    return true
  }

  /** The highest version heard of this session; undefined when nothing was heard. */
  versionOf(sid: string): number | undefined {
    return this.#young.get(sid) ?? this.#old.get(sid)
  }

  /** Whether entries had to be dropped that may still matter. */
  get overflowed(): boolean {
    return this.#monotonic() - this.#overflowedAt < this.#retentionMs
  }

  /**
   * All that is remembered. What is heard meanwhile may or may not be among it.
   *
   * @yields the highest version heard of each session
   */
  *entries(): Generator<FeedEntry> {
    for (const map of [this.#old, this.#young]) {
      for (const [sid, ver] of map) yield { sid, ver }
    }
  }

  /** How many entries are remembered, for metrics. */
  get size(): number {
    return this.#young.size + this.#old.size
  }

  /** Forgets what is old enough. Cheap; called with every completed read. */
  turn(): void {
    const now = this.#monotonic()
    if (now - this.#turnedAt < this.#retentionMs) return
    this.#old = now - this.#turnedAt < 2 * this.#retentionMs ? this.#young : new Map()
    this.#young = new Map()
    this.#turnedAt = now
  }
}
