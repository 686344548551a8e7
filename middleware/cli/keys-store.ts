import type { Store } from '../../lib/store.ts'
import { withDeadline } from '../../lib/store-deadline.ts'
import { createKeyRing } from '../../lib/key-ring.ts'
import type { KeyRing } from '../../lib/key-ring.ts'
import { postgresStore } from '../../stores/postgres.ts'
import { redisStore } from '../../stores/redis.ts'
import type { CommandIo } from './command.ts'
import { UsageError } from './command.ts'
import { databaseUrl, withPool } from './postgres.ts'
import { withRedis } from './redis.ts'

/** Options of every command that works on the keys of a store. */
export const STORE_OPTIONS = {
  url: { type: 'string' },
  schema: { type: 'string' },
  'table-prefix': { type: 'string' },
  prefix: { type: 'string' },
} as const

/** Their part of the help. */
export const STORE_HELP = `  --url <url>            the store, postgres:// or redis://; by default DATABASE_URL or REDIS_URL,
                         which other users of this machine cannot read in the list of processes
  --schema <name>        as postgresStore's schema (public)
  --table-prefix <name>  as postgresStore's tablePrefix (latchkey_)
  --prefix <name>        as redisStore's prefix (latchkey)

LATCHKEY_SECRETS has the app's secrets, separated by commas, the one that signs first.`

const DEADLINE_MS = 10_000

/** What a command says of its store. */
export interface StoreChoice {
  readonly url?: string | undefined
  readonly schema?: string | undefined
  readonly 'table-prefix'?: string | undefined
  readonly prefix?: string | undefined
}

/** Opens the store for a piece of work and closes it. The work is told where in the store it is. */
export async function withStore<Result>(
  choice: StoreChoice,
  io: CommandIo,
  work: (store: Store, place: string) => Promise<Result>,
): Promise<Result> {
  const { REDIS_URL, DATABASE_URL } = io.env
  if (choice.url === undefined && REDIS_URL !== undefined && DATABASE_URL !== undefined) {
    throw new UsageError('DATABASE_URL and REDIS_URL are both set; say which by --url')
  }
  const url = choice.url ?? DATABASE_URL ?? REDIS_URL ?? ''
  if (/^rediss?:\/\//.test(url)) {
    const { prefix = 'latchkey' } = choice
    return withRedis(url, async (client) =>
      closing(redisStore({ client, prefix }), (store) => work(store, `--prefix ${prefix}`)),
    )
  }
  if (url === '') throw new UsageError('no store: set DATABASE_URL or REDIS_URL, or give --url')
  return withPool(databaseUrl(url, io), async (pool) => {
    const { schema = 'public', 'table-prefix': tablePrefix = 'latchkey_' } = choice
    // The URL may be a pooler's, and the server far away: nobody's request waits for a command.
    const options = {
      prepare: false,
      listen: false,
      pruneInterval: false,
      operationTimeout: `${DEADLINE_MS}ms`,
    } as const
    const place = `--schema ${schema} --table-prefix ${tablePrefix}`
    return closing(postgresStore({ pool, schema, tablePrefix, ...options }), (store) =>
      work(store, place),
    )
  })
}

async function closing<Result>(
  store: Store,
  work: (store: Store) => Promise<Result>,
): Promise<Result> {
  try {
    return await work(withDeadline(store, DEADLINE_MS))
  } finally {
    await store.close()
  }
}

/** The app's secrets, from the environment only: arguments can be read by others. */
export function readSecrets({ env }: CommandIo): KeyRing {
  const text = env['LATCHKEY_SECRETS'] ?? ''
  if (text === '') throw new UsageError('no secrets: set LATCHKEY_SECRETS, separated by commas')
  return createKeyRing(text.split(',').map((secret) => secret.trim()))
}
