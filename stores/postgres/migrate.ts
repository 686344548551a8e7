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

/**
 * Brings the schema to the version of this code, in one transaction and under a lock: nodes that start
 * together wait for one another.
 *
 * @throws {Error} when the schema is newer than this code
 */
export async function migrate(
  client: PostgresPool | PostgresClient,
  names: Names,
): Promise<MigrationResult> {
  if (!isPool(client)) return migrateOn(client, names)
  const lent: PostgresPoolClient = await client.connect()
  surviveErrors(lent)
  let failed = true
  try {
    await query(lent, 'begin')
    const result = await migrateOn(lent, names)
    await query(lent, 'commit')
    failed = false
    return result
  } finally {
    // Not rolled back by hand: with the connection goes its transaction, whatever state it is in.
    lent.release(failed)
  }
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
export function migrationScript(names: Names): string {
  const steps = migrations(names).map((migration) => stepSql(names, migration))
  return [
    'begin;',
    `create schema if not exists "${names.schema}";`,
    `${migrationTable(names)};`,
    ...steps,
    'commit;',
    '',
  ].join('\n\n')
}

/**
 * What an app's role needs and no more: it can change rows, but not tables, and of the audit trail it
 * can neither change nor remove anything.
 *
 * @param role - an existing role, as written in SQL
 */
export function grantScript(names: Names, role: string): string {
  const quoted = `"${role.replaceAll('"', '""')}"`
  const tables = [
    names.meta,
    names.session,
    names.userMark,
    names.denied,
    names.counter,
    names.signingKeys,
    names.feed,
  ]
  return [
    `grant usage on schema "${names.schema}" to ${quoted};`,
    `grant select on ${names.migration} to ${quoted};`,
    `grant select, insert, update, delete on ${tables.join(', ')} to ${quoted};`,
    `grant select, insert on ${names.audit} to ${quoted};`,
    '',
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
