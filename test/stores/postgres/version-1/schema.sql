begin;

do $latchkey$ begin
  if current_setting('server_encoding') <> 'UTF8' then
    raise exception 'latchkey needs a database in UTF8';
  end if;
end $latchkey$;

create schema if not exists "public";

create table "public"."latchkey_migration" (
  version integer primary key,
  name text not null,
  applied_at timestamptz not null default now()
);

create table "public"."latchkey_meta" (
  single boolean primary key default true check (single),
  feed_id text not null default replace(gen_random_uuid()::text, '-', ''),
  pruned_at bigint not null default 0
);
insert into "public"."latchkey_meta" default values;

-- No index on what a touch or a rotation changes: they stay heap-only (HOT).
create table "public"."latchkey_session" (
  sid text collate "C" not null,
  rotated_at bigint not null,
  created_at bigint not null,
  auth_time bigint not null,
  last_seen_at bigint not null,
  idle_deadline bigint not null,
  absolute_deadline bigint not null,
  generation bigint not null,
  ver integer not null,
  data_ver integer not null,
  confirmed boolean not null,
  remember boolean not null,
  tenant text collate "C" not null,
  user_id text collate "C" not null,
  seed_hash text collate "C" not null,
  attempt_hash text collate "C",
  binding_hash text collate "C",
  rotated_by text collate "C",
  device_label text,
  device_ip text,
  attributes json not null,
  data json,
  constraint "latchkey_session_pkey" primary key (sid)
) with (fillfactor = 80);
create index "latchkey_session_user" on "public"."latchkey_session" (user_id, tenant);

-- When a user's sessions were last ended: a login that began before is refused.
create table "public"."latchkey_user_mark" (
  tenant text collate "C" not null,
  user_id text collate "C" not null,
  revoked_at bigint not null,
  constraint "latchkey_user_mark_pkey" primary key (user_id, tenant)
);

create table "public"."latchkey_denied" (
  jti text collate "C" not null,
  sid text collate "C" not null,
  expires_at bigint not null,
  constraint "latchkey_denied_pkey" primary key (sid, jti)
);

-- Rate limits count anew after a crash: not worth a log.
create unlogged table "public"."latchkey_counter" (
  key text collate "C" not null,
  used double precision not null,
  resets_at bigint not null,
  constraint "latchkey_counter_pkey" primary key (key)
) with (fillfactor = 50);

create table "public"."latchkey_signing_keys" (
  single boolean primary key default true check (single),
  version bigint not null,
  document text not null
);

-- Append-only, without a unique constraint: it can be partitioned by range of "at".
create table "public"."latchkey_audit" (
  at timestamptz(3) not null,
  seq bigint generated always as identity,
  type text collate "C" not null,
  result text collate "C" not null,
  tenant text collate "C",
  user_id text collate "C",
  actor_tenant text collate "C",
  actor_id text collate "C",
  session_id text collate "C",
  ip text,
  user_agent text,
  cause text,
  detail json
);
create index "latchkey_audit_seq" on "public"."latchkey_audit" (seq);
create index "latchkey_audit_user" on "public"."latchkey_audit" (user_id, tenant, seq);
create index "latchkey_audit_session" on "public"."latchkey_audit" (session_id, seq);
create index "latchkey_audit_at" on "public"."latchkey_audit" using brin (at);

-- "tx" says what a reader has seen: sequences and clocks do not, as transactions commit in any order.
create table "public"."latchkey_feed" (
  seq bigint generated always as identity,
  tx xid8 not null default pg_current_xact_id(),
  at bigint not null,
  sid text collate "C" not null,
  ver integer,
  constraint "latchkey_feed_pkey" primary key (seq)
);
create index "latchkey_feed_tx" on "public"."latchkey_feed" (tx);
comment on column "public"."latchkey_feed".ver is 'null: the session was revoked';

