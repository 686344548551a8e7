import type { Duration } from '../../lib/duration.ts'
import { parseDuration } from '../../lib/duration.ts'
import { ConfigError } from '../../lib/errors.ts'
import { rejectUnknownOptions } from '../../lib/unknown-options.ts'

/** Settings of `memoryStore`. Every one has a default. */
export interface MemoryStoreOptions {
  /** The clock sessions live by, epoch milliseconds. For tests. @defaultValue `Date.now` */
  readonly clock?: (() => number) | undefined
  /**
   * How many sessions fit, all users together. When as many are alive, a login that would add one
   * fails with 503: nobody else's session is thrown out for it. @defaultValue `100_000`
   */
  readonly maxSessions?: number | undefined
  /**
   * How long a revocation can still be read by a node that lags behind. At least twice the longest
   * access token and five minutes; what is older counts as missed. @defaultValue `'1h'`
   */
  readonly feedRetention?: Duration | undefined
  /** How many audit events are kept; then the oldest make room. @defaultValue `10_000` */
  readonly maxAuditEvents?: number | undefined
}

/** The settings, checked, in milliseconds. @internal */
export interface MemorySettings {
  readonly now: () => number
  readonly maxSessions: number
  readonly feedRetentionMs: number
  readonly maxAuditEvents: number
}

const KNOWN = ['clock', 'maxSessions', 'feedRetention', 'maxAuditEvents']

/**
 * Reads the options once.
 *
 * @throws {ConfigError} `invalid_option`
 * @internal
 */
export function parseMemoryStoreOptions(options: MemoryStoreOptions): MemorySettings {
  const {
    clock = Date.now,
    maxSessions = 100_000,
    feedRetention = '1h',
    maxAuditEvents = 10_000,
    ...unknown
  } = options
  rejectUnknownOptions('memoryStore', unknown, KNOWN)
  if (typeof clock !== 'function') {
    throw new ConfigError('memoryStore.clock', 'must be a function that returns epoch milliseconds')
  }
  return {
    now: () => Math.floor(clock()),
    maxSessions: parseCount('memoryStore.maxSessions', maxSessions),
    feedRetentionMs: parseDuration('memoryStore.feedRetention', feedRetention, {
      minMs: 1000,
      maxMs: 365 * 86_400_000,
    }),
    maxAuditEvents: parseCount('memoryStore.maxAuditEvents', maxAuditEvents),
  }
}

function parseCount(name: string, value: unknown): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value > 0) return value
  throw new ConfigError(name, `must be a whole number of 1 or more, got ${String(value)}`)
}
