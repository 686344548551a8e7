import type { SessionRecord } from './session.ts'
import { touchIntervalMs } from './session.ts'

/** What the near cache has to know of the feed. */
export interface NearCacheFeed {
  blindness(): unknown
  isRevoked(sid: string): boolean
  oldestGoodVer(sid: string): number
  /** The store's clock less this node's, milliseconds. */
  readonly clockOffsetMs: number
}

/** What a near cache is made of. */
export interface NearCacheOptions {
  readonly feed: NearCacheFeed
  /** How many sessions it holds at most. */
  readonly maxSessions: number
  /** The app's idle timeout: how long a session may go without a touch depends on it. */
  readonly idleTimeoutMs: number
  /** Wall clock, epoch milliseconds. */
  readonly clock: () => number
}

interface Entry {
  readonly session: SessionRecord
  /** By the store's clock: from here on the store wants to hear of the session's activity again. */
  readonly until: number
}

/**
 * A node's in-process copy of sessions, so that most session checks cost no round trip. The feed
 * keeps it honest:
 *
 * - what the feed said is asked first, on every hit: a revoked session is nobody's, one whose
 *   attributes changed is read again;
 * - what was read before the news came is not put in after it: a fill is held against the feed too,
 *   and a break in the feed between question and answer voids the answer;
 * - a node that is blind uses none of it, and a break of the feed empties it;
 * - an entry ends when the session's next touch is due, so that being cached never makes a session
 *   look idle, and no later than the session itself.
 *
 * Requests share what is here, so it is frozen to its depths. The app's `data` of a session is not in
 * the feed: here it may be up to a minute old.
 */
export class NearCache {
  readonly #options: NearCacheOptions
  #young = new Map<string, Entry>()
  #old = new Map<string, Entry>()
  #breaks = 0

  constructor(options: NearCacheOptions) {
    this.#options = options
  }

  /** The session, if it is here and nothing speaks against it. */
  find(sid: string): SessionRecord | undefined {
    const entry = this.#young.get(sid) ?? this.#old.get(sid)
    if (entry === undefined || !this.#isGood(entry)) return undefined
    return entry.session
  }

  /**
   * Asks the store and keeps the answer, unless news came in between.
   *
   * @param ask - the store's check, which touches the session
   */
  async fill(ask: () => Promise<SessionRecord>): Promise<SessionRecord> {
    const breaks = this.#breaks
    const session = deepFreeze(await ask())
    const until = Math.min(
      session.lastSeenAt + touchIntervalMs(this.#options.idleTimeoutMs),
      session.idleDeadline,
      session.absoluteDeadline,
    )
    const entry = { session, until }
    if (breaks === this.#breaks && this.#isGood(entry)) this.#put(entry)
    return session
  }

  /** Forgets a session: this node has just changed it. */
  drop(sid: string): void {
    this.#young.delete(sid)
    this.#old.delete(sid)
    // A check that is under way may have read what was before the change.
    this.#breaks++
  }

  /** Forgets everything: something may have been missed. */
  clear(): void {
    this.#young = new Map()
    this.#old = new Map()
    this.#breaks++
  }

  /** How many sessions are here, good or not. */
  get size(): number {
    return this.#young.size + this.#old.size
  }

  #isGood({ session, until }: Entry): boolean {
    const { feed, clock } = this.#options
    return (
      !feed.isRevoked(session.sid) &&
      session.ver >= feed.oldestGoodVer(session.sid) &&
      clock() + feed.clockOffsetMs < until &&
      feed.blindness() === null
    )
  }

  /** Two maps take turns: bounded, and no hit ever reorders anything. */
  #put(entry: Entry): void {
    const { sid } = entry.session
    const { maxSessions } = this.#options
    const half = Math.max(1, Math.floor(maxSessions / 2))
    // What is read again needs no room.
    if (this.#young.size >= half && !this.#young.has(sid)) {
      // Of one session at most there is no half.
      this.#old = 2 * half > maxSessions ? new Map() : this.#young
      this.#young = new Map()
    }
    this.#young.set(sid, entry)
  }
}

function deepFreeze<Value>(value: Value): Value {
  if (typeof value === 'object' && value !== null) {
    for (const member of Object.values(value)) deepFreeze(member)
    Object.freeze(value)
  }
  return value
}
