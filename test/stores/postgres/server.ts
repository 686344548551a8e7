import { afterAll, beforeAll } from '@jest/globals'
import { Pool } from 'pg'
import type { PostgresStore, PostgresStoreOptions } from '../../../stores/postgres.ts'
import { postgresStore } from '../../../stores/postgres.ts'
import { sharedPostgresUrl } from '../../support/postgres-server.ts'
import { newSchema } from './open.ts'

/** The shared server, for tests that make their schemas themselves. */
export interface SharedServer {
  /** As its superuser. */
  readonly pool: Pool
  /** The name of a schema that does not exist; if it does after the tests, it goes. */
  schema(): string
  /** A pool with settings of its own, ended after the tests. */
  poolWith(options: { readonly settings?: string; readonly url?: string }): Pool
  store(schema: string, options?: Partial<PostgresStoreOptions>): PostgresStore
}

export function useServer(): SharedServer {
  const schemas: string[] = []
  const pools: Pool[] = []
  const server: SharedServer = {
    get pool() {
      const [pool] = pools
      if (pool === undefined) throw new Error('no pool is open')
      return pool
    },
    schema() {
      const schema = newSchema()
      schemas.push(schema)
      return schema
    },
    poolWith({ settings, url = sharedPostgresUrl() }) {
      const pool = new Pool({
        connectionString: url,
        connectionTimeoutMillis: 10_000,
        max: 20,
        ...(settings !== undefined && { options: settings }),
      })
      pools.push(pool)
      return pool
    },
    store: (schema, options) =>
      postgresStore({
        pool: server.pool,
        schema,
        operationTimeout: '10s',
        pruneInterval: false,
        ...options,
      }),
  }
  beforeAll(() => {
    server.poolWith({})
  })
  afterAll(async () => {
    for (const schema of schemas) {
      await server.pool.query(`drop schema if exists "${schema}" cascade`)
    }
    await Promise.all(pools.map(async (pool) => pool.end()))
  })
  return server
}

/** All that a schema has, as text. */
export async function contentsOf(pool: Pool, schema: string): Promise<string[]> {
  const { rows } = await pool.query({
    text: `
      select format('column %s.%s %s %s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
        a.attnotnull, a.attidentity) as line
      from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
      where c.relnamespace = to_regnamespace($1) and c.relkind in ('r', 'p')
      union all
      select format('relation %s %s %s %s', relname, relkind, relpersistence, reloptions)
      from pg_class where relnamespace = to_regnamespace($1)
      union all select indexdef from pg_indexes where schemaname = $1
      union all
      select pg_get_functiondef(oid) from pg_proc where pronamespace = to_regnamespace($1)
      union all
      select pg_get_triggerdef(t.oid) from pg_trigger t join pg_class c on c.oid = t.tgrelid
      where c.relnamespace = to_regnamespace($1) and not t.tgisinternal
      order by 1`,
    values: [schema],
  })
  return rows.map(({ line }: { line: string }) => line.replaceAll(schema, 'SCHEMA'))
}
