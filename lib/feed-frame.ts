import { parseJsonObject } from './access-token-format.ts'
import { REVOKED } from './heard-set.ts'
import { isIdentifier } from './identifier.ts'
import type { FeedEntry } from './store.ts'

/** How the feed goes over the wire: the data of a `feed` event. */
export interface FeedFrame {
  readonly entries: readonly FeedEntry[]
  /** There is more to come at once: what was sent so far is not the whole. */
  readonly more: boolean
  /**
   * Up to when everything is in what was sent so far, on the steady clock of the node that sends it,
   * milliseconds. What that clock says means nothing but in comparison with `openedAt`.
   */
  readonly asOf: number
  /** The node's wall clock, epoch milliseconds. */
  readonly now: number
}

/** The name of the event that begins a stream; its data is an object with `clock`. */
export const OPEN_EVENT = 'open'
/** The name of all others. */
export const FEED_EVENT = 'feed'

/** The text of an event that begins a stream: what the sender's steady clock says. */
export function formatOpen(clock: number): string {
  return `event: ${OPEN_EVENT}\ndata: ${JSON.stringify({ clock: Math.ceil(clock) })}\n\n`
}

/**
 * The text of a `feed` event. JSON has no infinity: what is revoked has no `ver`.
 *
 * @param id - where to resume; undefined while the whole has not been sent
 */
export function formatFrame({ entries, more, asOf, now }: FeedFrame, id?: string): string {
  const data = {
    entries: entries.map(({ sid, ver }) => (ver === REVOKED ? { sid } : { sid, ver })),
    ...(more ? { more } : {}),
    as_of: Math.floor(asOf),
    now,
  }
  const head = id === undefined ? '' : `id: ${id}\n`
  return `${head}event: ${FEED_EVENT}\ndata: ${JSON.stringify(data)}\n\n`
}

/**
 * Reads what {@link formatOpen} wrote.
 *
 * @throws {TypeError} when it is anything else
 */
export function parseOpen(data: string): number {
  const clock = parseJsonObject(data)?.['clock']
  if (typeof clock !== 'number') throw malformed()
  return clock
}

/**
 * Reads the data that {@link formatFrame} wrote. Members it does not know are of a later version.
 *
 * @throws {TypeError} when it is anything else: what was not understood must not count as heard
 */
export function parseFrame(data: string): FeedFrame {
  const members = parseJsonObject(data)
  if (members === undefined) throw malformed()
  const { entries, more = false, as_of: asOf, now } = members
  const isWhole =
    Array.isArray(entries) &&
    typeof more === 'boolean' &&
    typeof asOf === 'number' &&
    typeof now === 'number'
  if (!isWhole) throw malformed()
  return { entries: entries.map(parseEntry), more, asOf, now }
}

function parseEntry(entry: unknown): FeedEntry {
  if (typeof entry !== 'object' || entry === null) throw malformed()
  const { sid, ver = REVOKED }: { sid?: unknown; ver?: unknown } = entry
  if (!isIdentifier(sid) || typeof ver !== 'number' || !(ver >= 0)) throw malformed()
  return { sid, ver }
}

function malformed(): TypeError {
  return new TypeError('the revocation stream is not of this protocol')
}
