import { isOver } from '../../lib/rotation.ts'
import type { SessionRecord } from '../../lib/session.ts'
import type { Page } from '../../lib/store.ts'
import type { UserRef } from '../../lib/user.ts'

const SWEEP_STEPS = 16

interface Row {
  record: SessionRecord
  /** Counts up with each session opened; tells apart sessions of one millisecond. */
  readonly order: number
}

/**
 * The sessions, by id and by user. Whoever asks for a session that is over finds none, and the row
 * goes on that occasion.
 *
 * @internal
 */
export class SessionTable {
  readonly #rows = new Map<string, Row>()
  readonly #byUser = new Map<string, Set<Row>>()
  readonly #maxSessions: number
  #order = 0
  #sweeper: Iterator<Row> = this.#rows.values()
  /** No row is over before this instant; so long, a full table need not be searched again. */
  #nothingOverBefore = Infinity

  constructor(maxSessions: number) {
    this.#maxSessions = maxSessions
  }

  /** How many rows there are, over or not. */
  get size(): number {
    return this.#rows.size
  }

  /** The live session of this id. */
  find(sid: string, now: number): SessionRecord | undefined {
    const row = this.#rows.get(sid)
    if (row === undefined) return undefined
    if (!isOver(row.record, now)) return row.record
    this.remove(sid)
    return undefined
  }

  /** Writes a record, over the former one of this session if there is one. */
  put(record: SessionRecord): void {
    this.#nothingOverBefore = Math.min(this.#nothingOverBefore, nearerDeadline(record))
    const row = this.#rows.get(record.sid)
    if (row !== undefined) {
      row.record = record
      return
    }
    const added: Row = { record, order: this.#order++ }
    this.#rows.set(record.sid, added)
    const key = userKey(record.user)
    const rows = this.#byUser.get(key)
    if (rows === undefined) this.#byUser.set(key, new Set([added]))
    else rows.add(added)
  }

  /** Removes a row; none is no error. */
  remove(sid: string): void {
    const row = this.#rows.get(sid)
    if (row === undefined) return
    this.#rows.delete(sid)
    const key = userKey(row.record.user)
    const rows = this.#byUser.get(key)
    rows?.delete(row)
    if (rows?.size === 0) this.#byUser.delete(key)
  }

  /** A user's live sessions, most recently active first. */
  liveOf(user: UserRef, now: number): SessionRecord[] {
    return this.#sortedRows(user, now).map((row) => row.record)
  }

  /**
   * One page of a user's live sessions. The cursor is a place in the order, not a count: what is
   * active in between moves to the front and is not met again, so no walk shows a session twice.
   */
  page(user: UserRef, limit: number, cursor: string | undefined, now: number): Page<SessionRecord> {
    const place = cursor === undefined ? null : parsePlace(cursor)
    if (place === undefined) return { items: [], next: null }
    const rows = this.#sortedRows(user, now)
    const rest = place === null ? rows : rows.filter((row) => compare(placeOf(row), place) > 0)
    const items = rest.slice(0, limit)
    const last = items.at(-1)
    return {
      items: items.map((row) => row.record),
      next: last !== undefined && rest.length > items.length ? placeOf(last).join('.') : null,
    }
  }

  /** Throws when `added` more sessions do not fit. */
  reserve(added: number, now: number): void {
    if (this.#rows.size + added <= this.#maxSessions) return
    if (now >= this.#nothingOverBefore) this.sweep(this.#rows.size, now)
    if (this.#rows.size + added > this.#maxSessions) throw new Error('the memory store is full')
  }

  /** Looks at a few rows, next time at the ones after them; removes those that are over. */
  step(now: number): void {
    for (let step = 0; step < SWEEP_STEPS; step++) {
      const next = this.#sweeper.next()
      if (next.done) {
        this.#sweeper = this.#rows.values()
        return
      }
      if (isOver(next.value.record, now)) this.remove(next.value.record.sid)
    }
  }

  /** Removes at most `max` rows that are over and says how many. */
  sweep(max: number, now: number): number {
    let removed = 0
    let nearest = Infinity
    for (const { record } of this.#rows.values()) {
      if (!isOver(record, now)) nearest = Math.min(nearest, nearerDeadline(record))
      else if (removed === max) return removed
      else {
        this.remove(record.sid)
        removed++
      }
    }
    this.#nothingOverBefore = nearest
    return removed
  }

  clear(): void {
    this.#rows.clear()
    this.#byUser.clear()
  }

  #sortedRows(user: UserRef, now: number): Row[] {
    const rows = [...(this.#byUser.get(userKey(user)) ?? [])]
    const live = rows.filter((row) => !isOver(row.record, now))
    if (live.length < rows.length) {
      for (const row of rows) if (isOver(row.record, now)) this.remove(row.record.sid)
    }
    return live.toSorted((a, b) => compare(placeOf(a), placeOf(b)))
  }
}

type Place = readonly [lastSeenAt: number, createdAt: number, order: number]

function placeOf({ record, order }: Row): Place {
  return [record.lastSeenAt, record.createdAt, order]
}

/** Most recent activity first, then youngest first, then last opened first. */
function compare(a: Place, b: Place): number {
  return b[0] - a[0] || b[1] - a[1] || b[2] - a[2]
}

const PLACE = /^(\d{1,16})\.(\d{1,16})\.(\d{1,16})$/

function parsePlace(cursor: string): Place | undefined {
  const match = PLACE.exec(cursor)
  return match === null ? undefined : [Number(match[1]), Number(match[2]), Number(match[3])]
}

function nearerDeadline(record: SessionRecord): number {
  return Math.min(record.idleDeadline, record.absoluteDeadline)
}

/** Unambiguous for every pair: the tenant's length says where the id begins. @internal */
export function userKey({ tenant, id }: UserRef): string {
  return `${tenant.length}:${tenant}${id}`
}
