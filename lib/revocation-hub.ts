import { AuthError } from './errors.ts'
import { formatFrame, formatOpen } from './feed-frame.ts'
import type { BlindCause } from './feed.ts'
import type { FeedEntry } from './store.ts'
import { unref } from './unref.ts'

/** A connection that is told of the feed. */
export interface RevocationListener {
  /** The service it is of. */
  readonly service: string
  /** Takes a text to send. Says whether it can take another at once. */
  write(text: string): boolean
  /** Resolves when it can take another, or is over. */
  drained(): Promise<void>
  /** How many bytes wait to be sent. */
  readonly waitingBytes: number
  /** Ends it after what was written. The listener will be back. */
  end(): void
  /** Ends it at once. */
  cut(): void
}

/** What this node knows of the feed, by its follower. */
export interface KnownFeed {
  blindness(): BlindCause | null
  /** All that is remembered as void or changed. */
  entries(): Iterable<FeedEntry>
  /** Up to when nothing is missing, on the monotonic clock. */
  readonly knownAt: number
  /** The store's clock less this node's, in milliseconds. */
  readonly clockOffsetMs: number
}

interface Member {
  readonly listener: RevocationListener
  /** It has been sent all that was known when it joined. */
  whole: boolean
  readonly timer: ReturnType<typeof setTimeout>
}

interface Heard extends FeedEntry {
  /** The store's clock when this node heard it: not before it was appended. */
  readonly at: number
}

/** How many connections one node serves, of all services together. */
const MAX_LISTENERS = 1000
/** What may wait to be sent to one; who is slower is cut and resumes. */
const MAX_WAITING_BYTES = 1024 * 1024
const PAGE = 500
const HEARTBEAT_MS = 900
const DRAIN_MS = 10_000
/** Its credential is asked for again at least this often. */
const MAX_LIFE_MS = 3_600_000
/** How many of the last entries are kept in their order, to resume from. */
const MAX_RECENT = 10_000
/** How far the clocks in ids may be apart, and nothing be missed: two nodes within `clockSkew` each. */
const OVERLAP_MS = 3 * 60_000
const ID = /^\d{1,15}$/

/**
 * Tells other services of the feed, from what this node's follower knows: whoever listens costs the
 * store nothing, whether one comes or all come back at once.
 *
 * The id of an event is a time on the store's clock up to which the listener has heard everything. So
 * every node can resume from it: what it heard itself no earlier than then is all that may be missing.
 * Where it no longer knows in which order it heard, it sends all that still matters.
 */
export class RevocationHub {
  readonly #feed: KnownFeed
  readonly #clock: () => number
  readonly #monotonic: () => number
  readonly #maxListeners: number
  readonly #members = new Set<Member>()
  #recent: Heard[] = []
  /** What was heard up to then is not in `recent` any more. */
  #forgotAt = -Infinity
  #beatAt = -Infinity
  #closed = false

  /**
   * @param feed - what this node knows
   * @param clock - wall clock, epoch milliseconds
   * @param monotonic - the clock of `feed.knownAt`
   */
  constructor(
    feed: KnownFeed,
    clock: () => number,
    monotonic: () => number = () => performance.now(),
    maxListeners: number = MAX_LISTENERS,
  ) {
    this.#feed = feed
    this.#clock = clock
    this.#monotonic = monotonic
    this.#maxListeners = maxListeners
  }

  /** How many listen. */
  get size(): number {
    return this.#members.size
  }

