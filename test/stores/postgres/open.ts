import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll } from '@jest/globals'
import { Pool } from 'pg'
import { createNames } from '../../../stores/postgres/names.ts'
import type { PostgresStore, PostgresStoreOptions } from '../../../stores/postgres.ts'
import { postgresStore } from '../../../stores/postgres.ts'
import type { OpenedStore } from '../contract.ts'
import { testClock } from '../contract.ts'

/** A schema of its own: one server serves all tests. */
export interface Database {
  readonly pool: Pool
  readonly schema: string
  /** A store on it by the server's clock, as apps have it, that prunes only when it is told to. */
  store(options?: Partial<PostgresStoreOptions>): PostgresStore
}

export function newSchema(): string {
  return `test_${randomBytes(6).toString('hex')}`
}

/** Opens a pool and makes a schema, before the tests of a `describe`; removes both after. */
export function useDatabase(url: () => string, schema: string = newSchema()): Database {
  let pool: Pool | undefined
  const stores: PostgresStore[] = []
  const database: Database = {
    get pool() {
      if (pool === undefined) throw new Error('no pool is open')
      return pool
    },
    schema,
    store(options) {
      const store = postgresStore({
        pool: database.pool,
        schema,
        operationTimeout: '10s',
        pruneInterval: false,
        ...options,
      })
      stores.push(store)
      return store
    },
  }
  beforeAll(async () => {
    pool = new Pool({ connectionString: url(), connectionTimeoutMillis: 10_000, max: 20 })
    const store = database.store()
    await store.migrate()
    await store.close()
  })
  afterAll(async () => {
    // A store that a test left open holds a connection of its own.
    await Promise.all(stores.map(async (store) => store.close()))
    await pool?.query(`drop schema "${schema}" cascade`)
    await pool?.end()
  })
  return database
}

/** Opens a store for the contract and the model. */
export function openOn(
  database: Database,
  options: Partial<PostgresStoreOptions> = {},
): () => Promise<OpenedStore> {
  const { session } = createNames(database.schema, 'latchkey_')
  return async () => {
    const clock = testClock()
    const store = database.store({ clock: () => clock.now(), ...options })
    return {
      store,
      clock,
      async close() {
        await store.close()
      },
      async snapshot(sid) {
        const { rows } = await database.pool.query({
          text: `select s::text from ${session} s where sid = $1`,
          values: [sid],
        })
        const row: unknown = rows[0]?.s
        if (typeof row !== 'string') throw new Error('nothing to remember')
        return async () => {
          const client = await database.pool.connect()
          await client.query('begin')
          await client.query(`delete from ${session} where sid = $1`, [sid])
          await client.query(`insert into ${session} select ($1::text::${session}).*`, [row])
          await client.query('commit')
          client.release()
        }
      },
    }
  }
}
