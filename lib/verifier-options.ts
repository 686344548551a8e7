import { parseDuration } from './duration.ts'
import type { Duration } from './duration.ts'
import { ConfigError } from './errors.ts'
import type { OnStoreFailure } from './option-values.ts'
import { ON_STORE_FAILURE, oneOf, parseAudience, parseIssuer, parseUrl } from './option-values.ts'
import type { RemoteFeed } from './remote-feed.ts'
import type { AuditEvent } from './store.ts'
import { rejectUnknownOptions } from './unknown-options.ts'

/**
 * What a verifier has to tell. All but `authz_fail` are for operators.
 * - `authz_fail`: somebody known may not do this; `cause` is the error's code
 * - `feed_blind`, `feed_sighted`: sight of the feed was lost, with the cause, or is back
 * - `feed_failure`: the revocation stream broke or could not be had; it is tried again
 * - `keys_failure`: the keys could not be had; the last good ones go on
 * - `keys_ignored`: the issuer publishes keys that are of no use here; `detail` says why
 * - `keys_gone`: a key is no longer published; its tokens are refused from now on
 * - `hook_failure`: a hook of the app threw
 */
export type VerifierEventType =
  | 'authz_fail'
  | 'feed_blind'
  | 'feed_sighted'
  | 'feed_failure'
  | 'keys_failure'
  | 'keys_ignored'
  | 'keys_gone'
  | 'hook_failure'

/** What a verifier's `onEvent` receives. Never holds a token, a secret, or a part of one. */
export interface VerifierEvent extends AuditEvent {
  readonly type: VerifierEventType
  /** What was thrown; for logs only. */
  readonly error?: unknown
}

/** A set of public keys, as the issuer publishes it (RFC 7517 §5). */
export interface PublicKeySet {
  readonly keys: readonly object[]
}

/** Everything a verifier takes that does not belong to one web framework. */
export interface VerifierCoreOptions {
  /** The kit's `issuer`, exactly as it is written there. */
  readonly issuer: string
  /** Who this service is, one name or several: one of them must be in a token's `aud`. */
  readonly audience: string | readonly string[]
  /**
   * Where the issuer publishes its keys, such as `https://app.example/auth/.well-known/jwks.json`
   * (https; http on loopback), or the keys themselves: then a rotation needs a new start.
   */
  readonly jwks: string | PublicKeySet
  /** Where revocations come from: `remoteFeed({ url, credential })`. @defaultValue none are heard */
  readonly feed?: RemoteFeed | undefined
  /** The longest life of an access token: what the kit has. @defaultValue `'15m'` */
  readonly accessTokenTtl?: Duration | undefined
  /** Tolerance between clocks. At most `'60s'`. @defaultValue `'30s'` */
  readonly clockSkew?: Duration | undefined
  /**
   * What happens to access tokens while revocations cannot be heard. There is no store to ask:
   * `'accept-signature'` lets them pass until they expire, `'deny'` answers 503. Without a `feed`
   * nothing is heard and nothing is denied.
   *
   * @defaultValue `'accept-signature'`
   */
  readonly onStoreFailure?: OnStoreFailure | undefined
  /** How old what was heard may be before the verifier counts as blind. @defaultValue `'5s'` */
  readonly maxStaleness?: Duration | undefined
  /** How long the last good keys are used while the issuer cannot be reached. @defaultValue `'24h'` */
  readonly maxJwksStaleness?: Duration | undefined
  /** Wall clock, epoch milliseconds. @defaultValue `Date.now` */
  readonly clock?: (() => number) | undefined
  /** Every event, for logs and metrics. What it throws is contained. @defaultValue none */
  readonly onEvent?: ((event: VerifierEvent) => void) | undefined
}

