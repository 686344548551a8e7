import type { Names } from './names.ts'
import { columnsOf } from './record.ts'
import { rotateSql } from './rotate-sql.ts'
import type { Statement } from './runner.ts'
import { statement } from './runner.ts'
import { clock, isOver, isTouchDue } from './sql.ts'

/** The statements on sessions, one an operation. `$1` is the clock, `$2` most often `lock_timeout`. */
export interface SessionStatements {
  readonly open: Statement
  readonly check: Statement
  readonly rotate: Statement
  readonly rotateOrRevokeUser: Statement
  readonly updateAttributes: Statement
  readonly updateData: Statement
  readonly revoke: Statement
  readonly revokeUser: Statement
  readonly list: Statement
  readonly deny: Statement
  readonly isDenied: Statement
}

export function sessionStatements(names: Names): SessionStatements {
  return {
    open: statement('open', openSql(names)),
    check: statement('check', checkSql(names)),
    rotate: statement('rotate', rotateStatement(names)),
    rotateOrRevokeUser: statement('rotate_user', rotateOrRevokeUserSql(names)),
    updateAttributes: statement('update_attributes', updateSql(names, 'attributes', 'ver')),
    updateData: statement('update_data', updateSql(names, 'data', 'data_ver')),
    revoke: statement('revoke', revokeSql(names)),
    revokeUser: statement('revoke_user', revokeUserSql(names)),
    list: statement('list', listSql(names)),
    deny: statement('deny', denySql(names)),
    isDenied: statement('is_denied', isDeniedSql(names)),
  }
}

/**
 * Always true: who waits for a lock waits no longer than for an answer. It is set before the row is
 * locked, which is done above the search for it, and ends with the statement.
 */
const PATIENCE = `set_config('lock_timeout', coalesce($2::text, current_setting('lock_timeout')), true) is not null`

function openSql(names: Names): string {
  return `select o.o_outcome, o.o_revoked, ${columnsOf('(o.o_session)')}
from ${names.openSession}($1::bigint, $2::text, $3::text, $4::text, $5::text, $6::text, $7::text,
  $8::text, $9::text, $10::boolean, $11::json, $12::json, $13::bigint, $14::bigint, $15::bigint,
  $16::text, $17::bigint, $18::boolean, $19::text, $20::text, $21::text, $22::boolean) o`
}

/**
 * `$2` lock_timeout, `$3` sid, `$4` seed hash, `$5` jti, `$6` generation, `$7` peek, `$8` idle timeout.
 *
 * A plain read, but for the one a minute that finds something to write. A standby would answer it too,
 * as late as it is: the write refuses there.
 */
function checkSql(names: Names): string {
  const refused = `case when pg_is_in_recovery()
      then ${names.writeActivity}(null, null, null, null, null) end`
  return `select ${columnsOf('found')}, now, forged, denied,
  case when not (forged or denied or $7::boolean)
    and (${isTouchDue('now', 'last_seen_at', '$8::bigint')}
      or (not confirmed and generation = $6::bigint))
    then ${names.writeActivity}(now, $2::text, $3::text, $6::bigint, $8::bigint) end
from (
  select ${columnsOf('s')}, c.now,
    $4::text is not null and s.seed_hash <> $4::text as forged,
    $5::text is not null and exists (
      select from ${names.denied} d where d.sid = $3::text and d.jti = $5::text and d.expires_at > c.now
    ) as denied
  from (select ${clock('$1::bigint')} as now, ${refused} as refused) c
    join ${names.session} s on s.sid = $3::text
  where not ${isOver('c.now', 's.')} offset 0
) found`
}

/** `$2` lock_timeout, then as the parameters say. */
function rotateStatement(names: Names): string {
  const rotate = rotateSql(
    names,
    {
      now: '$1::bigint',
      sid: '$3::text',
      seedHash: '$4::text',
      generation: '$5::bigint',
      attemptHash: '$6::text',
      bindingHash: '$7::text',
      reuseGraceMs: '$8::bigint',
      lostResponseWindowMs: '$9::bigint',
      idleTimeoutMs: '$10::bigint',
    },
    PATIENCE,
  )
  return `${rotate}
select outcome, now, null, ${columnsOf('decided')} from decided`
}

function rotateOrRevokeUserSql(names: Names): string {
  return `select o.o_outcome, o.o_now, o.o_revoked, ${columnsOf('(o.o_session)')}
from ${names.rotateOrRevokeUser}($1::bigint, $2::text, $3::text, $4::text, $5::bigint, $6::text,
  $7::text, $8::bigint, $9::bigint, $10::bigint) o`
}

/** `$2` lock_timeout, `$3` sid, `$4` the expected version, `$5` what replaces the column. */
function updateSql(
  names: Names,
  column: 'attributes' | 'data',
  version: 'ver' | 'data_ver',
): string {
  const told =
    version === 'ver'
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
)${told}
select outcome, ${columnsOf('decided')} from decided`
}

/** `$2` lock_timeout, `$3` sid, `$4` `$5` owner's tenant and id, `$6` seed hash. */
function revokeSql(names: Names): string {
  return `with locked as materialized (
  select ${columnsOf('s')} from ${names.session} s where s.sid = $3::text and ${PATIENCE}
    and ($5::text is null or (s.tenant = $4::text and s.user_id = $5::text))
    and ($6::text is null or s.seed_hash = $6::text) for update of s
), decided as materialized (
  select * from (select locked.*, ${clock('$1::bigint')} as now from locked) timed
  where not ${isOver('now')}
), ended as (
  delete from ${names.session} s using decided d where s.sid = d.sid
), told as (
  insert into ${names.feed} (at, sid) select now, sid from decided
)
select ${columnsOf('decided')} from decided`
}

function revokeUserSql(names: Names): string {
  return `select ${names.revokeUser}($1::bigint, $2::text, $3::text, $4::text, $5::text)`
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
function denySql(names: Names): string {
  return `with timed as materialized (
  select now from (select ${clock('$1::bigint')} as now) c where $4::bigint > now
), told as (
  insert into ${names.feed} (at, sid) select now, $3::text from timed where $5::boolean
)
insert into ${names.denied} as denied (sid, jti, expires_at)
select $2::text, $3::text, $4::bigint from timed
on conflict (sid, jti) do update set expires_at = greatest(denied.expires_at, excluded.expires_at)`
}

/** `$2` sid, `$3` jti. */
function isDeniedSql(names: Names): string {
  return `select exists (
  select from ${names.denied}
  where sid = $2::text and jti = $3::text and expires_at > ${clock('$1::bigint')}
)`
}
