import type { Names } from './names.ts'

/**
 * What nodes of schema version 1 call, so that they go on while others are started: their functions,
 * made of those of today. What they revoke is heard at the next poll, for nothing notifies by itself any
 * more.
 */
export function functions1Sql(names: Names): string {
  const { openSession, revokeUser, rotateOrRevokeUser, tellFeed } = names.version1
  return `drop trigger if exists "${names.prefix}feed_told" on ${names.feed};
drop function if exists ${tellFeed}();

create or replace function ${openSession}(
  p_now bigint, p_lock_timeout text, p_sid text, p_tenant text, p_user_id text, p_seed_hash text,
  p_binding_hash text, p_device_label text, p_device_ip text, p_remember boolean,
  p_attributes json, p_data json, p_idle_ms bigint, p_absolute_ms bigint,
  p_max bigint, p_on_limit text, p_login_age_ms bigint,
  p_replace boolean, p_old_sid text, p_old_seed_hash text, p_or_else text, p_keep_data boolean,
  out o_outcome text, out o_revoked text[], out o_session ${names.session}
) language sql as $latchkey$
  select o.o_outcome, o.o_revoked, o.o_session
  from ${names.openSession}(p_now, p_lock_timeout, p_sid, p_tenant, p_user_id, p_seed_hash, p_binding_hash,
    p_device_label, p_device_ip, p_remember, p_attributes, p_data, p_idle_ms, p_absolute_ms, p_max,
    p_on_limit, p_login_age_ms, p_replace, p_old_sid, p_old_seed_hash, p_or_else, p_keep_data, null) o
$latchkey$;

create or replace function ${revokeUser}(
  p_now bigint, p_lock_timeout text, p_tenant text, p_user_id text, p_except text,
  out o_revoked text[]
) language sql as $latchkey$
  select ${names.revokeUser}(p_now, p_lock_timeout, p_tenant, p_user_id, p_except, null)
$latchkey$;

-- It answered the row as it was and the time; nothing else has changed since but what a rotation writes.
create or replace function ${rotateOrRevokeUser}(
  p_now bigint, p_lock_timeout text, p_sid text, p_seed_hash text, p_generation bigint,
  p_attempt_hash text, p_binding_hash text, p_reuse_grace_ms bigint,
  p_lost_response_window_ms bigint, p_idle_ms bigint,
  out o_outcome text, out o_now bigint, out o_revoked text[], out o_session ${names.session}
) language sql as $latchkey$
  select o.o_outcome, 
    case when o.o_outcome in ('rotated', 'recovered') then (o.o_session).rotated_at
      else (o.o_session).rotated_at + o.o_age_ms end,
    coalesce(o.o_revoked, '{}'), o.o_session
  from ${names.rotate}(p_now, p_lock_timeout, p_sid, p_seed_hash, p_generation, p_attempt_hash,
    p_binding_hash, p_reuse_grace_ms, p_lost_response_window_ms, p_idle_ms, 'user', null) o
$latchkey$;`
}