create or replace function "public"."latchkey_open_session"(
  p_now bigint, p_lock_timeout text, p_sid text, p_tenant text, p_user_id text, p_seed_hash text,
  p_binding_hash text, p_device_label text, p_device_ip text, p_remember boolean,
  p_attributes json, p_data json, p_idle_ms bigint, p_absolute_ms bigint,
  p_max bigint, p_on_limit text, p_login_age_ms bigint,
  p_replace boolean, p_old_sid text, p_old_seed_hash text, p_or_else text, p_keep_data boolean,
  out o_outcome text, out o_revoked text[], out o_session "public"."latchkey_session"
) language plpgsql as $latchkey$
declare
  v_tenant text := p_tenant;
  v_user_id text := p_user_id;
  v_now bigint;
  v_old "public"."latchkey_session";
  v_replaced boolean := false;
  v_revoked_at bigint;
  v_others bigint;
begin
  if pg_is_in_recovery() then
    raise exception 'the server is a standby' using errcode = 'read_only_sql_transaction';
  end if;
  if current_setting('transaction_isolation') = 'repeatable read' then
    -- There every look is as old as the transaction, and the lock protects nothing.
    raise exception 'latchkey does not work at REPEATABLE READ' using errcode = 'invalid_transaction_state';
  end if;
  if p_lock_timeout is not null then
    perform set_config('lock_timeout', p_lock_timeout, true);
  end if;
  perform pg_advisory_xact_lock(hashtextextended(v_tenant || E'\x1f' || v_user_id, 6954049043094998190));
  v_now := coalesce(p_now, floor(date_part('epoch', clock_timestamp()) * 1000)::bigint);
  o_revoked := '{}';
  select * into o_session from "public"."latchkey_session" where sid = p_sid;
  if found then
    if o_session.idle_deadline > v_now and o_session.absolute_deadline > v_now then
      if o_session.seed_hash <> p_seed_hash then
        raise exception 'the session id is taken' using errcode = 'unique_violation';
      end if;
      o_outcome := 'created';
      return;
    end if;
    delete from "public"."latchkey_session" where sid = p_sid;
    o_session := null;
  end if;

  if p_replace then
    select * into v_old from "public"."latchkey_session"
    where sid = p_old_sid and tenant = p_tenant and user_id = p_user_id and idle_deadline > v_now and absolute_deadline > v_now
      and (p_old_seed_hash is null or seed_hash = p_old_seed_hash) for update;
    v_replaced := found;
    if not v_replaced and p_or_else = 'refuse' then
      o_outcome := 'gone';
      return;
    end if;
  end if;

  select revoked_at into v_revoked_at from "public"."latchkey_user_mark"
  where tenant = p_tenant and user_id = p_user_id;
  if v_now < v_revoked_at + 600000 and (
    v_now - p_login_age_ms < v_revoked_at
    or (p_login_age_ms > 0 and v_now - p_login_age_ms <= v_revoked_at)
  ) then
    o_outcome := 'stale_login';
    return;
  end if;

  select count(*) into v_others from "public"."latchkey_session"
  where tenant = p_tenant and user_id = p_user_id and idle_deadline > v_now and absolute_deadline > v_now
    and not (v_replaced and sid = p_old_sid);
  if v_others >= p_max then
    if p_on_limit = 'refuse' then
      o_outcome := 'session_limit';
      return;
    end if;
    select array_agg(sid) into o_revoked from (
      select sid from "public"."latchkey_session"
      where tenant = p_tenant and user_id = p_user_id and idle_deadline > v_now and absolute_deadline > v_now
        and not (v_replaced and sid = p_old_sid)
      order by last_seen_at, created_at, sid limit v_others - p_max + 1
    ) evicted;
  end if;
  if v_replaced then
    o_revoked := o_revoked || p_old_sid;
  end if;
  if cardinality(o_revoked) > 0 then
    perform 1 from "public"."latchkey_session" where sid = any(o_revoked) order by sid for update;
    insert into "public"."latchkey_feed" (at, sid) select v_now, unnest(o_revoked);
    delete from "public"."latchkey_session" where sid = any(o_revoked);
  end if;

  insert into "public"."latchkey_session" (sid, rotated_at, created_at, auth_time, last_seen_at, idle_deadline, absolute_deadline, generation, ver, data_ver, confirmed, remember, tenant, user_id, seed_hash, attempt_hash, binding_hash, rotated_by, device_label, device_ip, attributes, data) values (
    p_sid, v_now, v_now, v_now, v_now,
    least(v_now + p_idle_ms, v_now + p_absolute_ms), v_now + p_absolute_ms,
    0, 0, 0, false, p_remember, p_tenant, p_user_id, p_seed_hash, null,
    p_binding_hash, p_binding_hash, p_device_label, p_device_ip,
    p_attributes, case when v_replaced and p_keep_data then v_old.data else p_data end
  ) returning * into o_session;
  o_outcome := 'created';
