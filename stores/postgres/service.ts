import { hash } from 'node:crypto'
import { KEYS_ENTRY } from '../../lib/heard-set.ts'
import type { KeysDocument, LimitState } from '../../lib/store.ts'
import type { Names } from './names.ts'
import { text } from './record.ts'
import type { Runner, Statement } from './runner.ts'
import { statement } from './runner.ts'
import type { Told } from './sql.ts'
import { clock, toldBy } from './sql.ts'

/** Counters of rate limits, and the document of managed signing keys. */
export class PostgresService {
  readonly #runner: Runner
  readonly #clock: () => number | null
  readonly #take: Statement
  readonly #load: Statement
  readonly #save: Statement

  readonly #tellFeed: () => void

  /** @param tellFeed - called when something was added to the feed */
  constructor(runner: Runner, names: Names, time: () => number | null, tellFeed: () => void) {
    this.#runner = runner
    this.#tellFeed = tellFeed
    this.#clock = time
    this.#take = statement('take', takeSql(names))
    this.#load = statement('keys_load', `select version, document from ${names.signingKeys}`)
    this.#save = statement('keys_save', saveSql(names, toldBy(names, runner.lockTimeout === null)))
  }

  async take(key: string, cost: number, windowMs: number): Promise<LimitState> {
    const { lockTimeout } = this.#runner
    // A key may be longer than an index takes.
    const name = hash('sha256', key, 'base64url')
    const values = [this.#clock(), lockTimeout, name, cost, windowMs]
    const [row] = await this.#runner.run(this.#take, values)
    return { used: Number(row?.[0]), resetsInMs: Number(row?.[1]) }
  }

  async loadKeys(): Promise<KeysDocument | null> {
    const [row] = await this.#runner.run(this.#load, [])
    return row === undefined ? null : { version: Number(row[0]), document: text(row[1]) }
  }

  async saveKeys(expected: number, document: string): Promise<boolean> {
    const rows = await this.#runner.run(this.#save, [expected, document, this.#clock(), KEYS_ENTRY])
    if (rows.length > 0) this.#tellFeed()
    return rows.length > 0
  }
}

/** `$2` lock_timeout, `$3` key, `$4` cost, `$5` window. */
function takeSql(names: Names): string {
  const isOver = 'excluded.resets_at - $5::bigint >= counter.resets_at'
  return `insert into ${names.counter} as counter (key, used, resets_at)
select $3::text, $4::double precision, c.now + $5::bigint
from (select ${clock('$1::bigint')} as now,
  set_config('lock_timeout', coalesce($2::text, current_setting('lock_timeout')), true)) c
on conflict (key) do update set
  used = case when ${isOver} then excluded.used else counter.used + excluded.used end,
  resets_at = case when ${isOver} then excluded.resets_at else counter.resets_at end
returning used, resets_at - ${clock('$1::bigint')}`
}

/** `$1` the expected version, `$2` the document, `$4` the name of the feed's entry. */
function saveSql(names: Names, told: Told): string {
  return `with saved as (
  insert into ${names.signingKeys} as stored (version, document)
  select 1, $2::text where $1::bigint = 0
    or exists (select from ${names.signingKeys} where version = $1::bigint)
  on conflict (single) do update set version = stored.version + 1, document = excluded.document
    where stored.version = $1::bigint
  returning version
)
insert into ${names.feed} (at, sid, ver)
select ${clock('$3::bigint')}, $4::text, version from saved
returning ver${told('true')}`
}
