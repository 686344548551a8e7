import { functions1Sql } from './functions-1.ts'
import { functionsSql } from './functions.ts'
import type { Names } from './names.ts'

/** One step from a version of the schema to the next. */
export interface Migration {
  readonly version: number
  readonly name: string
  readonly sql: string
}

/** The newest version of the schema, the one this code works on. */
export const SCHEMA_VERSION = 2

/**
 * All migrations in order. What a released one has made of the tables is never changed: a change is one
 * more migration. Functions are made by the newest alone, under a new name when they take or answer
 * something else, and it keeps those that nodes of the version before call.
 *
 * Instants are epoch milliseconds of the server, but for the audit trail, which is for people.
 */
export function migrations(names: Names): readonly Migration[] {
  return [
    { version: 1, name: 'sessions', sql: tables(names) },
    {
      version: 2,
      name: 'audit_with_change',
      sql: `${functionsSql(names)}\n\n${functions1Sql(names)}`,
    },
  ]
}

function tables(names: Names): string {
  const { prefix } = names
  return `create table ${names.meta} (
  single boolean primary key default true check (single),
  feed_id text not null default replace(gen_random_uuid()::text, '-', ''),
  pruned_at bigint not null default 0
);
insert into ${names.meta} default values;

-- No index on what a touch or a rotation changes: they stay heap-only (HOT).
create table ${names.session} (
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
  constraint "${prefix}session_pkey" primary key (sid)
) with (fillfactor = 80);
create index "${prefix}session_user" on ${names.session} (user_id, tenant);

-- When a user's sessions were last ended: a login that began before is refused.
create table ${names.userMark} (
  tenant text collate "C" not null,
  user_id text collate "C" not null,
  revoked_at bigint not null,
  constraint "${prefix}user_mark_pkey" primary key (user_id, tenant)
);

create table ${names.denied} (
  jti text collate "C" not null,
  sid text collate "C" not null,
  expires_at bigint not null,
  constraint "${prefix}denied_pkey" primary key (sid, jti)
);

-- Rate limits count anew after a crash: not worth a log.
create unlogged table ${names.counter} (
  key text collate "C" not null,
  used double precision not null,
  resets_at bigint not null,
  constraint "${prefix}counter_pkey" primary key (key)
) with (fillfactor = 50);

create table ${names.signingKeys} (
  single boolean primary key default true check (single),
  version bigint not null,
  document text not null
);

-- Append-only, without a unique constraint: it can be partitioned by range of "at".
create table ${names.audit} (
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
create index "${prefix}audit_seq" on ${names.audit} (seq);
create index "${prefix}audit_user" on ${names.audit} (user_id, tenant, seq);
create index "${prefix}audit_session" on ${names.audit} (session_id, seq);
create index "${prefix}audit_at" on ${names.audit} using brin (at);

-- "tx" says what a reader has seen: sequences and clocks do not, as transactions commit in any order.
create table ${names.feed} (
  seq bigint generated always as identity,
  tx xid8 not null default pg_current_xact_id(),
  at bigint not null,
  sid text collate "C" not null,
  ver integer,
  constraint "${prefix}feed_pkey" primary key (seq)
);
create index "${prefix}feed_tx" on ${names.feed} (tx);
comment on column ${names.feed}.ver is 'null: the session was revoked';`
}
