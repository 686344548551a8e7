import { randomBytes } from 'node:crypto'
import type { FeedEntry, FeedPage, FeedReadInput } from '../../lib/store.ts'

const BATCH = 1000

interface Logged {
  readonly at: number
  readonly entry: FeedEntry
}

/**
 * The feed: numbered entries, trimmed by time only. A cursor is this feed's name and the number of
 * the last entry that was read; one of another feed, or of none, reads everything and says that
 * something may be missing.
 *
 * @internal
 */
export class MemoryFeed {
  readonly #name = randomBytes(9).toString('base64url')
  readonly #now: () => number
  readonly #retentionMs: number
  readonly #waiting = new Set<() => void>()
  #log: Logged[] = []
  /** Where in the log the retained entries begin. */
  #head = 0
  /** How many entries were trimmed: the number of the newest one that is gone. */
  #trimmed = 0
  #closed = false

  constructor(now: () => number, retentionMs: number) {
    this.#now = now
    this.#retentionMs = retentionMs
  }

  append(entry: FeedEntry): void {
    this.trim()
    this.#log.push({ at: this.#now(), entry: Object.freeze(entry) })
    for (const wake of this.#waiting) wake()
  }

  async read({ cursor, waitMs, signal }: FeedReadInput): Promise<FeedPage> {
    if (waitMs > 0 && this.#parse(cursor) === this.#last) await this.#entryOr(waitMs, signal)
    if (this.#closed) throw new Error('the memory store is closed')
    this.trim()
    const from = this.#parse(cursor)
    const complete = from !== undefined && from >= this.#trimmed
    const start = complete ? this.#head + from - this.#trimmed : this.#head
    const batch = this.#log.slice(start, start + BATCH)
    const read = this.#last - (this.#log.length - start - batch.length)
    return {
      entries: batch.map(({ entry }) => entry),
      cursor: `${this.#name}.${read}`,
      more: read < this.#last,
      complete,
      rolledBack: false,
      now: this.#now(),
    }
  }

  /** Forgets what is older than the retention. */
  trim(): void {
    const oldestAt = this.#now() - this.#retentionMs
    for (let first = this.#log[this.#head]; first !== undefined && first.at < oldestAt;) {
      this.#trimmed++
      first = this.#log[++this.#head]
    }
    // Only now and then, so that trimming costs O(1) an entry.
    if (this.#head * 2 > this.#log.length) {
      this.#log = this.#log.slice(this.#head)
      this.#head = 0
    }
  }

  /** Refuses further reads, the waiting ones included. */
  close(): void {
    this.#closed = true
    for (const wake of this.#waiting) wake()
  }

  /** The number of the newest entry. */
  get #last(): number {
    return this.#trimmed + this.#log.length - this.#head
  }

  /** The number in a cursor that this feed gave out; undefined for any other text. */
  #parse(cursor: string | null): number | undefined {
    if (cursor === null) return this.#trimmed
    const [name, number = '', ...rest] = cursor.split('.', 3)
    if (name !== this.#name || rest.length > 0 || !/^\d{1,16}$/.test(number)) return undefined
    return Number(number) <= this.#last ? Number(number) : undefined
  }

  /** Resolves at the next append, at the signal, at close, or when the time is up. */
  async #entryOr(waitMs: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        clearTimeout(timer)
        signal.removeEventListener('abort', wake)
        this.#waiting.delete(wake)
        resolve()
      }
      const timer = setTimeout(wake, waitMs).unref()
      signal.addEventListener('abort', wake)
      this.#waiting.add(wake)
    })
  }
}
