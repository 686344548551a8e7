import { ConfigError } from '../../lib/errors.ts'
import type { PostgresPool } from '../../stores/postgres.ts'
import type { CommandIo } from './command.ts'
import { messageOf, UsageError } from './command.ts'
import { loadPeer } from './load-peer.ts'

/** Options of every command that works on Postgres. */
export const POSTGRES_OPTIONS = {
  url: { type: 'string' },
  schema: { type: 'string' },
  'table-prefix': { type: 'string' },
} as const

/** Their part of a command's help. */
export const POSTGRES_HELP = `  --url <url>            the database; by default DATABASE_URL, which other users of this
                         machine cannot read in the list of processes
  --schema <name>        as postgresStore's schema (public)
  --table-prefix <name>  as postgresStore's tablePrefix (latchkey_)`

/** A pool that the command ends itself. */
export interface OwnPool extends PostgresPool {
  end(): Promise<void>
}

const CONNECT_MS = 10_000

/**
 * Opens a pool of one connection for a piece of work and ends it.
 *
 * @throws {Error} whose message has no password in it
 */
export async function withPool<Result>(
  url: string,
  work: (pool: OwnPool) => Promise<Result>,
): Promise<Result> {
  // Only when it is needed: without Postgres nobody has to install `pg`.
  const { Pool } = loadPeer('pg', isPg)
  const pool = new Pool({
    connectionString: url,
    max: 1,
    connectionTimeoutMillis: CONNECT_MS,
    application_name: 'latchkey',
  })
  // What breaks is told by the work; without a listener it would end the process.
  pool.on('error', () => undefined)
  try {
    return await work(pool)
  } catch (error) {
    if (error instanceof ConfigError) throw error
    throw new Error(withoutPassword(messageOf(error), url), { cause: error })
  } finally {
    await pool.end()
  }
}

/**
 * The database to work on.
 *
 * @throws {UsageError} when there is none, or its URL cannot mean what it says
 */
export function databaseUrl(given: string | undefined, { env }: CommandIo): string {
  const url = given ?? env['DATABASE_URL'] ?? ''
  if (url === '') throw new UsageError('no database: set DATABASE_URL, or give --url')
  if (!/^postgres(?:ql)?:\/\//.test(url) || !URL.canParse(url)) {
    throw new UsageError('the database must be a URL: postgres://user:password@host:5432/database')
  }
  const { hash, pathname, password } = new URL(url)
  const isEncoded = !/%(?![\da-f]{2})/i.test(password)
  if (!isEncoded || hash !== '' || pathname.includes('@')) {
    throw new UsageError('special characters in the password of the URL must be percent-encoded')
  }
  return url
}

interface Pg {
  readonly Pool: new (options: object) => OwnPool
}

function isPg(value: unknown): value is Pg {
  return typeof value === 'object' && value !== null && 'Pool' in value
}

/** A message without what the URL has for a password. */
export function withoutPassword(message: string, url: string): string {
  const { password, searchParams } = new URL(url)
  return [password, decodeURIComponent(password), searchParams.get('password') ?? '']
    .filter((secret) => secret !== '')
    .reduce((text, secret) => text.replaceAll(secret, '***'), message)
}
