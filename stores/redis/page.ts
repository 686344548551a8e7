import type { SessionRecord } from '../../lib/session.ts'
import type { Page } from '../../lib/store.ts'

const PLACE = /^(\d{1,16})\.(\d{1,16})\.([\w-]{24})$/

/**
 * One page of a user's sessions, most recently active first. The cursor is a place in this order,
 * not a count: what is active in between moves to the front and is not met again.
 */
export function pageOf(
  sessions: readonly SessionRecord[],
  limit: number,
  cursor: string | undefined,
): Page<SessionRecord> {
  const place = cursor === undefined ? null : placeFrom(cursor)
  if (place === undefined) return { items: [], next: null }
  const sorted = sessions.toSorted((a, b) => compare(placeOf(a), placeOf(b)))
  const rest =
    place === null ? sorted : sorted.filter((session) => compare(placeOf(session), place) > 0)
  const items = rest.slice(0, limit)
  const last = items.at(-1)
  return {
    items,
    next: last !== undefined && rest.length > items.length ? placeOf(last).join('.') : null,
  }
}

type Place = readonly [lastSeenAt: number, createdAt: number, sid: string]

function placeOf({ lastSeenAt, createdAt, sid }: SessionRecord): Place {
  return [lastSeenAt, createdAt, sid]
}

function compare(a: Place, b: Place): number {
  if (a[0] !== b[0]) return b[0] - a[0]
  if (a[1] !== b[1]) return b[1] - a[1]
  return a[2] < b[2] ? -1 : Number(a[2] > b[2])
}

function placeFrom(cursor: string): Place | undefined {
  const match = PLACE.exec(cursor)
  return match === null ? undefined : [Number(match[1]), Number(match[2]), match[3] ?? '']
}