  /**
   * Makes sure that a listener of this service can be told everything.
   *
   * @throws {AuthError} `feed_unavailable` while this node is blind or ends, or has all the listeners it
   *   takes and none of a service that has more of them than this one would
   */
  refuseUnable(service: string): void {
    const hasRoom = !this.#isFull() || this.#dispensableFor(service) !== undefined
    if (!this.#closed && hasRoom && this.#feed.blindness() === null) return
    throw new AuthError('feed_unavailable', 'this node cannot tell of revocations now')
  }

  /**
   * Begins to tell a listener: first what it may have missed, then what comes.
   *
   * @param lastId - the id of the last event it has heard; undefined for one that has heard nothing
   * @returns what ends it, for when its connection has ended
   * @throws {AuthError} `feed_unavailable`, as {@link RevocationHub.refuseUnable}
   */
  join(listener: RevocationListener, lastId: string | undefined): () => void {
    this.refuseUnable(listener.service)
    const dispensable = this.#isFull() ? this.#dispensableFor(listener.service) : undefined
    if (dispensable !== undefined) this.#dismiss(dispensable)
    const timer = setTimeout(() => this.#dismiss(member), MAX_LIFE_MS * (0.8 + Math.random() * 0.2))
    unref(timer)
    const member: Member = { listener, whole: false, timer }
    this.#members.add(member)
    listener.write(`retry: 1000\n${formatOpen(this.#monotonic())}`)
    void this.#catchUp(member, this.#missedSince(lastId) ?? this.#feed.entries())
    return () => this.#forget(member)
  }

  /** Passes on what this node has just heard for the first time. */
  tell(entries: readonly FeedEntry[]): void {
    const at = this.#storeNow()
    for (const { sid, ver } of entries) this.#recent.push({ sid, ver, at })
    const excess = this.#recent.length - MAX_RECENT
    // Only now and then, so that forgetting costs O(1) an entry.
    if (excess > MAX_RECENT) {
      this.#forgotAt = this.#recent[excess - 1]?.at ?? at
      this.#recent = this.#recent.slice(excess)
    }
    for (let start = 0; start < entries.length && this.#members.size > 0; start += PAGE) {
      this.#broadcast(entries.slice(start, start + PAGE))
    }
  }

  /** This node knows everything up to a moment ago: the heartbeat. */
  beat(): void {
    const now = this.#monotonic()
    if (now - this.#beatAt < HEARTBEAT_MS || this.#feed.blindness() !== null) return
    this.#beatAt = now
    this.#broadcast([])
  }

  /** This node does not know any more: another one may. */
  lose(): void {
    for (const member of this.#members) this.#dismiss(member)
  }

  /** Ends all connections and takes no more. */
  close(): void {
    this.#closed = true
    this.lose()
  }

  #isFull(): boolean {
    return this.#members.size >= this.#maxListeners
  }

  /**
   * Whose place a listener of this service may take on a full node: the oldest of the service that has the
   * most. Undefined when this one would then have as many: places are shared, not passed around.
   */
  #dispensableFor(service: string): Member | undefined {
    const ofService = new Map<string, Member[]>()
    for (const member of this.#members) {
      const name = member.listener.service
      const others = ofService.get(name)
      if (others === undefined) ofService.set(name, [member])
      else others.push(member)
    }
    let most: readonly Member[] = []
    for (const members of ofService.values()) if (members.length > most.length) most = members
    const own = ofService.get(service)?.length ?? 0
    return own + 1 < most.length ? most[0] : undefined
  }

  #storeNow(): number {
    return this.#clock() + this.#feed.clockOffsetMs
  }

  /** The store's clock when nothing was missing. */
  #id(): string {
    const ageMs = this.#monotonic() - this.#feed.knownAt
    return String(Math.max(0, Math.floor(this.#storeNow() - ageMs)))
  }

  /** What a listener may not have heard; undefined when nobody knows. */
  #missedSince(lastId: string | undefined): Iterable<FeedEntry> | undefined {
    if (lastId === undefined || !ID.test(lastId)) return undefined
    const from = Number(lastId) - OVERLAP_MS
    const isOfTheFuture = Number(lastId) > this.#storeNow() + OVERLAP_MS
    if (from <= this.#forgotAt || isOfTheFuture) return undefined
    return this.#recent.filter(({ at }) => at >= from)
  }

  async #catchUp(member: Member, entries: Iterable<FeedEntry>): Promise<void> {
    let page: FeedEntry[] = []
    for (const entry of entries) {
      page.push(entry)
      if (page.length < PAGE) continue
      if (!this.#send(member, this.#frame(page, true))) await this.#drained(member.listener)
      if (!this.#members.has(member)) return
      page = []
    }
    member.whole = true
    this.#send(member, this.#frame(page, false))
  }

  /** Waits for a listener, and cuts one that takes nothing. */
  async #drained(listener: RevocationListener): Promise<void> {
    const timer = setTimeout(() => listener.cut(), DRAIN_MS)
    unref(timer)
    await listener.drained()
    clearTimeout(timer)
  }

  #broadcast(entries: readonly FeedEntry[]): void {
    const whole = this.#frame(entries, false)
    const part = this.#frame(entries, true)
    for (const member of this.#members) {
      // While it is catching up its own pages show that the connection lives.
      if (entries.length === 0 && !member.whole) continue
      this.#send(member, member.whole ? whole : part)
    }
  }

  #frame(entries: readonly FeedEntry[], more: boolean): string {
    const frame = { entries, more, asOf: this.#feed.knownAt, now: this.#clock() }
    return formatFrame(frame, more ? undefined : this.#id())
  }

  #send(member: Member, text: string): boolean {
    const { listener } = member
    if (listener.waitingBytes <= MAX_WAITING_BYTES) return listener.write(text)
    this.#forget(member)
    listener.cut()
    return false
  }

  #dismiss(member: Member): void {
    this.#forget(member)
    member.listener.end()
  }

  #forget(member: Member): void {
    clearTimeout(member.timer)
    this.#members.delete(member)
  }
}
