import { randomBytes } from 'node:crypto'
import { Redis } from 'ioredis'
import { managedKeys, memoryStore } from 'latchkey'
import type { ManagedKeys, SigningKeyInput, Store } from 'latchkey'
import { postgresStore } from 'latchkey/stores/postgres'
import { redisStore } from 'latchkey/stores/redis'
import { Pool } from 'pg'
import type { Config } from './config.ts'

/** A store, and what proves the tokens of everybody who uses it. */
export interface OpenedStore {
  readonly store: Store
  readonly secrets?: string[]
  readonly signingKeys?: readonly SigningKeyInput[] | ManagedKeys
  close(): Promise<void>
}

/** Opens what the environment names. */
export async function openStore(config: Config): Promise<OpenedStore> {
  const { redisUrl, databaseUrl } = config
  if (redisUrl !== undefined) return openRedis(redisUrl, config)
  if (databaseUrl !== undefined) return openPostgres(databaseUrl, config)
  const store = memoryStore()
  return { ...given(config), store, close: () => store.close() }
}

async function openRedis(url: string, config: Config): Promise<OpenedStore> {
  const client = new Redis(url)
  // Requests say what is wrong with Redis; without a listener its errors would end the process.
  client.on('error', () => undefined)
  const store = redisStore({ client, prefix: 'latchkey-example' })
  return {
    signingKeys: managedKeys(),
    secrets: [await redisSecret(client)],
    ...given(config),
    store,
    async close() {
      await store.close()
      client.disconnect()
    },
  }
}

async function openPostgres(url: string, config: Config): Promise<OpenedStore> {
  const pool = new Pool({
    connectionString: url,
    // Tests that let the store take longer let a connection, too.
    connectionTimeoutMillis: config.storeDeadline === undefined ? 2000 : 10_000,
  })
  const store = postgresStore({
    pool,
    tablePrefix: 'latchkey_example_',
    operationTimeout: config.storeDeadline,
  })
  // Several processes may start at once. In production a deployment does it, as another role.
  await store.migrate()
  return {
    signingKeys: managedKeys(),
    secrets: [await postgresSecret(pool)],
    ...given(config),
    store,
    async close() {
      await store.close()
      await pool.end()
    },
  }
}

function given({ secrets, signingKey }: Config) {
  return { ...(secrets && { secrets }), ...(signingKey && { signingKeys: [signingKey] }) }
}

// Without LATCHKEY_SECRETS all processes on one store share a secret through it: whoever comes first
// draws it. For a demo only: in production it comes from where the database does not.

async function redisSecret(client: Redis): Promise<string> {
  const key = 'latchkey-example:demo-secret'
  await client.set(key, drawSecret(), 'NX')
  const secret = await client.get(key)
  if (secret === null) throw new Error('Redis did not keep the secret of the demo')
  return secret
}

async function postgresSecret(pool: Pool): Promise<string> {
  // One after the other: creating a table twice at the same moment fails, "if not exists" or not.
  await pool.query(`do $$ begin
    perform pg_advisory_xact_lock(7236012);
    create table if not exists latchkey_example_demo_secret (
      single boolean primary key default true check (single), secret text not null
    );
    insert into latchkey_example_demo_secret (secret) values ('${drawSecret()}')
    on conflict do nothing;
  end $$`)
  const { rows } = await pool.query<{ secret: string }>(
    'select secret from latchkey_example_demo_secret',
  )
  // One row, by its primary key.
  return rows.map(({ secret }) => secret).join('')
}

function drawSecret(): string {
  return randomBytes(32).toString('base64url')
}
