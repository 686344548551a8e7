import type { Duration } from '../../lib/duration.ts'
import { parseDuration } from '../../lib/duration.ts'
import { ConfigError } from '../../lib/errors.ts'
import { rejectUnknownOptions } from '../../lib/unknown-options.ts'
import type { RedisClient } from './client.ts'

/** Options of `redisStore`. */
export interface RedisStoreOptions {
  /**
   * An ioredis 6 or 5 client the app made: standalone, Sentinel or Cluster. It is never used itself:
   * the store works on duplicates of it and closes those.
   */
  readonly client: RedisClient
  /** What all keys start with: 1 to 32 letters, digits, `.`, `_`, `-` or `:`. @defaultValue `'latchkey'` */
  readonly prefix?: string | undefined
  /**
   * How many replicas must have a revocation before it counts as done; fewer within 150 ms is 503
   * `revocation_unconfirmed`, and the caller tries again. Without it a failover may lose the last
   * revocations, until a node that heard of them repeats them.
   *
   * @defaultValue 0
   */
  readonly waitReplicas?: number | undefined
  /**
   * How long the feed keeps entries: at least twice the longest access token's life and 5 minutes.
   *
   * @defaultValue `'1h'`
   */
  readonly feedRetention?: Duration | undefined
  /** How many audit events are kept, about. @defaultValue 100_000 */
  readonly maxAuditEvents?: number | undefined
  /** Epoch milliseconds, in the place of the server's clock; for tests. @defaultValue the server's */
  readonly clock?: (() => number) | undefined
}

/** Options, checked and complete. */
export interface RedisSettings {
  readonly client: RedisClient
  readonly prefix: string
  readonly waitReplicas: number
  readonly feedRetentionMs: number
  readonly maxAuditEvents: number
  readonly clock: (() => number) | undefined
}

const PREFIX = /^[A-Za-z0-9._:-]{1,32}$/
const MINUTE = 60_000

/** @throws {ConfigError} `invalid_option` */
export function parseRedisOptions(options: RedisStoreOptions): RedisSettings {
  const { client, prefix = 'latchkey', feedRetention = '1h', maxAuditEvents = 100_000 } = options
  rejectUnknownOptions('', options, [
    'client',
    'prefix',
    'waitReplicas',
    'feedRetention',
    'maxAuditEvents',
    'clock',
  ])
  refuseWrongClient(client)
  if (typeof prefix !== 'string' || !PREFIX.test(prefix)) {
    // A brace would move the hash tag, and with it all keys of a user to different slots.
    throw new ConfigError('prefix', 'must be 1 to 32 letters, digits, dots, colons, - or _')
  }
  const { waitReplicas = 0 } = options
  if (!Number.isInteger(waitReplicas) || waitReplicas < 0 || waitReplicas > 10) {
    throw new ConfigError('waitReplicas', 'must be a whole number from 0 to 10')
  }
  if (!Number.isInteger(maxAuditEvents) || maxAuditEvents < 1) {
    throw new ConfigError('maxAuditEvents', 'must be a whole number of at least 1')
  }
  return {
    client,
    prefix,
    waitReplicas,
    feedRetentionMs: parseDuration('feedRetention', feedRetention, {
      minMs: 6 * MINUTE,
      maxMs: 7 * 1440 * MINUTE,
    }),
    maxAuditEvents,
    clock: options.clock,
  }
}

function refuseWrongClient(client: unknown): void {
  if (typeof client !== 'object' || client === null) {
    throw new ConfigError('client', "must be an ioredis client: new Redis('redis://…')")
  }
  // Redis 7's commands came with ioredis 5.
  if (!('duplicate' in client) || !('evalshaBuffer' in client) || !('expiretime' in client)) {
    throw new ConfigError('client', 'must be a client of ioredis 5 or 6')
  }
  if ('mode' in client && (client.mode === 'subscriber' || client.mode === 'monitor')) {
    throw new ConfigError('client', `must not be in ${client.mode} mode; make another one`)
  }
  if ('status' in client && client.status === 'end') {
    throw new ConfigError('client', 'is closed')
  }
}
