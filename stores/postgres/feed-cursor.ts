/** Where a reader is: what it has seen is what these transactions wrote. */
export interface FeedCursor {
  /** Of which feed: another database has another. */
  readonly feedId: string
  /** Since when the server runs that was read. */
  readonly startedAt: string
  /** When it was read, by the server's clock. */
  readonly at: number
  /** The newest entry that was read, 0 for none, and when that was appended. */
  readonly newestSeq: number
  readonly newestAt: number
  /** All that is visible in this snapshot has been read; null: nothing yet. */
  readonly seen: string | null
  /** Amid pages: the snapshot that is being read, up to this entry. */
  readonly page: { readonly snapshot: string; readonly after: number } | null
}

const SNAPSHOT = String.raw`\d{1,20}:\d{1,20}:(?:\d{1,20}(?:,\d{1,20})*)?`
const CURSOR = new RegExp(
  String.raw`^(\w{1,64})\.(\d{1,20})\.(\d{1,15})\.(\d{1,15})\.(\d{1,15})\.(${SNAPSHOT})?\.(?:(${SNAPSHOT})\.(\d{1,15}))?$`,
)

export function formatCursor(cursor: FeedCursor): string {
  const { feedId, startedAt, at, newestSeq, newestAt, seen, page } = cursor
  const amid = page === null ? '' : `${page.snapshot}.${page.after}`
  return `${feedId}.${startedAt}.${at}.${newestSeq}.${newestAt}.${seen ?? ''}.${amid}`
}

/** Undefined for a text that {@link formatCursor} did not make. */
export function parseCursor(text: string): FeedCursor | undefined {
  const match = CURSOR.exec(text)
  if (match === null) return undefined
  const [, feedId = '', startedAt = '', at, newestSeq, newestAt, seen, snapshot, after] = match
  return {
    feedId,
    startedAt,
    at: Number(at),
    newestSeq: Number(newestSeq),
    newestAt: Number(newestAt),
    seen: seen ?? null,
    page: snapshot === undefined ? null : { snapshot, after: Number(after) },
  }
}

/**
 * The transactions a snapshot does not see: all from `from` on, and those that were running. Text of
 * `pg_snapshot`: xmin:xmax:xip-list.
 */
export function unseenBy(snapshot: string): {
  readonly from: string
  readonly running: readonly string[]
} {
  const [, from = '0', running = ''] = snapshot.split(':')
  return { from, running: running === '' ? [] : running.split(',') }
}
