import { randomBytes } from 'node:crypto'
import { Redis } from 'ioredis'
import { generateSigningKey, memoryStore } from 'latchkey'
import type { SigningKeyInput, Store } from 'latchkey'
import { postgresStore } from 'latchkey/stores/postgres'
import { redisStore } from 'latchkey/stores/redis'
import { Pool } from 'pg'
import type { Config } from './config.ts'

/** A store, and what proves the tokens of everybody who uses it. */
export interface OpenedStore {
  readonly store: Store
  readonly secrets?: string[]
  readonly signingKey?: SigningKeyInput
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
    ...(await shared(store)),
    ...given(config),
    store,
    async close() {
      await store.close()
      client.disconnect()
    },
  }
}

async function openPostgres(url: string, config: Config): Promise<OpenedStore> {
  const pool = new Pool({ connectionString: url, connectionTimeoutMillis: 2000 })
  const store = postgresStore({ pool, tablePrefix: 'latchkey_example_' })
  // Several processes may start at once. In production a deployment does it, as another role.
  await store.migrate()
  return {
    ...(await shared(store)),
    ...given(config),
    store,
    async close() {
      await store.close()
      await pool.end()
    },
  }
}

function given({ secrets, signingKey }: Config) {
  return { ...(secrets && { secrets }), ...(signingKey && { signingKey }) }
}

/**
 * Secret and signing key that all processes on one store share: whoever comes first draws them. For
 * a demo only: in production they come from where the database does not.
 */
async function shared(store: Store): Promise<{ secrets: string[]; signingKey: SigningKeyInput }> {
  for (;;) {
    const found = await store.keys.load()
    if (found !== null) {
      const keys: { secrets: string[]; signingKey: SigningKeyInput } = JSON.parse(found.document)
      return keys
    }
    const drawn = {
      secrets: [randomBytes(32).toString('base64url')],
      signingKey: generateSigningKey(),
    }
    if (await store.keys.save(0, JSON.stringify(drawn))) return drawn
  }
}
