import type { Names } from './names.ts'
import { columnsOf } from './record.ts'
import { clock, isOver, isTouchDue } from './sql.ts'

/** A standby would answer a read too, as late as it is: what writes refuses there. */
function refusedSql(names: Names): string {
  return `case when pg_is_in_recovery()
      then ${names.writeActivity}(null, null, null, null, null) end`
}

/**
 * `$2` lock_timeout, `$3` sid, `$4` seed hash, `$5` jti, `$6` generation, `$7` peek, `$8` idle timeout.
 *
 * A plain read, but for the one a minute that finds something to write.
 */
export function checkSql(names: Names): string {
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
  from (select ${clock('$1::bigint')} as now, ${refusedSql(names)} as refused) c
    join ${names.session} s on s.sid = $3::text
  where not ${isOver('c.now', 's.')} offset 0
) found`
}

/**
 * Many at once, and nothing is written: `$2` sids, `$3` seed hashes, `$4` jtis, one of each a check. A row
 * for each session that is alive, as above and then the number of its check.
 *
 * Each is looked up by itself, whatever the planner thinks of the table, and after the server was asked
 * whether it may answer at all: what is looked up depends on its time.
 */
export function checksSql(names: Names): string {
  return `select ${columnsOf('s')}, c.now,
  a.seed_hash is not null and s.seed_hash <> a.seed_hash as forged,
  a.jti is not null and exists (
    select from ${names.denied} d where d.sid = a.sid and d.jti = a.jti and d.expires_at > c.now
  ) as denied, a.n
from (select ${clock('$1::bigint')} as now, ${refusedSql(names)} as refused offset 0) c
  cross join unnest($2::text[], $3::text[], $4::text[]) with ordinality a(sid, seed_hash, jti, n)
  cross join lateral (
    select ${columnsOf('s')} from ${names.session} s
    where s.sid = a.sid and not ${isOver('c.now', 's.')} offset 0
  ) s`
}
