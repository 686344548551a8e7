import { Redis } from 'ioredis'
import { query } from '../../support/postgres-commands.ts'

/** Keys and values of a Redis database, bytes as latin1. */
export async function dumpRedis(url: string): Promise<string[]> {
  const client = new Redis(url)
  try {
    const keys = await client.keys('*')
    return await Promise.all(
      keys.map(async (key) => {
        const type = await client.type(key)
        return `${key} ${flatten(await readKey(client, key, type))}`
      }),
    )
  } finally {
    client.disconnect()
  }
}

async function readKey(client: Redis, key: string, type: string): Promise<unknown> {
  switch (type) {
    case 'string':
      return client.getBuffer(key)
    case 'hash':
      return client.callBuffer('HGETALL', key)
    case 'zset':
      return client.callBuffer('ZRANGE', key, '0', '-1', 'WITHSCORES')
    case 'list':
      return client.callBuffer('LRANGE', key, '0', '-1')
    case 'set':
      return client.callBuffer('SMEMBERS', key)
    case 'stream':
      return client.callBuffer('XRANGE', key, '-', '+')
    default:
      // It has expired since it was listed.
      return ''
  }
}

function flatten(value: unknown): string {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('latin1')
  if (Array.isArray(value)) return value.map(flatten).join(' ')
  return value instanceof Map ? flatten([...value.entries()]) : String(value)
}

/** Rows of all tables of the example in a Postgres database, as JSON; bytes as hex. */
export async function dumpPostgres(url: string): Promise<string[]> {
  const tables = await query<{ name: string }>(
    { url },
    `select quote_ident(tablename) as name from pg_tables where tablename like 'latchkey%'`,
  )
  const rows = await Promise.all(
    tables.map(async ({ name }) =>
      query<{ line: string }>({ url }, `select to_jsonb(t)::text as line from ${name} t`),
    ),
  )
  return rows.flat().map(({ line }) => line)
}
