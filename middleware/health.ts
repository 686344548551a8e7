import type { Core } from '../lib/core.ts'
import type { BlindCause } from '../lib/feed.ts'

/** How a node is doing. */
export interface Health {
  /** Whether the node knows of every revocation: 200 or 503 for a load balancer. */
  readonly ok: boolean
  /** Whether the store answered lately. */
  readonly store: 'up' | 'down'
  readonly feed: {
    /** Why the node cannot know of every revocation; null when it does. */
    readonly blind: BlindCause | null
    /** Age of the newest complete knowledge in milliseconds; null before the first read. */
    readonly staleness_ms: number | null
    /** The store's clock less this node's, in milliseconds. */
    readonly clock_offset_ms: number
    /** How many sessions are remembered as ended or changed. */
    readonly heard: number
  }
  /** Audit events that were dropped because the store did not take them. */
  readonly audit_dropped: number
}

/** Reads a node's health from what it knows; asks nobody. */
export function readHealth({ follower, settings, events }: Core): Health {
  const blind = follower.blindness()
  const stalenessMs = follower.stalenessMs()
  return {
    ok: blind === null,
    store: stalenessMs <= settings.maxStalenessMs ? 'up' : 'down',
    feed: {
      blind,
      staleness_ms: Number.isFinite(stalenessMs) ? Math.max(0, Math.round(stalenessMs)) : null,
      clock_offset_ms: Math.round(follower.clockOffsetMs),
      heard: follower.heardCount,
    },
    audit_dropped: events.dropped,
  }
}
