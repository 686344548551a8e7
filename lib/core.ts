import type { AccessTokenIssuer } from './access-token-issuer.ts'
import { createAccessTokenIssuer } from './access-token-issuer.ts'
import type { AccessTokenVerifier } from './access-token-verifier.ts'
import { createAccessTokenVerifier } from './access-token-verifier.ts'
import { BlindChecks } from './blind-checks.ts'
import { Doctor } from './doctor.ts'
import type { Events } from './events.ts'
import { createEvents } from './events.ts'
import { ConfigError } from './errors.ts'
import { FeedFollower } from './feed.ts'
import { finding } from './findings.ts'
import { REVOKED } from './heard-set.ts'
import type { KeyRing } from './key-ring.ts'
import type { LatchkeyEvent } from './events.ts'
import { NearCache } from './near-cache.ts'
import type { Settings } from './options.ts'
import type { SessionTokenReader } from './session-token-reader.ts'
import { createSessionTokenReader } from './session-token-reader.ts'
import type { RateLimits } from './rate-limits.ts'
import { createRateLimits } from './rate-limits.ts'
import { RevocationHub } from './revocation-hub.ts'
import { isSessionId } from './session-id.ts'
import type { SessionRecord } from './session.ts'
import { reportKeys } from './key-reports.ts'
import type { ManagedKeys } from './managed-keys-options.ts'
import { isManagedKeys } from './managed-keys-options.ts'
import { ManagedSigningKeys } from './managed-signing-keys.ts'
import type { SigningKeys } from './signing-keys.ts'
import type { Store } from './store.ts'
import { withDeadline } from './store-deadline.ts'

/** What every part of one kit works with. Two kits share nothing. */
export interface Core {
  readonly settings: Settings
  /** The app's store, with a deadline on every call. */
  readonly store: Store
  readonly ring: KeyRing
  readonly readSessionToken: SessionTokenReader
  readonly signingKeys: SigningKeys
  /** The same when the nodes manage them together; null when the app gave them. */
  readonly managedKeys: ManagedSigningKeys | null
  readonly issuer: AccessTokenIssuer
  readonly verifier: AccessTokenVerifier
  readonly follower: FeedFollower
  /** Tells other services of the feed. */
  readonly hub: RevocationHub
  readonly blindChecks: BlindChecks<SessionRecord | null>
  /** Null when the app did not ask for one. */
  readonly nearCache: NearCache | null
  readonly limits: RateLimits
  readonly events: Events
  /** What will bite. */
  readonly doctor: Doctor
}

/** A node reads its clock once a minute too late at worst before it forgets what it heard. */
const HEARD_MARGIN_MS = 60_000
const FEED_MARGIN_MS = 5 * 60_000

/** Puts the parts together and starts to follow the feed. */
export function createCore(parts: {
  readonly settings: Settings
  readonly store: Store
  readonly ring: KeyRing
  readonly signingKeys: SigningKeys | ManagedKeys
  readonly onEvent: ((event: LatchkeyEvent) => void) | undefined
}): Core {
  const { settings, ring } = parts
  refuseShortFeed(parts.store, settings)
  const store = withDeadline(parts.store, settings.storeDeadlineMs)
  const events = createEvents({
    onEvent: parts.onEvent,
    append: async (batch) => store.audit.append(batch),
    writtenWithChange: store.audit.withChange,
    clock: settings.clock,
  })
  const doctor = new Doctor(store, events)
  const blindChecks = new BlindChecks<SessionRecord | null>()
  const follower = new FeedFollower({
    async read(input) {
      const sentAt = settings.clock()
      const page = await store.feed.read(input)
      doctor.observeClock(sentAt, settings.clock(), page.now)
      return page
    },
    // The feed names denied tokens too, and those are no sessions.
    revoke: async (name) => (isSessionId(name) ? store.revoke({ sid: name }) : null),
    retentionMs: settings.accessTokenTtlMs + 2 * settings.clockSkewMs + HEARD_MARGIN_MS,
    maxStalenessMs: settings.maxStalenessMs,
    clockSkewMs: settings.clockSkewMs,
    deadlineMs: settings.storeDeadlineMs,
    clock: settings.clock,
    onSight(cause) {
      events.sight(cause)
      if (cause !== null) hub.lose()
    },
    onNews: (entries) => hub.tell(entries),
    onComplete: () => hub.beat(),
    onBreak() {
      blindChecks.clear()
      nearCache?.clear()
    },
    onKeys: () => managedKeys?.news(),
    onError: (error) =>
      events.operational('store_failure', { result: 'failure', cause: 'feed', error }),
  })
  const hub = new RevocationHub(follower, settings.clock)
  let signingKeys: SigningKeys
  let managedKeys: ManagedSigningKeys | null = null
  if (isManagedKeys(parts.signingKeys)) {
    managedKeys = new ManagedSigningKeys({
      config: parts.signingKeys,
      store: store.keys,
      ring,
      now: () => settings.clock() + follower.clockOffsetMs,
      deadlineMs: settings.storeDeadlineMs,
      tokenMs: settings.accessTokenTtlMs,
      clockSkewMs: settings.clockSkewMs,
      reports: reportKeys({ events, doctor, onGone: () => verifier.forget() }),
    })
    signingKeys = managedKeys
  } else signingKeys = parts.signingKeys
  const verifier = createAccessTokenVerifier({
    issuer: settings.issuer,
    audience: settings.audience,
    keys: signingKeys,
    maxLifetimeMs: settings.accessTokenTtlMs,
    clockSkewMs: settings.clockSkewMs,
    clock: settings.clock,
  })
  const nearCache =
    settings.nearCacheSessions === 0
      ? null
      : new NearCache({
          feed: follower,
          maxSessions: settings.nearCacheSessions,
          idleTimeoutMs: settings.lifetimes.idleTimeoutMs,
          clock: settings.clock,
        })
  follower.start()
  managedKeys?.start()
  void doctor.start()
  return {
    settings,
    store,
    ring,
    readSessionToken: createSessionTokenReader(ring),
    signingKeys,
    managedKeys,
    issuer: createAccessTokenIssuer({
      issuer: settings.issuer,
      audience: settings.audience,
      keys: signingKeys,
      ttlMs: settings.accessTokenTtlMs,
      clock: settings.clock,
      onWarning: (code, message) => doctor.note(finding(code, message)),
    }),
    verifier,
    follower,
    hub,
    blindChecks,
    nearCache,
    limits: createRateLimits({
      settings: settings.rateLimits,
      take: async (key, cost, windowMs) => store.limit.take(key, cost, windowMs),
      clock: settings.clock,
      events,
    }),
    events,
    doctor,
  }
}

/** A node that starts must hear of everything that voids a token which is still alive. */
function refuseShortFeed({ feed }: Store, { accessTokenTtlMs }: Settings): void {
  const neededMs = 2 * accessTokenTtlMs + FEED_MARGIN_MS
  if (feed.retentionMs >= neededMs) return
  throw new ConfigError(
    'accessTokenTtl',
    `is too long for a feed kept for ${feed.retentionMs} ms; ` +
      `set the store's feedRetention to at least '${Math.ceil(neededMs / 60_000)}m'`,
  )
}

/**
 * Applies to this node itself what it has just revoked: the feed would tell it a moment later.
 *
 * @param names - session ids, or the `jti`s of denied tokens
 */
export function hearRevoked(core: Core, names: readonly string[]): void {
  core.follower.hear(names.map((sid) => ({ sid, ver: REVOKED })))
  if (names.length > 0) core.blindChecks.clear()
}