end
$latchkey$;

create or replace function "public"."latchkey_write_activity"(
  p_now bigint, p_lock_timeout text, p_sid text, p_generation bigint, p_idle_ms bigint
) returns void language plpgsql as $latchkey$
begin
  if p_lock_timeout is not null then
    perform set_config('lock_timeout', p_lock_timeout, true);
  end if;
  update "public"."latchkey_session" s set
    confirmed = s.confirmed or s.generation is not distinct from p_generation,
    last_seen_at = case when 2 * (p_now - s.last_seen_at) >= least(120000, p_idle_ms) then p_now else s.last_seen_at end,
    idle_deadline = case when 2 * (p_now - s.last_seen_at) >= least(120000, p_idle_ms)
      then greatest(s.idle_deadline, least(s.absolute_deadline, p_now + p_idle_ms))
      else s.idle_deadline end
  where s.sid = p_sid and (2 * (p_now - s.last_seen_at) >= least(120000, p_idle_ms) or (not s.confirmed and s.generation = p_generation));
end
$latchkey$;

create or replace function "public"."latchkey_revoke_user"(
  p_now bigint, p_lock_timeout text, p_tenant text, p_user_id text, p_except text,
  out o_revoked text[]
) language plpgsql as $latchkey$
declare
  v_tenant text := p_tenant;
  v_user_id text := p_user_id;
  v_now bigint;
begin
  if pg_is_in_recovery() then
    raise exception 'the server is a standby' using errcode = 'read_only_sql_transaction';
  end if;
  if current_setting('transaction_isolation') = 'repeatable read' then
    -- There every look is as old as the transaction, and the lock protects nothing.
    raise exception 'latchkey does not work at REPEATABLE READ' using errcode = 'invalid_transaction_state';
  end if;
  if p_lock_timeout is not null then
    perform set_config('lock_timeout', p_lock_timeout, true);
  end if;
  perform pg_advisory_xact_lock(hashtextextended(v_tenant || E'\x1f' || v_user_id, 6954049043094998190));
  v_now := coalesce(p_now, floor(date_part('epoch', clock_timestamp()) * 1000)::bigint);
  select coalesce(array_agg(sid), '{}') into o_revoked from (
    select sid from "public"."latchkey_session"
    where tenant = p_tenant and user_id = p_user_id and idle_deadline > v_now and absolute_deadline > v_now and sid is distinct from p_except
    order by sid for update
  ) live;
  insert into "public"."latchkey_user_mark" as mark (tenant, user_id, revoked_at)
  values (p_tenant, p_user_id, v_now)
  on conflict (tenant, user_id) do update
    set revoked_at = greatest(mark.revoked_at, excluded.revoked_at);
  if cardinality(o_revoked) > 0 then
    insert into "public"."latchkey_feed" (at, sid) select v_now, unnest(o_revoked);
    delete from "public"."latchkey_session" where sid = any(o_revoked);
  end if;
end
$latchkey$;

create or replace function "public"."latchkey_rotate_or_revoke_user"(
  p_now bigint, p_lock_timeout text, p_sid text, p_seed_hash text, p_generation bigint,
  p_attempt_hash text, p_binding_hash text, p_reuse_grace_ms bigint,
  p_lost_response_window_ms bigint, p_idle_ms bigint,
  out o_outcome text, out o_now bigint, out o_revoked text[], out o_session "public"."latchkey_session"
) language plpgsql as $latchkey$
declare
  v_tenant text;
  v_user_id text;
  v_now bigint;
  v_decided record;
