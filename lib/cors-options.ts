import { ConfigError } from './errors.ts'
import { rejectUnknownOptions } from './unknown-options.ts'

/** Whose pages may read what the routes answer. */
export interface CorsOptions {
  /** Exact origins, each of which must be in `allowedOrigins` too. No wildcards, no patterns. */
  readonly origins: readonly string[]
}

/**
 * Checks `cors`. An origin that may read answers but whose requests the cross-origin check refuses is
 * a mistake, and so is one that looks like an origin and never matches: being in the list of allowed
 * origins, which were checked, excludes both.
 *
 * @param allowed - the origins that pass the cross-origin check
 * @returns null when no answer says anything of CORS
 * @throws {ConfigError} `invalid_option`
 */
export function parseCors(cors: unknown, allowed: ReadonlySet<string>): ReadonlySet<string> | null {
  if (cors === undefined) return null
  if (typeof cors !== 'object' || cors === null || Array.isArray(cors)) {
    throw new ConfigError('cors', "must be an object such as { origins: ['https://spa.example'] }")
  }
  rejectUnknownOptions('cors', cors, ['origins'])
  const { origins }: { origins?: unknown } = cors
  if (!Array.isArray(origins) || origins.length === 0) {
    throw new ConfigError('cors.origins', 'must be a list of origins')
  }
  return new Set(
    origins.map((origin: unknown, index) => {
      if (typeof origin === 'string' && allowed.has(origin)) return origin
      throw new ConfigError(
        `cors.origins[${index}]`,
        "must be an exact origin, such as 'https://spa.example', that is in allowedOrigins too: " +
          'else its requests are refused as cross_origin',
      )
    }),
  )
}
