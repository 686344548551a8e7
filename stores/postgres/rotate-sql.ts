import { MAX_RECOVERED_GENERATIONS } from '../../lib/rotation.ts'
import { AUDIT_ROW, writeAuditSql } from './audit-row.ts'
import type { Names } from './names.ts'
import { columnsOf } from './record.ts'
import type { Told } from './sql.ts'
import { clock, isOver, PATIENCE, refuseStandby, setLockTimeout, takeUserLock } from './sql.ts'

/** What both ways of a rotation answer before the session's columns. */
const ANSWER = ['outcome', 'device_changed', 'distance', 'age_ms', 'revoked'] as const

/** How many columns that are. */
export const ROTATION_COLUMNS: number = ANSWER.length

/**
 * A rotation: `$2` lock_timeout, `$3` sid, `$4` seed hash, `$5` generation, `$6` attempt hash, `$7` binding
 * hash, `$8` grace and `$9` lost-response window, `$10` idle timeout, `$11` what reuse ends, `$12` audit.
 *
 * Almost every refresh presents the current token from its own device: that is one plain update, whose
 * conditions are looked at again on the latest row by who waited for it. Everything else is decided by
 * the function, from the beginning and on the row it locks; whoever selected the row again here would
 * read it as it was before the wait, and cry theft at every race. Where reuse ends all sessions of the
 * user, the function is all there is: it takes the user's lock before the row's.
 */
export function rotateSql(names: Names, told: Told): string {
  const answer = ANSWER.map((column) => `o.o_${column}`).join(', ')
  const now = clock('$1::bigint')
  return `with rotated as (
  update ${names.session} s set generation = s.generation + 1, attempt_hash = $6::text, confirmed = false,
    (rotated_at, last_seen_at, idle_deadline) = (
      select t.now, t.now, least(s.absolute_deadline, t.now + $10::bigint) from (select ${now} as now offset 0) t
    )
  where s.sid = $3::text and ${PATIENCE} and $11::text = 'session'
    and s.generation = $5::bigint and s.seed_hash = $4::text
    and s.rotated_by is not distinct from $7::text and not ${isOver(now, 's.')}
  returning ${columnsOf('s')}
)
select 'rotated', false, null, null, null, ${columnsOf('rotated')}${told('false')} from rotated
union all
select ${answer}, ${columnsOf('(o.o_session)')}${told(`o.o_outcome = 'reused'`)}
from ${names.rotate}($1::bigint, $2::text, $3::text, $4::text, $5::bigint, $6::text, $7::text,
  $8::bigint, $9::bigint, $10::bigint, $11::text, $12::text::json) o
where not exists (select from rotated)`
}

/**
 * The rotation table as `decideRotation` has it. The row is locked first and the time taken after: who
 * waited decides on the latest row at the latest time.
 */
export function rotateFunction(names: Names): string {
  const event = (name: string) => `json_to_record(p_audit -> '${name}') e(${AUDIT_ROW})`
  const user = { tenant: 'o_session.tenant', user_id: 'o_session.user_id' }
  const reused = {
    ...user,
    detail: `json_build_object('distance', o_distance, 'age_ms', o_age_ms, 'revoked', cardinality(o_revoked))`,
  }
  return `create or replace function ${names.rotate}(
  p_now bigint, p_lock_timeout text, p_sid text, p_seed_hash text, p_generation bigint,
  p_attempt_hash text, p_binding_hash text, p_reuse_grace_ms bigint,
  p_lost_response_window_ms bigint, p_idle_ms bigint, p_on_reuse text, p_audit json,
  out o_outcome text, out o_device_changed boolean, out o_distance bigint, out o_age_ms bigint,
  out o_revoked text[], out o_session ${names.session}
) language plpgsql as $latchkey$
declare
  v_tenant text;
  v_user_id text;
  v_now bigint;
begin
  o_outcome := 'gone';
  if p_on_reuse = 'user' then
${refuseStandby()}
    select tenant, user_id into v_tenant, v_user_id from ${names.session} where sid = p_sid;
    if not found then
      return;
    end if;${takeUserLock(names)}
  else
${setLockTimeout()}
  end if;
  select * into o_session from ${names.session} where sid = p_sid for update;
  v_now := ${clock('p_now')};
  if not found or ${isOver('v_now', 'o_session.')} then
    o_session := null;
    return;
  end if;
  o_distance := o_session.generation - p_generation;
  o_age_ms := greatest(0, v_now - o_session.rotated_at);
  o_device_changed := o_session.rotated_by is distinct from p_binding_hash;
  o_outcome := case
    when o_session.seed_hash <> p_seed_hash then 'seed'
    when o_distance = 0 then 'rotated'
    when o_distance < -${MAX_RECOVERED_GENERATIONS} then 'ahead'
    when o_distance < 0 then 'recovered'
    when o_distance > 1 then 'reused'
    when o_session.attempt_hash = p_attempt_hash then 'attempt'
    when o_device_changed then 'reused'
    when o_age_ms < p_reuse_grace_ms then 'grace'
    when not o_session.confirmed and o_age_ms < p_lost_response_window_ms then 'lost_response'
    else 'reused' end;

  if o_outcome in ('rotated', 'recovered') then
    update ${names.session} set generation = p_generation + 1, rotated_at = v_now,
      rotated_by = p_binding_hash, attempt_hash = p_attempt_hash, confirmed = false,
      last_seen_at = v_now, idle_deadline = least(absolute_deadline, v_now + p_idle_ms)
    where sid = p_sid returning * into o_session;
    if p_audit is not null then
      if o_outcome = 'recovered' then
        ${writeAuditSql(names, event('recovered'), user)};
      end if;
      if o_device_changed and json_typeof(p_audit -> 'deviceChanged') = 'object'
        and (o_session.binding_hash is not null or (p_audit ->> 'boundOnly') = 'false') then
        ${writeAuditSql(names, event('deviceChanged'), user)};
      end if;
    end if;
  elsif o_outcome = 'reused' then
    o_revoked := array[p_sid];
    insert into ${names.feed} (at, sid) values (v_now, p_sid);
    delete from ${names.session} where sid = p_sid;
    if p_on_reuse = 'user' then
      o_revoked := p_sid || ${names.revokeUser}(p_now, p_lock_timeout, v_tenant, v_user_id, null, null);
    end if;
    if p_audit is not null then
      ${writeAuditSql(names, event('reused'), reused)};
    end if;
  end if;
end
$latchkey$;`
}
