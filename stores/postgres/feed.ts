import { REVOKED } from '../../lib/heard-set.ts'
import type { FeedEntry, FeedPage, FeedReadInput } from '../../lib/store.ts'
import type { FeedCursor } from './feed-cursor.ts'
import { formatCursor, parseCursor, unseenBy } from './feed-cursor.ts'
import type { Listener } from './listener.ts'
import type { Names } from './names.ts'
import type { Row } from './record.ts'
import { text } from './record.ts'
import type { Statement } from './runner.ts'
import { statement } from './runner.ts'
import { clock } from './sql.ts'

const BATCH = 1000
/** Longest wait for a notification: the read is the truth, NOTIFY only saves waiting for it. */
const LISTENING_PAUSE_MS = 500
const POLLING_PAUSE_MS = 200

/**
 * Follows the feed table. Transactions commit in another order than they take numbers, and some stay
 * open for minutes; so a cursor does not say up to which number it has read, but which transactions it
 * has seen. What it has not seen is either newer than all it saw, or was running then: exact, and both
 * are found by index.
 */
export class PostgresFeed {
  readonly retentionMs: number
  readonly #listener: Listener
  readonly #clock: () => number | null
  readonly #newer: Statement
  readonly #all: Statement
  /** The newest cursor that was given out, and how often the listener was woken before it was read. */
  #latest: { readonly cursor: string; readonly wakes: number } | undefined

  constructor(options: {
    readonly listener: Listener
    readonly names: Names
    readonly retentionMs: number
    readonly clock: () => number | null
  }) {
    this.#listener = options.listener
    this.#clock = options.clock
    this.retentionMs = options.retentionMs
    this.#newer = statement('feed_newer', newerSql(options.names))
    this.#all = statement('feed_all', allSql(options.names))
  }

  async read({ cursor, waitMs, signal }: FeedReadInput): Promise<FeedPage> {
    const endsAt = performance.now() + waitMs
    let page: FeedPage | undefined
    for (let from = cursor; ; from = page.cursor) {
      const mayWait = page !== undefined || this.#isUpToDate(from)
      const leftMs = endsAt - performance.now()
      if (mayWait && leftMs > 0 && !signal.aborted) {
        const pauseMs = this.#listener.listens ? LISTENING_PAUSE_MS : POLLING_PAUSE_MS
        await this.#listener.wait(Math.min(leftMs, pauseMs), this.#latest?.wakes ?? 0, signal)
      }
      page = await this.#readOnce(from, signal)
      const isNews = page.entries.length > 0 || page.more || page.rolledBack || !page.complete
      if (isNews || signal.aborted || performance.now() >= endsAt) return page
    }
  }

  /** Whether there was nothing after this cursor when it was given out, and no word since. */
  #isUpToDate(cursor: string | null): boolean {
    const latest = this.#latest
    return latest !== undefined && latest.cursor === cursor && latest.wakes === this.#listener.wakes
  }

  async #readOnce(asked: string | null, signal: AbortSignal): Promise<FeedPage> {
    const given = asked === null ? null : parseCursor(asked)
    const from = given ?? null
    const { wakes } = this.#listener
    const row = await this.#query(from, signal)
    const answer = decode(row)
    if (answer.isReplica) {
      this.#listener.leave()
      throw new Error('the feed is on a standby')
    }
    const isKnown = given !== undefined && (from === null || from.feedId === answer.feedId)
    if (from !== null && isKnown && this.#isRolledBack(from, answer)) {
      // Its transactions may be others now: everything is read again.
      return {
        entries: [],
        cursor: formatCursor({ ...position(answer), seen: null, page: null }),
        more: true,
        complete: true,
        rolledBack: true,
        now: answer.now,
      }
    }
    const isRetained = from === null || from.seen === null || this.#keeps(from.at, answer.now)
    const complete = isKnown && isRetained
    const cursor = formatCursor(isKnown ? next(from, answer) : next(null, answer))
    const more = answer.entries.length === BATCH
    if (!more) this.#latest = { cursor, wakes }
    if (!isKnown && from !== null) return this.#startOver(answer)
    return {
      entries: answer.entries.map(({ sid, ver }): FeedEntry => ({ sid, ver })),
      cursor,
      more,
      complete,
      rolledBack: false,
      now: answer.now,
    }
  }

  /** For a cursor of another feed: its transactions mean nothing here. */
  #startOver(answer: Answer): FeedPage {
    return {
      entries: [],
      cursor: formatCursor({ ...position(answer), seen: null, page: null }),
      more: true,
      complete: false,
      rolledBack: false,
      now: answer.now,
    }
  }

  async #query(from: FeedCursor | null, signal: AbortSignal): Promise<Row> {
    const seen = from?.seen ?? null
    const page = from?.page ?? null
    const common = [this.#clock(), page?.snapshot ?? null, page?.after ?? 0, BATCH]
    const newest = from === null ? null : from.newestSeq || null
    const rows = await (seen === null
      ? this.#listener.run(this.#all, [...common, newest], signal)
      : this.#listener.run(
          this.#newer,
          [...common, newest, unseenBy(seen).from, unseenBy(seen).running],
          signal,
        ))
    const row = rows[0]
    if (row === undefined) throw new Error('no answer')
    return row
  }

  #keeps(at: number, now: number): boolean {
    return now - at <= this.retentionMs
  }

  /**
   * Whether the server may have lost what was read: it is another one or was restarted, it has begun
   * fewer transactions, or the newest entry that was read is not there.
   */
  #isRolledBack(from: FeedCursor, answer: Answer): boolean {
    if (from.startedAt !== answer.startedAt) return true
    if (from.seen !== null) {
      const { from: begun } = unseenBy(from.seen)
      if (BigInt(unseenBy(answer.snapshot).from) < BigInt(begun)) return true
    }
    return !answer.hasNewest && this.#keeps(from.newestAt, answer.now)
  }
}

