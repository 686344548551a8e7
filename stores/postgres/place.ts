import type { SessionRecord } from '../../lib/session.ts'

const PLACE = /^(\d{1,15})\.(\d{1,15})\.([\w-]{24})$/

/** The cursor after a session: a place in the order of the list, not a count. */
export function placeOf({ lastSeenAt, createdAt, sid }: SessionRecord): string {
  return `${lastSeenAt}.${createdAt}.${sid}`
}

/** Where to read on; undefined when no page gave this cursor out. */
export function placeFrom(cursor: string): [number, number, string] | undefined {
  const match = PLACE.exec(cursor)
  return match === null ? undefined : [Number(match[1]), Number(match[2]), match[3] ?? '']
}
