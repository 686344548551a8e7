import { Redis } from 'ioredis'
import { Pool } from 'pg'
import type { Store } from '../../lib/store.ts'
import { memoryStore } from '../../stores/memory.ts'
import { postgresStore } from '../../stores/postgres.ts'
import { redisStore } from '../../stores/redis.ts'
import { newSchema } from '../stores/postgres/open.ts'
import { newPrefix } from '../stores/redis/open.ts'
import { sharedPostgresUrl } from './postgres-server.ts'
import { sharedRedisUrl } from './redis-server.ts'

/** A place that several nodes share, each by connections of its own. */
export interface Place {
  open(): Promise<Store>
  close(): Promise<void>
}

/** Makes a {@link Place}. */
export type MakePlace = (options?: { readonly clock?: () => number }) => Place

/** A process has only one store in memory: its nodes share that. */
export const inMemory: MakePlace = (options = {}) => {
  const store = memoryStore(options)
  return { open: async () => store, close: async () => store.close() }
}

export const onRedis: MakePlace = (options = {}) => {
  const prefix = newPrefix()
  const clients: Redis[] = []
  const stores: Store[] = []
  return {
    async open() {
      const client = new Redis(sharedRedisUrl())
      const store = redisStore({ client, prefix, ...options })
      clients.push(client)
      stores.push(store)
      return store
    },
    async close() {
      await Promise.all(stores.map(async (store) => store.close()))
      for (const client of clients) client.disconnect()
    },
  }
}

export const onPostgres: MakePlace = (options = {}) => {
  const schema = newSchema()
  const pools: Pool[] = []
  const stores: Store[] = []
  return {
    async open() {
      const pool = new Pool({
        connectionString: sharedPostgresUrl(),
        connectionTimeoutMillis: 10_000,
        max: 5,
      })
      const store = postgresStore({
        pool,
        schema,
        pruneInterval: false,
        operationTimeout: '10s',
        ...options,
      })
      await store.migrate()
      pools.push(pool)
      stores.push(store)
      return store
    },
    async close() {
      await Promise.all(stores.map(async (store) => store.close()))
      await pools[0]?.query(`drop schema "${schema}" cascade`)
      await Promise.all(pools.map(async (pool) => pool.end()))
    },
  }
}
