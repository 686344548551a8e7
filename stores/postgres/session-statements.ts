import { eventOf, writeAuditSql } from './audit-row.ts'
import type { Names } from './names.ts'
import { columnsOf } from './record.ts'
import { rotateSql } from './rotate-sql.ts'
import type { Statement } from './runner.ts'
import { statement } from './runner.ts'
import type { Told } from './sql.ts'
import { clock, isOver, PATIENCE, toldBy } from './sql.ts'

/** The statements on sessions, one an operation. `$1` is the clock, `$2` most often `lock_timeout`. */
export interface SessionStatements {
  readonly open: Statement
  readonly rotate: Statement
  readonly updateAttributes: Statement
  readonly updateData: Statement
  readonly revokeUser: Statement
  readonly list: Statement
  readonly deny: Statement
  readonly isDenied: Statement
}

/** @param isInTransaction - whether they are part of a transaction of the app's */
export function sessionStatements(names: Names, isInTransaction: boolean): SessionStatements {
  const told = toldBy(names, isInTransaction)
  return {
    open: statement('open', openSql(names, told)),
    rotate: statement('rotate', rotateSql(names, told)),
    updateAttributes: statement('update_attributes', updateSql(names, 'attributes', 'ver', told)),
    updateData: statement('update_data', updateSql(names, 'data', 'data_ver', told)),
    revokeUser: statement('revoke_user', revokeUserSql(names, told)),
    list: statement('list', listSql(names)),
    deny: statement('deny', denySql(names, told)),
    isDenied: statement('is_denied', isDeniedSql(names)),
  }
}

function openSql(names: Names, told: Told): string {
  return `select o.o_outcome, o.o_revoked, ${columnsOf('(o.o_session)')}${told('cardinality(o.o_revoked) > 0')}
from ${names.openSession}($1::bigint, $2::text, $3::text, $4::text, $5::text, $6::text, $7::text,
  $8::text, $9::text, $10::boolean, $11::json, $12::json, $13::bigint, $14::bigint, $15::bigint,
  $16::text, $17::bigint, $18::boolean, $19::text, $20::text, $21::text, $22::boolean, $23::json) o`
}

/** `$2` lock_timeout, `$3` sid, `$4` the expected version, `$5` what replaces the column, `$6` audit. */
function updateSql(
  names: Names,
  column: 'attributes' | 'data',
  version: 'ver' | 'data_ver',
  told: Told,
): string {
  const isTold = version === 'ver'
  const feed = isTold
    ? `, told as (
  insert into ${names.feed} (at, sid, ver) select now, sid, ver + 1 from decided where outcome = 'updated'
)`
    : ''
  return `with locked as materialized (
  select ${columnsOf('s')} from ${names.session} s
  where s.sid = $3::text and ${PATIENCE} for update of s
), timed as materialized (
  select locked.*, ${clock('$1::bigint')} as now from locked
), decided as materialized (
  select timed.*, case when ${version} = $4::integer then 'updated' else 'conflict' end as outcome
  from timed where not ${isOver('now')}
), written as (
  update ${names.session} s set ${column} = $5::json, ${version} = d.${version} + 1
  from decided d where s.sid = d.sid and d.outcome = 'updated'
)${feed}, audited as (
  ${writeAuditSql(names, `decided d, ${eventOf('$6')} where d.outcome = 'updated' and $6::text is not null`)}
)
select outcome, ${columnsOf('decided')}${isTold ? told(`outcome = 'updated'`) : ''} from decided`
}

function revokeUserSql(names: Names, told: Told): string {
  return `select o.o_revoked${told('cardinality(o.o_revoked) > 0')}
from ${names.revokeUser}($1::bigint, $2::text, $3::text, $4::text, $5::text, $6::json) o`
}

/** `$2` tenant, `$3` id, `$4` how many, `$5` `$6` `$7` the place after which to read on. */
function listSql(names: Names): string {
  return `select ${columnsOf('s')}
from (select ${clock('$1::bigint')} as now) c, ${names.session} s
where s.tenant = $2::text and s.user_id = $3::text and not ${isOver('c.now', 's.')}
  and ($5::bigint is null
    or (s.last_seen_at, s.created_at, s.sid) < ($5::bigint, $6::bigint, $7::text collate "C"))
order by s.last_seen_at desc, s.created_at desc, s.sid desc limit $4::bigint`
}

/** `$2` sid, `$3` jti, `$4` until when, `$5` whether the feed is told. */
function denySql(names: Names, told: Told): string {
  return `with timed as materialized (
  select now from (select ${clock('$1::bigint')} as now) c where $4::bigint > now
), told as (
  insert into ${names.feed} (at, sid) select now, $3::text from timed where $5::boolean
)
insert into ${names.denied} as denied (sid, jti, expires_at)
select $2::text, $3::text, $4::bigint from timed
on conflict (sid, jti) do update set expires_at = greatest(denied.expires_at, excluded.expires_at)
returning true${told('$5::boolean')}`
}

/** `$2` sid, `$3` jti. */
function isDeniedSql(names: Names): string {
  return `select exists (
  select from ${names.denied}
  where sid = $2::text and jti = $3::text and expires_at > ${clock('$1::bigint')}
)`
}
