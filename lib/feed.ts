import { HeardSet, KEYS_ENTRY, REVOKED } from './heard-set.ts'
import type { FeedEntry, FeedPage, FeedReadInput } from './store.ts'
import { unref } from './unref.ts'

/**
 * Why a node cannot know that it has heard everything.
 * - `starting`: the retained feed has not been loaded yet
 * - `stale`: no read has completed for `maxStalenessMs`
 * - `gap`: entries were trimmed before this node read them
 * - `clock`: this node's clock and the store's are too far apart
 * - `overflow`: more was heard than may be remembered
 */
export type BlindCause = 'starting' | 'stale' | 'gap' | 'clock' | 'overflow'

/** A page as a reader of the feed gets it. */
export interface FeedPageRead extends FeedPage {
  /**
   * Up to when nothing is missing in what was read, on the follower's monotonic clock. For a reader
   * that is told of the feed by somebody else. @defaultValue when the read was sent
   */
  readonly knownAt?: number
}

/** What a follower needs and reports to. */
export interface FeedFollowerOptions {
  /** The store's `feed.read`, or what tells of it. */
  readonly read: (input: FeedReadInput) => Promise<FeedPageRead>
  /** Ends a session in the store; called again for what a rolled-back store may have lost. */
  readonly revoke: (sid: string) => Promise<unknown>
  /** How long an entry is remembered: longer than any access token that it voids. */
  readonly retentionMs: number
  /** How long after a read was sent its answer still counts as current. */
  readonly maxStalenessMs: number
  /** How far the two clocks may be apart. */
  readonly clockSkewMs: number
  /** How long the store may take to answer, beyond the wait it was asked for. */
  readonly deadlineMs: number
  /** Wall clock, epoch milliseconds. */
  readonly clock: () => number
  /** A clock that never goes back, milliseconds. @defaultValue `performance.now` */
  readonly monotonic?: () => number
  /** The node lost its sight (with the cause) or has it back (null). Called on changes only. */
  readonly onSight?: (cause: BlindCause | null) => void
  /** Something may have been missed: what was cached of sessions is worth nothing now. */
  readonly onBreak?: () => void
  /** The signing keys have changed, or may have: read them anew. */
  readonly onKeys?: () => void
  /** What was heard for the first time, from the feed or of this node itself. */
  readonly onNews?: (entries: readonly FeedEntry[]) => void
  /** A read has completed: up to when it was sent, nothing is missing. */
  readonly onComplete?: () => void
  /** A read failed; the follower goes on. */
  readonly onError?: (error: unknown) => void
  /** How long to wait at least after this failure, in milliseconds. @defaultValue 0 */
  readonly pauseAfter?: (error: unknown) => number
}

const WAIT_MS = 500
/** A follower lets a burst gather: the next read brings all of it. */
const PAUSE_AFTER_NEWS_MS = 20
const MIN_BACKOFF_MS = 50
const MAX_BACKOFF_MS = 1000
const HEAL_WINDOW_MS = 60_000
const HEAL_SPREAD_MS = 1000
/** After two revocations in a row that failed. */
const HEAL_PAUSE_MS = 200
const MAX_RECENT = 100_000
const MAX_HEARD = 1_000_000

/**
 * Follows the feed and knows, without asking anybody, which sessions are void.
 *
 * A completed read is the heartbeat: nothing is written for it. Freshness counts from when the read
 * was sent, on the larger of monotonic and wall time, so that neither a paused process nor a clock
 * that was set back makes old news look fresh.
 */
export class FeedFollower {
  readonly #options: FeedFollowerOptions
  readonly #monotonic: () => number
  readonly #heard: HeardSet
  readonly #stop = new AbortController()
  /** Revocations of the last minute, oldest first, for a store that forgot them. */
  #recent: { readonly sid: string; readonly at: number }[] = []
  #cursor: string | null = null
  #loaded = false
  #gap = false
  #clockOffsetMs = 0
  #sentMonotonic = -Infinity
  #sentWall = -Infinity
  #reported: BlindCause | null = 'starting'
  readonly #ready: Promise<void>
  #markReady: () => void = () => {}
  #loop: Promise<void> | undefined

