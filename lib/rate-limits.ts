import type { Events } from './events.ts'
import { LocalCounters } from './local-counters.ts'
import { CountedLimit } from './rate-limit.ts'
import type { RateLimitName, RateLimitSettings } from './rate-limit-options.ts'
import { RefreshLimit } from './refresh-limit.ts'
import type { StoreLimiter, Take } from './store-limiter.ts'
import { createStoreLimiter } from './store-limiter.ts'

/** The limits of one kit; null where the app turned one off. */
export interface RateLimits {
  readonly loginPerAccountAndNetwork: CountedLimit | null
  readonly loginPerAccount: CountedLimit | null
  readonly loginPerNetwork: CountedLimit | null
  readonly stepUpPerSession: CountedLimit | null
  readonly stepUpPerAccount: CountedLimit | null
  readonly refreshPerSession: RefreshLimit | null
  readonly badTokensPerNetwork: CountedLimit | null
  /** Counts the logins of an account from a network, for as long as that makes it a known one. */
  readonly knownNetworks: StoreLimiter | null
}

const KNOWN_FOR_MS = 30 * 86_400_000

/**
 * Makes the limits of one kit.
 *
 * @param take - the store's `limit.take`, with a deadline
 */
export function createRateLimits(parts: {
  readonly settings: RateLimitSettings
  readonly take: Take
  readonly clock: () => number
  readonly events: Events
}): RateLimits {
  const { settings, take, clock, events } = parts
  const make = (name: RateLimitName, counts: { readonly take?: Take } = { take }) => {
    const limit = settings.limits[name]
    return limit && new CountedLimit({ name, limit, clock, events, ...counts })
  }
  const refresh = make('refreshPerSession')
  const local = new LocalCounters(clock)
  return {
    loginPerAccountAndNetwork: make('loginPerAccountAndNetwork'),
    loginPerAccount: make('loginPerAccount'),
    loginPerNetwork: make('loginPerNetwork'),
    stepUpPerSession: make('stepUpPerSession'),
    stepUpPerAccount: make('stepUpPerAccount'),
    refreshPerSession: refresh && new RefreshLimit(refresh, clock),
    // Garbage costs no store call: else whoever sends it could keep the store busy.
    badTokensPerNetwork: make('badTokensPerNetwork', {}),
    knownNetworks:
      settings.limits.loginPerAccount &&
      createStoreLimiter({
        limit: { max: 1, windowMs: KNOWN_FOR_MS },
        take,
        insurance: (key, cost, windowMs) => local.take(key, cost, windowMs),
      }),
  }
}
