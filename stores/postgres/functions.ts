import { AUDIT_ROW, writeAuditSql } from './audit-row.ts'
import { REVOCATION_MARK_MS } from './marks.ts'
import type { Names } from './names.ts'
import { COLUMNS } from './record.ts'
import { rotateFunction } from './rotate-sql.ts'
import { isTouchDue, takeUserLock } from './sql.ts'

const LIVE = 'idle_deadline > v_now and absolute_deadline > v_now'

/** Opens a session: `create` and `replace` of the store contract. */
function openSession(names: Names): string {
  const evicted = `unnest(o_revoked) with ordinality r(sid, n), json_to_record(
      p_audit -> case when v_replaced and r.sid = p_old_sid then 'replaced' else 'evicted' end
    ) e(${AUDIT_ROW}) order by r.n`
  return `create or replace function ${names.openSession}(
  p_now bigint, p_lock_timeout text, p_sid text, p_tenant text, p_user_id text, p_seed_hash text,
  p_binding_hash text, p_device_label text, p_device_ip text, p_remember boolean,
  p_attributes json, p_data json, p_idle_ms bigint, p_absolute_ms bigint,
  p_max bigint, p_on_limit text, p_login_age_ms bigint,
  p_replace boolean, p_old_sid text, p_old_seed_hash text, p_or_else text, p_keep_data boolean,
  p_audit json,
  out o_outcome text, out o_revoked text[], out o_session ${names.session}
) language plpgsql as $latchkey$
declare
  v_tenant text := p_tenant;
  v_user_id text := p_user_id;
  v_now bigint;
  v_old ${names.session};
  v_replaced boolean := false;
  v_revoked_at bigint;
  v_others bigint;
begin${takeUserLock(names)}
  o_revoked := '{}';
  select * into o_session from ${names.session} where sid = p_sid;
  if found then
    if o_session.idle_deadline > v_now and o_session.absolute_deadline > v_now then
      if o_session.seed_hash <> p_seed_hash then
        raise exception 'the session id is taken' using errcode = 'unique_violation';
      end if;
      o_outcome := 'created';
      return;
    end if;
    delete from ${names.session} where sid = p_sid;
    o_session := null;
  end if;

  if p_replace then
    select * into v_old from ${names.session}
    where sid = p_old_sid and tenant = p_tenant and user_id = p_user_id and ${LIVE}
      and (p_old_seed_hash is null or seed_hash = p_old_seed_hash) for update;
    v_replaced := found;
    if not v_replaced and p_or_else = 'refuse' then
      o_outcome := 'gone';
      return;
    end if;
  end if;

  select revoked_at into v_revoked_at from ${names.userMark}
  where tenant = p_tenant and user_id = p_user_id;
  if v_now < v_revoked_at + ${REVOCATION_MARK_MS} and (
    v_now - p_login_age_ms < v_revoked_at
    or (p_login_age_ms > 0 and v_now - p_login_age_ms <= v_revoked_at)
  ) then
    o_outcome := 'stale_login';
    return;
  end if;

  select count(*) into v_others from ${names.session}
  where tenant = p_tenant and user_id = p_user_id and ${LIVE}
    and not (v_replaced and sid = p_old_sid);
  if v_others >= p_max then
    if p_on_limit = 'refuse' then
      o_outcome := 'session_limit';
      return;
    end if;
    select array_agg(sid) into o_revoked from (
      select sid from ${names.session}
      where tenant = p_tenant and user_id = p_user_id and ${LIVE}
        and not (v_replaced and sid = p_old_sid)
      order by last_seen_at, created_at, sid limit v_others - p_max + 1
    ) evicted;
  end if;
  if v_replaced then
    o_revoked := o_revoked || p_old_sid;
  end if;
  if cardinality(o_revoked) > 0 then
    perform 1 from ${names.session} where sid = any(o_revoked) order by sid for update;
    insert into ${names.feed} (at, sid) select v_now, unnest(o_revoked);
    delete from ${names.session} where sid = any(o_revoked);
  end if;

  insert into ${names.session} (${COLUMNS.join(', ')}) values (
    p_sid, v_now, v_now, v_now, v_now,
    least(v_now + p_idle_ms, v_now + p_absolute_ms), v_now + p_absolute_ms,
    0, 0, 0, false, p_remember, p_tenant, p_user_id, p_seed_hash, null,
    p_binding_hash, p_binding_hash, p_device_label, p_device_ip,
    p_attributes, case when v_replaced and p_keep_data then v_old.data else p_data end
  ) returning * into o_session;
  if p_audit is not null then
    ${writeAuditSql(names, evicted, { session_id: 'r.sid' })};
    ${writeAuditSql(names, `json_to_recordset(p_audit -> 'opened') e(${AUDIT_ROW})`)};
  end if;
  o_outcome := 'created';
end
$latchkey$;`
}

/**
 * Writes what a check found due: apart from the check, which then is a plain read for all others. Who
 * waits for another's write looks again whether its own is still due.
 */
function writeActivity(names: Names): string {
  const touch = isTouchDue('p_now', 's.last_seen_at', 'p_idle_ms')
  return `create or replace function ${names.writeActivity}(
  p_now bigint, p_lock_timeout text, p_sid text, p_generation bigint, p_idle_ms bigint
) returns void language plpgsql as $latchkey$
begin
  if p_lock_timeout is not null then
    perform set_config('lock_timeout', p_lock_timeout, true);
  end if;
  update ${names.session} s set
    confirmed = s.confirmed or s.generation is not distinct from p_generation,
    last_seen_at = case when ${touch} then p_now else s.last_seen_at end,
    idle_deadline = case when ${touch}
      then greatest(s.idle_deadline, least(s.absolute_deadline, p_now + p_idle_ms))
      else s.idle_deadline end
  where s.sid = p_sid and (${touch} or (not s.confirmed and s.generation = p_generation));
end
$latchkey$;`
}

/** Ends a user's sessions and marks the user: `revokeUser` of the store contract. */
function revokeUser(names: Names): string {
  const detail = `json_build_object('revoked', cardinality(o_revoked))`
  return `create or replace function ${names.revokeUser}(
  p_now bigint, p_lock_timeout text, p_tenant text, p_user_id text, p_except text, p_audit json,
  out o_revoked text[]
) language plpgsql as $latchkey$
declare
  v_tenant text := p_tenant;
  v_user_id text := p_user_id;
  v_now bigint;
begin${takeUserLock(names)}
  select coalesce(array_agg(sid), '{}') into o_revoked from (
    select sid from ${names.session}
    where tenant = p_tenant and user_id = p_user_id and ${LIVE} and sid is distinct from p_except
    order by sid for update
  ) live;
  insert into ${names.userMark} as mark (tenant, user_id, revoked_at)
  values (p_tenant, p_user_id, v_now)
  on conflict (tenant, user_id) do update
    set revoked_at = greatest(mark.revoked_at, excluded.revoked_at);
  if cardinality(o_revoked) > 0 then
    insert into ${names.feed} (at, sid) select v_now, unnest(o_revoked);
    delete from ${names.session} where sid = any(o_revoked);
  end if;
  if p_audit is not null then
    ${writeAuditSql(names, `json_to_record(p_audit) e(${AUDIT_ROW})`, { detail })};
  end if;
end
$latchkey$;`
}

/** The functions, in an order in which each knows those it calls. */
export function functionsSql(names: Names): string {
  return [openSession, writeActivity, revokeUser, rotateFunction]
    .map((create) => create(names))
    .join('\n\n')
}
