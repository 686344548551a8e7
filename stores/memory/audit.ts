import type { AuditEvent, AuditQuery, Page } from '../../lib/store.ts'
import { isSameUser } from '../../lib/user.ts'
import { frozenEvent } from './frozen.ts'

/** The newest audit events, in the order they came. @internal */
export class MemoryAudit {
  readonly #maxEvents: number
  readonly #ring: AuditEvent[] = []
  /** How many events were ever appended; event number n is in slot n modulo the size. */
  #count = 0

  constructor(maxEvents: number) {
    this.#maxEvents = maxEvents
  }

  append(events: readonly AuditEvent[]): void {
    for (const event of events.map(frozenEvent)) {
      this.#ring[this.#count % this.#maxEvents] = event
      this.#count++
    }
  }

  /** The cursor is the number of the last event shown: what comes in later does not shift pages. */
  query(query: AuditQuery): Page<AuditEvent> {
    const items: AuditEvent[] = []
    let shown = 0
    for (let number = this.#startOf(query.cursor); number > this.#oldest; number--) {
      const event = this.#ring[(number - 1) % this.#maxEvents]
      if (event === undefined || !matches(event, query)) continue
      if (items.length === query.limit) return { items, next: String(shown) }
      items.push(event)
      shown = number
    }
    return { items, next: null }
  }

  clear(): void {
    this.#ring.length = 0
    this.#count = 0
  }

  /** The number of the newest event that is gone, counting from 1. */
  get #oldest(): number {
    return Math.max(0, this.#count - this.#maxEvents)
  }

  #startOf(cursor: string | undefined): number {
    if (cursor === undefined) return this.#count
    return /^\d{1,16}$/.test(cursor) ? Math.min(this.#count, Number(cursor) - 1) : 0
  }
}

function matches(event: AuditEvent, { user, sessionId, type, from, to }: AuditQuery): boolean {
  return (
    (user === undefined || (event.user !== undefined && isSameUser(event.user, user))) &&
    (sessionId === undefined || event.sessionId === sessionId) &&
    (type === undefined || event.type === type) &&
    (from === undefined || event.at >= from) &&
    (to === undefined || event.at < to)
  )
}
