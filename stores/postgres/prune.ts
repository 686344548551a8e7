import type { Names } from './names.ts'
import type { Runner, Statement } from './runner.ts'
import { statement } from './runner.ts'
import { clock } from './sql.ts'
import { REVOCATION_MARK_MS } from './marks.ts'

/** Blocks of the session table a batch looks at: some thousand sessions. */
const BATCH_BLOCKS = 128
const BATCH_ROWS = 1000
/** A batch waits for nobody; this is for a disk that is slow. */
const BATCH_TIMEOUT_MS = 10_000
/** The feed keeps entries longer than it promises: one may be committed minutes after it was written. */
const FEED_SLACK_MS = 600_000

/** What is removed once it is older than this, in milliseconds. */
export interface Retention {
  readonly feedMs: number
  readonly auditMs: number
}

/** Removes what is over, a batch at a time, so that nobody ever waits for it. */
export class PostgresPruner {
  readonly #runner: Runner
  readonly #clock: () => number | null
  readonly #retention: Retention
  readonly #size: Statement
  readonly #sessions: Statement
  readonly #others: readonly { readonly statement: Statement; readonly keepMs: number }[]
  readonly #mayPruneAudit: Statement
  readonly #audit: Statement
  readonly #claim: Statement

  constructor(runner: Runner, names: Names, retention: Retention, time: () => number | null) {
    this.#runner = runner
    this.#clock = time
    this.#retention = retention
    this.#size = statement('prune_size', sizeSql(names))
    this.#sessions = statement('prune_sessions', sessionsSql(names))
    const rows = (table: string, key: string, at: string) =>
      statement('prune', rowsSql(names, table, key, at))
    this.#others = [
      { statement: rows(names.feed, 'seq', 'at'), keepMs: retention.feedMs + FEED_SLACK_MS },
      { statement: rows(names.denied, 'ctid', 'expires_at'), keepMs: 0 },
      { statement: rows(names.counter, 'ctid', 'resets_at'), keepMs: 0 },
      { statement: rows(names.userMark, 'ctid', 'revoked_at'), keepMs: REVOCATION_MARK_MS },
    ]
    this.#mayPruneAudit = statement('prune_may', `select has_table_privilege($1::text, 'delete')`)
    this.#audit = statement('prune_audit', auditSql(names))
    this.#claim = statement('prune_claim', claimSql(names))
    this.#auditTable = names.audit
  }

  readonly #auditTable: string

  /** Says how many sessions it removed. Stops early where somebody else is at it. */
  async prune(): Promise<number> {
    let removed = 0
    const [size] = await this.#run(this.#size, [])
    const blocks = Number(size?.[0])
    for (let from = 0; from < blocks; from += BATCH_BLOCKS) {
      const place = [`(${from},0)`, `(${from + BATCH_BLOCKS},0)`]
      const [row] = await this.#run(this.#sessions, [this.#clock(), ...place])
      if (row?.[0] !== 't') return removed
      removed += Number(row[1])
    }
    for (const { statement: batch, keepMs } of this.#others) await this.#pruneRows(batch, keepMs)
    // Who may only append to the trail leaves its age to somebody else.
    const [may] = await this.#run(this.#mayPruneAudit, [this.#auditTable])
    if (may?.[0] === 't') await this.#pruneRows(this.#audit, this.#retention.auditMs)
    return removed
  }

  /** Whether it is this node's turn, once an interval. */
  async claim(intervalMs: number): Promise<boolean> {
    const rows = await this.#run(this.#claim, [this.#clock(), intervalMs])
    return rows.length > 0
  }

  async #pruneRows(batch: Statement, keepMs: number): Promise<void> {
    let removed = BATCH_ROWS
    while (removed === BATCH_ROWS) {
      const [row] = await this.#run(batch, [this.#clock(), keepMs])
      removed = row?.[0] === 't' ? Number(row[1]) : 0
    }
  }

  async #run(asked: Statement, values: unknown[]): ReturnType<Runner['run']> {
    return this.#runner.run(asked, values, BATCH_TIMEOUT_MS)
  }
}

function sizeSql(names: Names): string {
  return `select pg_relation_size('${names.session}'::regclass) / current_setting('block_size')::bigint`
}

/**
 * `$2` `$3` the blocks: the table is read from its beginning to its end, needs no index on a deadline
 * (it would cost every touch a heap-only update), and no row is looked at twice.
 */
function sessionsSql(names: Names): string {
  const now = clock('$1::bigint')
  return `with turn as materialized (
  select pg_try_advisory_xact_lock(${names.pruneLock}) as mine, ${now} as now
), over as materialized (
  select s.ctid as place from ${names.session} s, turn
  where turn.mine and s.ctid >= $2::text::tid and s.ctid < $3::text::tid
    and (s.idle_deadline <= turn.now or s.absolute_deadline <= turn.now)
  for update of s skip locked
), removed as (
  delete from ${names.session} where ctid = any(array(select place from over)) returning 1
)
select mine, (select count(*) from removed) from turn`
}

/** `$2` how long a row is kept after its time. */
function rowsSql(names: Names, table: string, key: string, at: string): string {
  // The feed is in the order of its age: what is kept ends the search. Nobody changes its rows.
  if (key === 'seq') {
    return removeSql(
      names,
      table,
      `select place from (
    select ctid as place, ${at} as at from ${table} order by seq limit ${BATCH_ROWS}
  ) r, turn where turn.mine and r.at <= turn.now - $2::bigint`,
    )
  }
  // What somebody is changing just now will not be over any more: else the row would go all the same.
  return removeSql(
    names,
    table,
    `select r.ctid as place from ${table} r, turn
  where turn.mine and r.${at} <= turn.now - $2::bigint limit ${BATCH_ROWS} for update of r skip locked`,
  )
}

/** Not by `ctid`, which is another row's in another partition. */
function auditSql(names: Names): string {
  return `with turn as materialized (
  select pg_try_advisory_xact_lock(${names.pruneLock}) as mine,
    to_timestamp((${clock('$1::bigint')} - $2::bigint) / 1000.0) as until
), old as materialized (
  select seq from (select seq, at from ${names.audit} order by seq limit ${BATCH_ROWS}) r, turn
  where turn.mine and r.at <= turn.until
), removed as (
  delete from ${names.audit}
  where seq = any(array(select seq from old)) and at <= (select until from turn) returning 1
)
select mine, (select count(*) from removed) from turn`
}

function removeSql(names: Names, table: string, old: string): string {
  return `with turn as materialized (
  select pg_try_advisory_xact_lock(${names.pruneLock}) as mine, ${clock('$1::bigint')} as now
), old as materialized (
  ${old}
), removed as (
  delete from ${table} where ctid = any(array(select place from old)) returning 1
)
select mine, (select count(*) from removed) from turn`
}

/** `$2` the interval. */
function claimSql(names: Names): string {
  return `update ${names.meta} set pruned_at = c.now
from (select ${clock('$1::bigint')} as now) c
where pruned_at <= c.now - $2::bigint returning 1`
}