begin
  if pg_is_in_recovery() then
    raise exception 'the server is a standby' using errcode = 'read_only_sql_transaction';
  end if;
  select tenant, user_id into v_tenant, v_user_id from "public"."latchkey_session" where sid = p_sid;
  if not found then
    o_outcome := 'gone';
    return;
  end if;
  if pg_is_in_recovery() then
    raise exception 'the server is a standby' using errcode = 'read_only_sql_transaction';
  end if;
  if current_setting('transaction_isolation') = 'repeatable read' then
    -- There every look is as old as the transaction, and the lock protects nothing.
    raise exception 'latchkey does not work at REPEATABLE READ' using errcode = 'invalid_transaction_state';
  end if;
  if p_lock_timeout is not null then
    perform set_config('lock_timeout', p_lock_timeout, true);
  end if;
  perform pg_advisory_xact_lock(hashtextextended(v_tenant || E'\x1f' || v_user_id, 6954049043094998190));
  v_now := coalesce(p_now, floor(date_part('epoch', clock_timestamp()) * 1000)::bigint);
  with locked as materialized (
  select s.sid, s.rotated_at, s.created_at, s.auth_time, s.last_seen_at, s.idle_deadline, s.absolute_deadline, s.generation, s.ver, s.data_ver, s.confirmed, s.remember, s.tenant, s.user_id, s.seed_hash, s.attempt_hash, s.binding_hash, s.rotated_by, s.device_label, s.device_ip, s.attributes, s.data from "public"."latchkey_session" s
  where s.sid = p_sid and true for update of s
), decided as materialized (
  select timed.*, case
    when (now >= idle_deadline or now >= absolute_deadline) then 'gone'
    when seed_hash <> p_seed_hash then 'seed'
    when generation - p_generation = 0 then 'rotated'
    when generation - p_generation < -16 then 'ahead'
    when generation - p_generation < 0 then 'recovered'
    when generation - p_generation > 1 then 'reused'
    when attempt_hash = p_attempt_hash then 'attempt'
    when rotated_by is distinct from p_binding_hash then 'reused'
    when greatest(0, now - rotated_at) < p_reuse_grace_ms then 'grace'
    when not confirmed and greatest(0, now - rotated_at) < p_lost_response_window_ms then 'lost_response'
    else 'reused' end as outcome
  from (select locked.*, coalesce(p_now, floor(date_part('epoch', clock_timestamp()) * 1000)::bigint) as now from locked) timed
), written as (
  update "public"."latchkey_session" s set generation = p_generation + 1, rotated_at = d.now,
    rotated_by = p_binding_hash, attempt_hash = p_attempt_hash, confirmed = false,
    last_seen_at = d.now, idle_deadline = least(d.absolute_deadline, d.now + p_idle_ms)
  from decided d where s.sid = d.sid and d.outcome in ('rotated', 'recovered')
), ended as (
  delete from "public"."latchkey_session" s using decided d where s.sid = d.sid and d.outcome = 'reused'
), told as (
  insert into "public"."latchkey_feed" (at, sid) select now, sid from decided where outcome = 'reused'
)
  select outcome, now, row(decided.sid, decided.rotated_at, decided.created_at, decided.auth_time, decided.last_seen_at, decided.idle_deadline, decided.absolute_deadline, decided.generation, decided.ver, decided.data_ver, decided.confirmed, decided.remember, decided.tenant, decided.user_id, decided.seed_hash, decided.attempt_hash, decided.binding_hash, decided.rotated_by, decided.device_label, decided.device_ip, decided.attributes, decided.data)::"public"."latchkey_session" as session into v_decided from decided;
  if not found then
    o_outcome := 'gone';
    return;
  end if;
  o_outcome := v_decided.outcome;
  o_now := v_decided.now;
  o_session := v_decided.session;
  o_revoked := '{}';
  if o_outcome = 'reused' then
    o_revoked := p_sid || "public"."latchkey_revoke_user"(p_now, p_lock_timeout, v_tenant, v_user_id, null);
  end if;
end
$latchkey$;

create or replace function "public"."latchkey_tell_feed"() returns trigger
language plpgsql as $latchkey$
begin
  perform pg_notify('latchkey_feed_5b886ae902f5b84b', '');
  return null;
end
$latchkey$;

create trigger "latchkey_feed_told" after insert on "public"."latchkey_feed"
for each row execute function "public"."latchkey_tell_feed"();

insert into "public"."latchkey_migration" (version, name) values (1, 'sessions');

commit;
