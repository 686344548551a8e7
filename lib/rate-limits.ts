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
/** Each round of a login would otherwise wait for the same silent store, one deadline after the other. */
const PAUSE_AFTER_FAILURE_MS = 1000

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
  const { settings, clock, events } = parts
  const take = sparing(parts.take)
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

/** Leaves a store that failed alone for a moment. */
function sparing(take: Take): Take {
  let failedAt = -Infinity
  return async (key, cost, windowMs) => {
    if (performance.now() - failedAt < PAUSE_AFTER_FAILURE_MS) {
      throw new Error('the store failed a moment ago')
    }
    try {
      return await take(key, cost, windowMs)
    } catch (error) {
      failedAt = performance.now()
      throw error
    }
  }
}
