import type { Duration } from './duration.ts'
import { parseDuration } from './duration.ts'
import { ConfigError } from './errors.ts'
import { isIdentifier } from './identifier.ts'
import { isScope } from './service.ts'
import { rejectUnknownOptions } from './unknown-options.ts'

/** What tokens for another audience are like. */
export interface AudienceOptions {
  /** The most scope they have, one word an element. @defaultValue no less than what came in */
  readonly scope?: readonly string[] | undefined
  /** Their life, at most `accessTokenTtl`. @defaultValue `'5m'`, or `accessTokenTtl` if that is less */
  readonly ttl?: Duration | undefined
}

/** An audience, checked and complete. */
export interface Audience {
  /** Null when it limits nothing. */
  readonly scope: readonly string[] | null
  readonly ttlMs: number
}

/** The life of a token for one call, unless the app says otherwise. */
const DEFAULT_TTL_MS = 5 * 60_000
const MIN_TTL_MS = 10_000

/** The life of a service's own token for the kit's own audience. */
export function serviceTtlMs(accessTokenTtlMs: number): number {
  return Math.min(DEFAULT_TTL_MS, accessTokenTtlMs)
}

/**
 * Reads `audiences`: a list of names, or an object of options by name.
 *
 * @param accessTokenTtlMs - no token lives longer: the feed is remembered for as long
 * @throws {ConfigError} `invalid_option`
 */
export function parseAudiences(
  audiences: readonly string[] | Readonly<Record<string, AudienceOptions>> | undefined,
  accessTokenTtlMs: number,
): ReadonlyMap<string, Audience> {
  const given: unknown = audiences ?? []
  if (typeof given !== 'object' || given === null) {
    throw new ConfigError('audiences', "must be a list such as ['https://orders.example']")
  }
  const entries: readonly (readonly [unknown, unknown])[] = Array.isArray(given)
    ? given.map((name: unknown) => [name, {}])
    : Object.entries(given)
  return new Map(entries.map(([name, options]) => parseEntry(name, options, accessTokenTtlMs)))
}

function parseEntry(
  name: unknown,
  options: unknown,
  accessTokenTtlMs: number,
): readonly [string, Audience] {
  if (!isIdentifier(name)) {
    throw new ConfigError('audiences', 'must have names of 1 to 255 characters')
  }
  const path = `audiences[${JSON.stringify(name)}]`
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new ConfigError(path, 'must be an object of scope, ttl')
  }
  rejectUnknownOptions(path, options, ['scope', 'ttl'])
  const { scope, ttl }: { scope?: unknown; ttl?: unknown } = options
  if (scope !== undefined && !isScope(scope)) {
    throw new ConfigError(`${path}.scope`, "must be a list of words, such as ['orders:read']")
  }
  const ttlMs =
    ttl === undefined
      ? serviceTtlMs(accessTokenTtlMs)
      : parseDuration(`${path}.ttl`, ttl, { minMs: MIN_TTL_MS, maxMs: accessTokenTtlMs })
  return [name, { scope: scope === undefined ? null : [...new Set(scope)], ttlMs }]
}
