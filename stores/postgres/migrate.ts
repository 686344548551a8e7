import type { PostgresClient, PostgresPool, PostgresPoolClient, PostgresResult } from './client.ts'
import { isPool } from './client.ts'
import type { Names } from './names.ts'
import type { Runner } from './runner.ts'
import { statement, surviveErrors } from './runner.ts'
import type { Migration } from './schema.ts'
import { migrations, SCHEMA_VERSION } from './schema.ts'

/** What a migration did. */
export interface MigrationResult {
  /** Version of the schema before and after; 0 where there was none. */
  readonly from: number
  readonly to: number
}

/** The version of the schema; 0 where there is none. */
export async function schemaVersion(runner: Runner, names: Names): Promise<number> {
  const exists = statement('schema', `select to_regclass('${names.migration}') is not null`)
  const [row] = await runner.run(exists, [])
  if (row?.[0] !== 't') return 0
  const [version] = await runner.run(statement('schema_version', versionSql(names)), [])
  return Number(version?.[0])
}

/** How {@link migrate} goes about it. */
export interface MigrateOptions {
  /** A role that gets what an app needs, in the same transaction. */
  readonly grantTo?: string | undefined
}

/**
 * Brings the schema to the version of this code, in one transaction and under a lock: nodes that start
 * together wait for one another. On a client that is in a transaction it is part of that, all or nothing.
 *
 * @throws {Error} when the schema is newer than this code
 */
export async function migrate(
  client: PostgresPool | PostgresClient,
  names: Names,
  options: MigrateOptions = {},
): Promise<MigrationResult> {
  if (!isPool(client)) return migrateAtOnce(client, names, options)
  const lent: PostgresPoolClient = await client.connect()
  surviveErrors(lent)
  let failed = true
  try {
    const result = await migrateAtOnce(lent, names, options)
    failed = false
    return result
  } finally {
    // With the connection goes its transaction, whatever state it is in.
    lent.release(failed)
  }
}

async function migrateAtOnce(
  client: PostgresClient,
  names: Names,
  { grantTo }: MigrateOptions,
): Promise<MigrationResult> {
  const transaction = await beginOn(client)
  try {
    const result = await migrateOn(client, names)
    if (grantTo !== undefined) await query(client, grantScript(names, grantTo))
    await query(client, transaction.commit)
    return result
  } catch (error) {
    await query(client, transaction.rollback).catch(() => undefined)
    throw error
  }
}

/** Begins a transaction, or a part of the one that the app has begun on this client. */
async function beginOn(
  client: PostgresClient,
): Promise<{ readonly commit: string; readonly rollback: string }> {
  if (await isInTransaction(client)) {
    await query(client, 'savepoint latchkey')
    return { commit: 'release savepoint latchkey', rollback: 'rollback to savepoint latchkey' }
  }
  // At any other level, who waited for the lock would not see what was done meanwhile.
  await query(client, 'begin isolation level read committed')
  return { commit: 'commit', rollback: 'rollback' }
}

/** What is set for a transaction is still set at the next statement if both are in one. */
async function isInTransaction(client: PostgresClient): Promise<boolean> {
  await query(client, `select set_config('latchkey.transaction', 'open', true)`)
  const [value] = await query(client, `select current_setting('latchkey.transaction', true)`)
  return value === 'open'
}

async function migrateOn(client: PostgresClient, names: Names): Promise<MigrationResult> {
  await query(client, `select pg_advisory_xact_lock(${names.migrationLock})`)
  const [encoding] = await query(client, `select current_setting('server_encoding')`)
  if (encoding !== 'UTF8') {
    throw new Error(`the database is encoded in ${String(encoding)}; latchkey needs one in UTF8`)
  }
  const [schema] = await query(
    client,
    `select exists (select from pg_namespace where nspname = '${names.schema}')`,
  )
  if (schema !== 't') await query(client, `create schema "${names.schema}"`)
  const [table] = await query(client, `select to_regclass('${names.migration}') is not null`)
  if (table !== 't') await query(client, migrationTable(names))
  const [version] = await query(client, versionSql(names))
  const from = Number(version)
  if (from > SCHEMA_VERSION) {
    throw new Error(
      `the schema "${names.schema}" is at version ${from}, newer than ${SCHEMA_VERSION}, which this latchkey knows; nothing was changed`,
    )
  }
  for (const migration of migrations(names)) {
    if (migration.version > from) await query(client, stepSql(names, migration))
  }
  return { from, to: SCHEMA_VERSION }
}

/** The whole schema as a script, for who runs SQL by hand; on an empty schema only. */
export function migrationScript(names: Names, { grantTo }: MigrateOptions = {}): string {
  const steps = migrations(names).map((migration) => stepSql(names, migration))
  return [
    'begin;',
    ENCODING_CHECK,
    `create schema if not exists "${names.schema}";`,
    `${migrationTable(names)};`,
    ...steps,
    ...(grantTo === undefined ? [] : [grantScript(names, grantTo)]),
    'commit;\n',
  ].join('\n\n')
}

const ENCODING_CHECK = `do $latchkey$ begin
  if current_setting('server_encoding') <> 'UTF8' then
    raise exception 'latchkey needs a database in UTF8';
  end if;
end $latchkey$;`

/**
 * What an app's role needs and no more: it can change rows, but not tables, and of the audit trail it
 * can neither change nor remove anything.
 *
 * @param role - an existing role, byte-exact
 */
export function grantScript(names: Names, role: string): string {
  const to = `to "${role.replaceAll('"', '""')}";`
  const { migration, meta, session, userMark, denied, counter, signingKeys, feed, audit } = names
  const { openSession, writeActivity, revokeUser, rotate, version1 } = names
  const functions = [openSession, writeActivity, revokeUser, rotate]
  functions.push(version1.openSession, version1.revokeUser, version1.rotateOrRevokeUser)
  return [
    `grant usage on schema "${names.schema}" ${to}`,
    `grant select on ${migration} ${to}`,
    `grant select, update (pruned_at) on ${meta} ${to}`,
    `grant select, insert, update, delete on ${[session, userMark, denied, counter].join(', ')} ${to}`,
    `grant select, insert, update on ${signingKeys} ${to}`,
    `grant select, insert, delete on ${feed} ${to}`,
    `grant select, insert on ${audit} ${to}`,
    `grant execute on function ${functions.join(', ')} ${to}`,
  ].join('\n')
}

function stepSql(names: Names, { version, name, sql }: Migration): string {
  return `${sql}\n\ninsert into ${names.migration} (version, name) values (${version}, '${name}');`
}

function migrationTable(names: Names): string {
  return `create table ${names.migration} (
  version integer primary key,
  name text not null,
  applied_at timestamptz not null default now()
)`
}

function versionSql(names: Names): string {
  return `select coalesce(max(version), 0) from ${names.migration}`
}

/** The first row of one or several statements. */
async function query(client: PostgresClient, text: string): Promise<readonly unknown[]> {
  const result: PostgresResult | readonly PostgresResult[] = await client.query({
    text,
    rowMode: 'array',
    types: { getTypeParser: () => (value: string) => value },
  })
  const rows: readonly unknown[] = 'rows' in result ? result.rows : []
  const first = rows[0]
  return Array.isArray(first) ? first : []
}