/** A verifier's options, checked and complete. Durations are milliseconds. */
export interface VerifierSettings {
  readonly issuer: string
  readonly audience: readonly string[]
  readonly jwks: URL | PublicKeySet
  readonly feed: RemoteFeed | null
  readonly accessTokenTtlMs: number
  readonly clockSkewMs: number
  readonly onStoreFailure: OnStoreFailure
  readonly maxStalenessMs: number
  readonly maxJwksStalenessMs: number
  readonly clock: () => number
  readonly onEvent: ((event: VerifierEvent) => void) | undefined
}

/** All defaults. Durations as an app would write them. */
export const VERIFIER_DEFAULTS = {
  accessTokenTtl: '15m',
  clockSkew: '30s',
  onStoreFailure: 'accept-signature',
  maxStaleness: '5s',
  maxJwksStaleness: '24h',
} as const

const KNOWN = [
  'issuer',
  'audience',
  'jwks',
  'feed',
  'accessTokenTtl',
  'clockSkew',
  'onStoreFailure',
  'maxStaleness',
  'maxJwksStaleness',
  'clock',
  'onEvent',
] as const satisfies readonly (keyof VerifierCoreOptions)[]

const S = 1000
const MINUTE = 60 * S
const DAY = 1440 * MINUTE

/**
 * Checks all options once.
 *
 * @param options - what the app wrote; never changed
 * @param alsoKnown - options that the framework layer reads itself
 * @throws {ConfigError} `invalid_option`, naming the option and the fix
 */
export function parseVerifierOptions(
  options: VerifierCoreOptions,
  alsoKnown: readonly string[] = [],
): VerifierSettings {
  const given: unknown = options
  if (typeof given !== 'object' || given === null) {
    throw new ConfigError('options', 'must be an object')
  }
  rejectUnknownOptions('', options, [...KNOWN, ...alsoKnown])
  for (const name of ['clock', 'onEvent'] as const) {
    if (options[name] !== undefined && typeof options[name] !== 'function') {
      throw new ConfigError(name, 'must be a function')
    }
  }
  parseIssuer(options.issuer)
  return {
    issuer: options.issuer,
    audience: parseAudience(options.audience),
    jwks: parseJwks(options.jwks),
    feed: parseFeed(options.feed),
    accessTokenTtlMs: duration(options, 'accessTokenTtl', 10 * S, DAY),
    clockSkewMs: duration(options, 'clockSkew', 0, MINUTE),
    onStoreFailure: oneOf(
      'onStoreFailure',
      options.onStoreFailure ?? VERIFIER_DEFAULTS.onStoreFailure,
      ON_STORE_FAILURE,
    ),
    maxStalenessMs: duration(options, 'maxStaleness', 2 * S, 5 * MINUTE),
    maxJwksStalenessMs: duration(options, 'maxJwksStaleness', 0, 30 * DAY),
    clock: options.clock ?? Date.now,
    onEvent: options.onEvent,
  }
}

function parseJwks(jwks: unknown): URL | PublicKeySet {
  if (typeof jwks !== 'object' || jwks === null || !('keys' in jwks)) {
    return parseUrl('jwks', jwks, 'https://app.example/auth/.well-known/jwks.json')
  }
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- read with care later
  return jwks as PublicKeySet
}

function parseFeed(feed: unknown): RemoteFeed | null {
  if (feed === undefined) return null
  const connect =
    typeof feed === 'object' && feed !== null && 'connect' in feed ? feed.connect : undefined
  if (typeof connect === 'function') {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- only remoteFeed makes one
    return feed as RemoteFeed
  }
  throw new ConfigError('feed', 'must be remoteFeed({ url, credential })')
}

type DurationOption = Extract<
  keyof typeof VERIFIER_DEFAULTS,
  'accessTokenTtl' | 'clockSkew' | 'maxStaleness' | 'maxJwksStaleness'
>

function duration(
  options: VerifierCoreOptions,
  name: DurationOption,
  minMs: number,
  maxMs: number,
): number {
  return parseDuration(name, options[name] ?? VERIFIER_DEFAULTS[name], { minMs, maxMs })
}
