import type { BlindCause } from '../../lib/feed.ts'
import type { VerifierCore } from '../../lib/verifier-core.ts'

/** How a verifier is doing. */
export interface VerifierHealth {
  /** Whether there are keys and, with a feed, nothing was missed: 200 or 503 for a load balancer. */
  readonly ok: boolean
  readonly keys: {
    /** How many keys tokens can be verified with. */
    readonly count: number
    /** How old the set is, in milliseconds; null before the first, and for keys that were handed over. */
    readonly age_ms: number | null
    /** Whether the issuer could not be reached when it was last asked: the last good keys go on. */
    readonly failing: boolean
  }
  /** Null without a `feed`. */
  readonly feed: {
    /** Why the verifier cannot know of every revocation; null when it does. */
    readonly blind: BlindCause | null
    /** Age of the newest complete knowledge in milliseconds; null before the first. */
    readonly staleness_ms: number | null
    /** The issuer's clock less this one, in milliseconds. */
    readonly clock_offset_ms: number
    /** How many sessions are remembered as ended or changed. */
    readonly heard: number
  } | null
}

/** Reads a verifier's health from what it knows; asks nobody. */
export function readVerifierHealth(core: VerifierCore): VerifierHealth {
  const { count, ageMs, failing } = core.keys()
  const { follower } = core
  const blind = follower?.blindness() ?? null
  return {
    ok: count > 0 && blind === null,
    keys: { count, age_ms: ageMs === null ? null : Math.round(ageMs), failing },
    feed: follower === null ? null : { blind, ...readFeed(follower) },
  }
}

function readFeed(follower: NonNullable<VerifierCore['follower']>) {
  const stalenessMs = follower.stalenessMs()
  return {
    staleness_ms: Number.isFinite(stalenessMs) ? Math.max(0, Math.round(stalenessMs)) : null,
    clock_offset_ms: Math.round(follower.clockOffsetMs),
    heard: follower.heardCount,
  }
}