  constructor(options: FeedFollowerOptions) {
    this.#options = options
    this.#monotonic = options.monotonic ?? (() => performance.now())
    this.#heard = new HeardSet(options.retentionMs, MAX_HEARD, this.#monotonic)
    this.#ready = new Promise((resolve) => {
      this.#markReady = resolve
    })
  }

  /** Begins to follow. Calling it again changes nothing. */
  start(): void {
    this.#loop ??= this.#follow()
  }

  /** Resolves once the retained feed has been loaded, or the follower was closed. */
  get ready(): Promise<void> {
    return this.#ready
  }

  /** Ends the loop and its wait. Resolves when the last read has ended. */
  async close(): Promise<void> {
    this.#stop.abort()
    this.#markReady()
    await this.#loop
  }

  /** Whether this session was heard to be revoked. */
  isRevoked(sid: string): boolean {
    return this.#heard.versionOf(sid) === REVOKED
  }

  /** The oldest `ver` of this session that is still good; 0 when nothing was heard. */
  oldestGoodVer(sid: string): number {
    return this.#heard.versionOf(sid) ?? 0
  }

  /** Takes note of changes, read from the feed or made by this node itself. */
  hear(entries: readonly FeedEntry[]): void {
    const now = this.#monotonic()
    const news = entries.filter((entry) => this.#heard.hear(entry))
    for (const { sid, ver } of news) if (ver === REVOKED) this.#recent.push({ sid, at: now })
    if (news.length > 0) this.#options.onNews?.(news)
    const firstKept = this.#recent.findIndex(({ at }) => now - at <= HEAL_WINDOW_MS)
    const excess = Math.max(
      firstKept === -1 ? this.#recent.length : firstKept,
      this.#recent.length - MAX_RECENT,
    )
    if (excess > 0) this.#recent = this.#recent.slice(excess)
  }

  /** Why this node is blind at this moment, null when it sees. */
  blindness(): BlindCause | null {
    if (!this.#loaded) return 'starting'
    if (this.#gap) return 'gap'
    if (this.stalenessMs() > this.#options.maxStalenessMs) return 'stale'
    if (Math.abs(this.#clockOffsetMs) > this.#options.clockSkewMs) return 'clock'
    return this.#heard.overflowed ? 'overflow' : null
  }

  /** How old the newest complete knowledge is, in milliseconds; Infinity before the first read. */
  stalenessMs(): number {
    return Math.max(this.#monotonic() - this.#sentMonotonic, this.#options.clock() - this.#sentWall)
  }

  /** The store's clock less this node's, in milliseconds, as of the last read. */
  get clockOffsetMs(): number {
    return this.#clockOffsetMs
  }

  /** Up to when nothing is missing, on the monotonic clock; -Infinity before the first read. */
  get knownAt(): number {
    return this.#sentMonotonic
  }

  /** All that is remembered as void or changed. */
  entries(): Iterable<FeedEntry> {
    return this.#heard.entries()
  }

  /** How many sessions are remembered as void or changed. */
  get heardCount(): number {
    return this.#heard.size
  }

  #isClosed(): boolean {
    return this.#stop.signal.aborted
  }

  async #follow(): Promise<void> {
    let backoffMs = MIN_BACKOFF_MS
    let more = false
    while (!this.#isClosed()) {
      try {
        const sentAt = this.#monotonic()
        const page = await this.#read(more || !this.#loaded ? 0 : WAIT_MS)
        more = page.more
        backoffMs = MIN_BACKOFF_MS
        this.#report()
        const startsOver = this.#cursor === null
        const didWait = this.#monotonic() - sentAt >= PAUSE_AFTER_NEWS_MS
        // A store that does not wait, or breaks again and again, is not asked in a hot loop either.
        const pauses = startsOver || (!more && (page.entries.length > 0 || !didWait))
        if (pauses) await this.#sleep(PAUSE_AFTER_NEWS_MS)
      } catch (error) {
        if (this.#isClosed()) return
        this.#options.onError?.(error)
        this.#report()
        const pauseMs = Math.max(backoffMs, this.#options.pauseAfter?.(error) ?? 0)
        await this.#sleep(pauseMs * (0.5 + Math.random() / 2))
        backoffMs = Math.min(backoffMs * 2, MAX_BACKOFF_MS)
      }
    }
  }

  async #read(waitMs: number): Promise<FeedPageRead> {
    const sentMonotonic = this.#monotonic()
    const sentWall = this.#options.clock()
    const page = await this.#withDeadline(waitMs)
    // What was heard is applied before freshness is claimed.
    this.#heard.turn()
    this.hear(page.entries)
    this.#clockOffsetMs = page.now - this.#options.clock()
    const mayHaveLost = page.rolledBack || !page.complete
    if (mayHaveLost || page.entries.some(({ sid }) => sid === KEYS_ENTRY)) this.#options.onKeys?.()
    if (page.rolledBack) this.#heal()
    if (!page.complete && this.#cursor !== null) {
      // Start over: what the retained feed no longer has voids no token that is still alive.
      this.#gap = true
      this.#cursor = null
      this.#options.onBreak?.()
      return { ...page, more: true }
    }
    this.#cursor = page.cursor
    if (page.more) return page
    if (page.knownAt === undefined) {
      this.#sentMonotonic = sentMonotonic
      this.#sentWall = sentWall
    } else if (page.knownAt > this.#sentMonotonic) {
      // What was known before is known still, though another node may lag behind the last one. Nobody
      // knows of time to come: it would look like sight long after the news have ended.
      const now = this.#monotonic()
      this.#sentMonotonic = Math.min(page.knownAt, now)
      this.#sentWall = this.#options.clock() - (now - this.#sentMonotonic)
    }
    this.#gap = !page.complete
    this.#loaded = true
    this.#markReady()
    this.#options.onComplete?.()
    return page
  }

  async #withDeadline(waitMs: number): Promise<FeedPageRead> {
    const call = new AbortController()
    const limitMs = waitMs + this.#options.deadlineMs
    const { signal } = this.#stop
    let giveUp: (reason: string) => void = () => {}
    const onStop = () => giveUp('closed')
    const late = new Promise<never>((_resolve, reject) => {
      giveUp = (reason) => {
        call.abort()
        reject(new Error(`feed.read: ${reason}`))
      }
    })
    const timer = setTimeout(() => giveUp(`no answer within ${limitMs} ms`), limitMs)
    unref(timer)
    signal.addEventListener('abort', onStop, { once: true })
    try {
      const read = this.#options.read({ cursor: this.#cursor, waitMs, signal: call.signal })
      return await Promise.race([read, late])
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', onStop)
    }
  }

  /** Ends again what was revoked lately: any surviving node repairs a store that lost its tail. */
  #heal(): void {
    this.#options.onBreak?.()
    const since = this.#monotonic() - HEAL_WINDOW_MS
    const lost = this.#recent.filter(({ at }) => at >= since)
    void this.#revokeAgain(lost.map(({ sid }) => sid))
  }

  async #revokeAgain(sids: readonly string[]): Promise<void> {
    // All nodes do the same at the same moment; the spread keeps them from doing it at once.
    await this.#sleep(Math.random() * HEAL_SPREAD_MS)
    // The feed may be back before the store is: what fails is tried again, after the others.
    const giveUpAt = this.#monotonic() + HEAL_WINDOW_MS
    const left = [...sids]
    let failed = false
    for (let sid = left.shift(); sid !== undefined; sid = left.shift()) {
      if (this.#isClosed() || this.#monotonic() > giveUpAt) return
      try {
        await this.#options.revoke(sid)
        failed = false
      } catch (error) {
        this.#options.onError?.(error)
        left.push(sid)
        if (failed) await this.#sleep(HEAL_PAUSE_MS)
        failed = true
      }
    }
  }

  #report(): void {
    const cause = this.blindness()
    if (cause === this.#reported) return
    const couldSee = this.#reported === null
    this.#reported = cause
    if (couldSee) this.#options.onBreak?.()
    this.#options.onSight?.(cause)
  }

  async #sleep(ms: number): Promise<void> {
    const { signal } = this.#stop
    await new Promise<void>((resolve) => {
      const wake = () => {
        clearTimeout(timer)
        signal.removeEventListener('abort', wake)
        resolve()
      }
      const timer = setTimeout(wake, ms)
      unref(timer)
      signal.addEventListener('abort', wake)
    })
  }
}