interface Answer {
  /** The server follows another: it answers with what it has, as late as it gets it. */
  readonly isReplica: boolean
  readonly snapshot: string
  readonly now: number
  readonly startedAt: string
  readonly feedId: string
  readonly hasNewest: boolean
  readonly entries: readonly (FeedEntry & { readonly seq: number; readonly at: number })[]
}

function decode(row: Row): Answer {
  const [snapshot, now, isReplica, startedAt, feedId, hasNewest, entries] = row
  const list: [seq: number, at: number, sid: string, ver: number | null][] = JSON.parse(
    entries ?? '[]',
  )
  return {
    isReplica: isReplica !== 'f',
    snapshot: text(snapshot),
    now: Number(now),
    startedAt: text(startedAt),
    feedId: text(feedId),
    hasNewest: hasNewest === 't',
    entries: list.map(([seq, at, sid, ver]) => ({ seq, at, sid, ver: ver ?? REVOKED })),
  }
}

function position({
  feedId,
  startedAt,
  now,
}: Answer): Pick<FeedCursor, 'feedId' | 'startedAt' | 'at' | 'newestSeq' | 'newestAt'> {
  return { feedId, startedAt, at: now, newestSeq: 0, newestAt: 0 }
}

/** The cursor after an answer. */
function next(from: FeedCursor | null, answer: Answer): FeedCursor {
  const snapshot = from?.page?.snapshot ?? answer.snapshot
  const last = answer.entries.at(-1)
  const isNewer = last !== undefined && last.seq > (from?.newestSeq ?? 0)
  const at = { ...position(answer), ...(from?.page && { at: from.at }) }
  const read = {
    ...at,
    newestSeq: isNewer ? last.seq : (from?.newestSeq ?? 0),
    newestAt: isNewer ? last.at : (from?.newestAt ?? 0),
  }
  return answer.entries.length === BATCH && last !== undefined
    ? { ...read, seen: from?.seen ?? null, page: { snapshot, after: last.seq } }
    : { ...read, seen: snapshot, page: null }
}

/** One row: what the server is and when, and the entries as JSON. */
function answerSql(names: Names, entries: string): string {
  return `select pg_current_snapshot()::text, ${clock('$1::bigint')}, pg_is_in_recovery(),
  floor(date_part('epoch', pg_postmaster_start_time()) * 1000000)::bigint,
  (select feed_id from ${names.meta}),
  $5::bigint is null or exists (select from ${names.feed} where seq = $5::bigint),
  (select json_agg(json_build_array(seq, at, sid, ver) order by seq) from (${entries}) page)`
}

/** `$2` `$3` the snapshot that is being read and after which entry, `$4` how many, `$5` the newest read. */
const IN_PAGE = `seq > $3::bigint
    and ($2::text is null or pg_visible_in_snapshot(tx, $2::text::pg_snapshot))`

function allSql(names: Names): string {
  return answerSql(
    names,
    `select seq, at, sid, ver from ${names.feed} where ${IN_PAGE} order by seq limit $4::bigint`,
  )
}

/**
 * `$6` `$7` the transactions that were not seen. Found by them first, whatever the planner thinks of
 * `seq`. Those that have not begun yet are of the server a dump was made of.
 */
function newerSql(names: Names): string {
  return answerSql(
    names,
    `with unseen as materialized (
    select seq, tx, at, sid, ver from ${names.feed}
    where (tx >= $6::text::xid8 and tx < pg_snapshot_xmax(pg_current_snapshot()))
      or tx = any($7::text[]::xid8[])
  ) select seq, at, sid, ver from unseen where ${IN_PAGE} order by seq limit $4::bigint`,
  )
}
