import type { Algorithm } from './access-token-format.ts'
import type { Duration } from './duration.ts'
import { parseDuration } from './duration.ts'
import { ConfigError } from './errors.ts'
import { rejectUnknownOptions } from './unknown-options.ts'
import { oneOf } from './option-values.ts'
import type { KeyTiming } from './key-set.ts'

/** Options of {@link managedKeys}. */
export interface ManagedKeysOptions {
  /** How long a key signs, `'2h'` to `'400d'`. @defaultValue `'30d'` */
  readonly rotateEvery?: Duration | undefined
  /**
   * How long before its first use a key is in the JWKS, `'20m'` or more, at most half of
   * `rotateEvery`. For verifiers that keep the JWKS for longer than its `max-age` says.
   *
   * @defaultValue `'24h'`, or half of `rotateEvery` if that is less
   */
  readonly publishAhead?: Duration | undefined
  /** Algorithm of the keys that are made from now on. @defaultValue `'ES256'` */
  readonly alg?: Algorithm | undefined
}

/** Signing keys that the kit makes, shares through the store and rotates. */
export interface ManagedKeys {
  readonly kind: 'managed'
  readonly alg: Algorithm
  readonly rotateEveryMs: number
  readonly publishAheadMs: number
  /** @internal */
  readonly pace: KeyPace
}

/**
 * How fast things are known.
 *
 * @internal
 */
export interface KeyPace {
  /** How long after it is published every verifier has a key, milliseconds. */
  readonly knownAfterMs: number
  /** How often a node reads the keys, whether or not it heard of a change, milliseconds. */
  readonly pollMs: number
  /** How long no other unknown `kid` makes a node read the keys, milliseconds. */
  readonly cooldownMs: number
}

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** How long verifiers may keep the JWKS: `max-age` of its route. */
export const JWKS_MAX_AGE_MS: number = 5 * MINUTE

/** How long a verifier that follows no cache header keeps it: jose's default, and ours. */
const VERIFIER_CACHE_MS = 10 * MINUTE

// A verifier may fetch, just before a key is published, what a cache on the way has for its max-age,
// and keep that for its own time.
const PACE: KeyPace = {
  knownAfterMs: JWKS_MAX_AGE_MS + VERIFIER_CACHE_MS + MINUTE,
  pollMs: MINUTE,
  cooldownMs: 5 * SECOND,
}

const ALGORITHMS: readonly Algorithm[] = ['ES256', 'EdDSA', 'PS256', 'RS256']

/**
 * For `signingKeys`: keys that nobody has to make, carry about or rotate. The nodes make them, keep
 * them in the store, sealed under `secrets`, and rotate them without refusing a token.
 *
 * @throws {ConfigError} `invalid_option`
 *
 * @example
 * ```ts
 * createLatchkey({ issuer, secrets, store, signingKeys: managedKeys({ rotateEvery: '30d' }) })
 * ```
 */
export function managedKeys(options: ManagedKeysOptions = {}): ManagedKeys {
  rejectUnknownOptions('signingKeys', options, ['rotateEvery', 'publishAhead', 'alg'])
  const rotateEveryMs = parseDuration('signingKeys.rotateEvery', options.rotateEvery ?? '30d', {
    minMs: 2 * HOUR,
    maxMs: 400 * DAY,
  })
  const publishAhead = options.publishAhead ?? `${Math.min(DAY, rotateEveryMs / 2)}ms`
  const publishAheadMs = parseDuration('signingKeys.publishAhead', publishAhead, {
    minMs: 20 * MINUTE,
    maxMs: 200 * DAY,
  })
  return atPace({ alg: options.alg, rotateEveryMs, publishAheadMs, pace: PACE })
}

/**
 * Managed keys in a hurry, for tests.
 *
 * @internal
 */
export function atPace(options: {
  readonly alg?: Algorithm | undefined
  readonly rotateEveryMs: number
  readonly publishAheadMs: number
  readonly pace: KeyPace
}): ManagedKeys {
  const { rotateEveryMs, publishAheadMs, pace } = options
  if (publishAheadMs > rotateEveryMs / 2) {
    throw new ConfigError('signingKeys.publishAhead', 'must be at most half of rotateEvery')
  }
  if (!Object.values(pace).every((ms) => ms > 0) || pace.knownAfterMs > publishAheadMs) {
    throw new ConfigError(
      'signingKeys',
      'has a pace that is not positive, or longer than publishAhead',
    )
  }
  const alg = oneOf('signingKeys.alg', options.alg ?? 'ES256', ALGORITHMS)
  return Object.freeze({ kind: 'managed', alg, rotateEveryMs, publishAheadMs, pace })
}

/** Whether the app wants its keys managed. */
export function isManagedKeys(value: unknown): value is ManagedKeys {
  return typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'managed'
}

/**
 * All times of one node's managed keys.
 *
 * @param tokenMs - the longest life of a token it signs
 */
export function timingOf(keys: ManagedKeys, tokenMs: number, clockSkewMs: number): KeyTiming {
  const { rotateEveryMs, publishAheadMs, pace } = keys
  // One clock may be fast and the other slow.
  const apartMs = 2 * clockSkewMs
  return {
    rotateEveryMs,
    publishAheadMs,
    minAheadMs: pace.knownAfterMs + apartMs,
    tokenMs,
    marginMs: apartMs + 2 * pace.pollMs,
  }
}
