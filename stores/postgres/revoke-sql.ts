import { eventOf, writeAuditSql } from './audit-row.ts'
import type { Names } from './names.ts'
import { columnsOf } from './record.ts'
import type { Told } from './sql.ts'
import { clock, isOver, PATIENCE } from './sql.ts'

/**
 * One, in a transaction of the app's: `$2` lock_timeout, `$3` sid, `$4` `$5` owner's tenant and id, `$6` seed
 * hash, `$7` audit.
 */
export function revokeSql(names: Names, told: Told): string {
  const now = clock('$1::bigint')
  const user = { tenant: 'd.tenant', user_id: 'd.user_id' }
  return `with ended as (
  delete from ${names.session} s where s.sid = $3::text and ${PATIENCE}
    and ($5::text is null or (s.tenant = $4::text and s.user_id = $5::text))
    and ($6::text is null or s.seed_hash = $6::text) and not ${isOver(now, 's.')}
  returning ${columnsOf('s')}
), told as (
  insert into ${names.feed} (at, sid) select ${now}, sid from ended
), audited as (
  ${writeAuditSql(names, `ended d, ${eventOf('$7')} where $7::text is not null`, user)}
)
select ${columnsOf('ended')}${told('true')} from ended`
}

/**
 * Many at once: `$2` sids, `$3` `$4` owners' tenants and ids, `$5` seed hashes, `$6` audits, one of each a
 * revocation. A row for each that fits a live session: its number, whether the session ended by it,
 * whether somebody else has the session locked, and what the session was.
 *
 * It waits for no lock, so it can be in nobody's way for long, and two of them cannot wait for each
 * other. Of several for one session the first ends it; is it locked, then none of them knows how it ends.
 */
export function revokeManySql(names: Names): string {
  const user = { tenant: 'd.tenant', user_id: 'd.user_id' }
  const audited = `ended d join fitting f on f.sid = d.sid and f.place = 1 and f.audit is not null,
    ${eventOf('f.audit')} order by f.n`
  return `with fitting as materialized (
  select a.sid, a.audit, a.n, c.now, row_number() over (partition by a.sid order by a.n) as place
  from (select ${clock('$1::bigint')} as now offset 0) c
    cross join unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
      with ordinality a(sid, tenant, user_id, seed_hash, audit, n)
    cross join lateral (select * from ${names.session} s where s.sid = a.sid offset 0) s
  where (a.user_id is null or (s.tenant = a.tenant and s.user_id = a.user_id))
    and (a.seed_hash is null or s.seed_hash = a.seed_hash) and not ${isOver('c.now', 's.')}
), locked as materialized (
  select s.sid from ${names.session} s
  where s.sid = any(array(select sid from fitting)) for update skip locked
), ended as (
  delete from ${names.session} s where s.sid = any(array(select sid from locked))
  returning ${columnsOf('s')}
), told as (
  insert into ${names.feed} (at, sid)
  select f.now, f.sid from ended d join fitting f on f.sid = d.sid and f.place = 1 order by f.n
), audited as (
  ${writeAuditSql(names, audited, user)}
)
select f.n, f.place = 1 and d.sid is not null, d.sid is null, ${columnsOf('d')}
from fitting f left join ended d on d.sid = f.sid`
}
