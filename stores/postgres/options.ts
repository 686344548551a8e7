import type { Duration } from '../../lib/duration.ts'
import { parseDuration } from '../../lib/duration.ts'
import { ConfigError } from '../../lib/errors.ts'
import { rejectUnknownOptions } from '../../lib/unknown-options.ts'
import type { PostgresClient, PostgresPool } from './client.ts'
import { isPool } from './client.ts'
import type { Names } from './names.ts'
import { createNames } from './names.ts'

/** Options of `postgresStore`. */
export interface PostgresStoreOptions {
  /**
   * A pg 8 `Pool` the app made. Besides it the store opens one connection of its own, to follow the
   * feed. A `PoolClient` or a `Client` too: all operations then are part of whatever transaction it
   * is in, nothing is retried, and nothing runs by itself.
   */
  readonly pool: PostgresPool | PostgresClient
  /** Schema of the tables: `^[a-z_][a-z0-9_]{0,40}$`. @defaultValue `'public'` */
  readonly schema?: string | undefined
  /** What the names of all tables and functions start with, of the same form. @defaultValue `'latchkey_'` */
  readonly tablePrefix?: string | undefined
  /**
   * How long an operation may take, the wait for a connection and for locks included; then its
   * connection is closed and it fails. Connecting may take longer. Below the kit's `storeDeadline`.
   *
   * @defaultValue `'200ms'`
   */
  readonly operationTimeout?: Duration | undefined
  /**
   * Whether statements are prepared under a name, once a connection. `false` for poolers that give
   * each transaction another connection and know no prepared statements, such as PgBouncer below 1.21.
   *
   * @defaultValue true
   */
  readonly prepare?: boolean | undefined
  /**
   * Whether LISTEN wakes the nodes; `false` behind transaction poolers, where it cannot: the feed is
   * then read five times a second.
   *
   * @defaultValue true
   */
  readonly listen?: boolean | undefined
  /**
   * How long the feed keeps entries: at least twice the longest access token's life and 5 minutes.
   *
   * @defaultValue `'1h'`
   */
  readonly feedRetention?: Duration | undefined
  /** How long audit events are kept. @defaultValue `'90d'` */
  readonly auditRetention?: Duration | undefined
  /**
   * How often one of the nodes removes what is over; `false` leaves it to calls of `prune`, or
   * `npx latchkey prune`.
   *
   * @defaultValue `'10m'`
   */
  readonly pruneInterval?: Duration | false | undefined
  /** Epoch milliseconds, in the place of the server's clock; for tests. @defaultValue the server's */
  readonly clock?: (() => number) | undefined
}

/** Options, checked and complete. */
export interface PostgresSettings {
  readonly client: PostgresPool | PostgresClient
  readonly names: Names
  readonly operationTimeoutMs: number
  readonly prepare: boolean
  readonly listen: boolean
  readonly feedRetentionMs: number
  readonly auditRetentionMs: number
  /** Null when nothing is pruned by itself. */
  readonly pruneIntervalMs: number | null
  readonly clock: (() => number) | undefined
}

const NAME = /^[a-z_][a-z0-9_]{0,40}$/
const MINUTE = 60_000
const DAY = 1440 * MINUTE

/** @throws {ConfigError} `invalid_option` */
export function parsePostgresOptions(options: PostgresStoreOptions): PostgresSettings {
  const { pool, schema = 'public', tablePrefix = 'latchkey_' } = options
  rejectUnknownOptions('', options, [
    'pool',
    'schema',
    'tablePrefix',
    'operationTimeout',
    'prepare',
    'listen',
    'feedRetention',
    'auditRetention',
    'pruneInterval',
    'clock',
  ])
  refuseWrongPool(pool)
  const { operationTimeout = '200ms', feedRetention = '1h', auditRetention = '90d' } = options
  const { prepare = true, listen = true, pruneInterval = '10m' } = options
  for (const [name, value] of Object.entries({ prepare, listen })) {
    if (typeof value !== 'boolean') throw new ConfigError(name, 'must be true or false')
  }
  return {
    client: pool,
    names: parseNames(schema, tablePrefix),
    operationTimeoutMs: parseDuration('operationTimeout', operationTimeout, {
      minMs: 10,
      maxMs: MINUTE,
    }),
    prepare,
    listen,
    feedRetentionMs: parseDuration('feedRetention', feedRetention, {
      minMs: 6 * MINUTE,
      maxMs: 7 * DAY,
    }),
    auditRetentionMs: parseDuration('auditRetention', auditRetention, {
      minMs: DAY,
      maxMs: 3650 * DAY,
    }),
    pruneIntervalMs:
      pruneInterval === false || !isPool(pool)
        ? null
        : parseDuration('pruneInterval', pruneInterval, { minMs: 1000, maxMs: DAY }),
    clock: options.clock,
  }
}

/**
 * The names of tables and functions. They are part of statements, so they are checked.
 *
 * @throws {ConfigError} `invalid_option`
 */
export function parseNames(schema: unknown, tablePrefix: unknown): Names {
  const checked = Object.entries({ schema, tablePrefix }).map(([option, value]) => {
    if (typeof value === 'string' && NAME.test(value)) return value
    throw new ConfigError(
      option,
      'must be 1 to 41 lower-case letters, digits or _, and not start with a digit',
    )
  })
  return createNames(checked[0] ?? '', checked[1] ?? '')
}

function refuseWrongPool(pool: unknown): void {
  if (typeof pool !== 'object' || pool === null || !('query' in pool) || !('on' in pool)) {
    throw new ConfigError('pool', 'must be a pool of pg 8: new Pool({ connectionString })')
  }
  if ('ending' in pool && pool.ending === true) throw new ConfigError('pool', 'has ended')
}
