import type { Duration } from './duration.ts'
import { parseDuration } from './duration.ts'
import { ConfigError } from './errors.ts'
import type { JsonObject } from './session.ts'
import type { Limit } from './store-limiter.ts'
import { rejectUnknownOptions } from './unknown-options.ts'

/** How much in how long: at most `max` in each `window`, which begins with the first. */
export interface RateLimit {
  /** 1 to 1,000,000. */
  readonly max?: number | undefined
  /** `'1s'` to `'30d'`. */
  readonly window?: Duration | undefined
}

/** The limits there are. Where it says failures, a success does not count. */
export type RateLimitName =
  | 'loginPerAccountAndNetwork'
  | 'loginPerAccount'
  | 'loginPerNetwork'
  | 'stepUpPerSession'
  | 'stepUpPerAccount'
  | 'refreshPerSession'
  | 'badTokensPerNetwork'

/**
 * The limits, each to be changed in part, or `false`. Networks are those of `req.ip`: an IPv4 address,
 * 64 bits of an IPv6 address. OWASP ASVS 5.0 6.3.1; NIST SP 800-63B-4 §3.2.2.
 */
export interface RateLimitOptions {
  /**
   * What names the account in the body of a login. Compared without regard to case, to blanks around
   * it, and to compatibility forms (NFKC).
   *
   * @defaultValue whatever of `username`, `email` and `user` is text; each counts by itself
   */
  readonly account?: ((credentials: JsonObject) => string | undefined) | undefined
  /** Failed logins of one account from one network. @defaultValue `{ max: 20, window: '15m' }` */
  readonly loginPerAccountAndNetwork?: RateLimit | false | undefined
  /**
   * Failed logins of one account from everywhere. A network from which the account was logged in to
   * in the last weeks is let through. @defaultValue `{ max: 100, window: '1h' }`
   */
  readonly loginPerAccount?: RateLimit | false | undefined
  /** Failed logins and step-ups from one network. @defaultValue `{ max: 100, window: '15m' }` */
  readonly loginPerNetwork?: RateLimit | false | undefined
  /** Failed step-ups of one session. @defaultValue `{ max: 20, window: '15m' }` */
  readonly stepUpPerSession?: RateLimit | false | undefined
  /** Failed step-ups of one user. @defaultValue `{ max: 100, window: '1h' }` */
  readonly stepUpPerAccount?: RateLimit | false | undefined
  /** Refreshes of one session. @defaultValue `{ max: 120, window: '1m' }` */
  readonly refreshPerSession?: RateLimit | false | undefined
  /**
   * Tokens from one network that are none of ours, for each node. @defaultValue
   * `{ max: 300, window: '1m' }`
   */
  readonly badTokensPerNetwork?: RateLimit | false | undefined
}

/** The limits, checked and complete; null where there is none. */
export interface RateLimitSettings {
  /** What names the account in credentials, as the app says. May throw. */
  readonly account: ((credentials: JsonObject) => unknown) | null
  readonly limits: Readonly<Record<RateLimitName, Limit | null>>
}

/** People mistype; a restored window of tabs refreshes at once. Machines go on. */
export const RATE_LIMIT_DEFAULTS: Readonly<Record<RateLimitName, Required<RateLimit>>> = {
  loginPerAccountAndNetwork: { max: 20, window: '15m' },
  // NIST SP 800-63B-4 §3.2.2: no more than 100.
  loginPerAccount: { max: 100, window: '1h' },
  loginPerNetwork: { max: 100, window: '15m' },
  stepUpPerSession: { max: 20, window: '15m' },
  stepUpPerAccount: { max: 100, window: '1h' },
  refreshPerSession: { max: 120, window: '1m' },
  badTokensPerNetwork: { max: 300, window: '1m' },
}

const MAX = 1_000_000
const WINDOW = { minMs: 1000, maxMs: 30 * 86_400_000 }
const EXAMPLE = "must be false or such as { max: 20, window: '15m' }"

/**
 * Checks `rateLimits`.
 *
 * @throws {ConfigError} `invalid_option`
 */
export function parseRateLimits(options: unknown): RateLimitSettings {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- its own keys
  const names = Object.keys(RATE_LIMIT_DEFAULTS) as RateLimitName[]
  if (options !== false && !isGroup(options)) {
    throw new ConfigError(
      'rateLimits',
      `must be false or an object of account, ${names.join(', ')}`,
    )
  }
  const given: Readonly<Record<string, unknown>> = options === false ? {} : options
  rejectUnknownOptions('rateLimits', given, ['account', ...names])
  const { account = null } = given
  if (account !== null && !isHook(account)) {
    throw new ConfigError('rateLimits.account', 'must be a function')
  }
  const parse = (name: RateLimitName) => (options === false ? null : parseLimit(name, given[name]))
  return {
    account,
    limits: {
      loginPerAccountAndNetwork: parse('loginPerAccountAndNetwork'),
      loginPerAccount: parse('loginPerAccount'),
      loginPerNetwork: parse('loginPerNetwork'),
      stepUpPerSession: parse('stepUpPerSession'),
      stepUpPerAccount: parse('stepUpPerAccount'),
      refreshPerSession: parse('refreshPerSession'),
      badTokensPerNetwork: parse('badTokensPerNetwork'),
    },
  }
}

function parseLimit(name: RateLimitName, option: unknown = {}): Limit | null {
  if (option === false) return null
  const path = `rateLimits.${name}`
  if (!isGroup(option)) throw new ConfigError(path, EXAMPLE)
  rejectUnknownOptions(path, option, ['max', 'window'])
  const { max = RATE_LIMIT_DEFAULTS[name].max, window = RATE_LIMIT_DEFAULTS[name].window } = option
  if (typeof max !== 'number' || !Number.isInteger(max) || max < 1 || max > MAX) {
    throw new ConfigError(`${path}.max`, 'must be a whole number from 1 to 1,000,000')
  }
  return { max, windowMs: parseDuration(`${path}.window`, window, WINDOW) }
}

function isGroup(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isHook(value: unknown): value is (credentials: JsonObject) => unknown {
  return typeof value === 'function'
}
