import type { AccessClaims } from './access-token-claims.ts'
import { createAccessTokenVerifier } from './access-token-verifier.ts'
import { AuthError } from './errors.ts'
import type { BlindCause } from './feed.ts'
import { FeedFollower } from './feed.ts'
import { refuseHeard } from './heard.ts'
import type { OnStoreFailure } from './option-values.ts'
import { warnProcess } from './process-warning.ts'
import type { PublicKeys, PublicKeysStatus } from './public-keys.ts'
import { staticKeys } from './public-keys.ts'
import { FeedRefused } from './remote-feed.ts'
import { RemoteKeys } from './remote-keys.ts'
import { report } from './report.ts'
import type { VerifierEvent, VerifierSettings } from './verifier-options.ts'
import { waitAloud } from './wait-aloud.ts'

/** What every part of one verifier works with. */
export interface VerifierCore {
  readonly settings: VerifierSettings
  /**
   * The claims of an access token that is good by signature, claims and all that was heard.
   *
   * @param onBlind - what happens when not everything can have been heard
   * @throws {AuthError} `token_invalid`, `token_expired`, `token_stale`, `token_revoked`,
   *   `session_revoked`; 503:
   *   `keys_unavailable`, and `feed_unavailable` with `'deny'`
   */
  verify(token: string, onBlind: OnStoreFailure): Promise<AccessClaims>
  keys(): PublicKeysStatus
  /** Null for a verifier without a feed. */
  readonly follower: FeedFollower | null
  /** Resolves once there are keys and, with a feed, everything has been heard. */
  ready(): Promise<void>
  close(): Promise<void>
  /** Tells the app's `onEvent`. */
  emit(event: Omit<VerifierEvent, 'at'>): void
}

/** How long an entry is remembered beyond the last token it can void. */
const HEARD_MARGIN_MS = 60_000

/** Puts the parts together. With a feed it starts to follow; without one it does nothing yet. */
export function createVerifierCore(settings: VerifierSettings): VerifierCore {
  const { issuer, audience, accessTokenTtlMs, clockSkewMs, clock } = settings

  let lastError: unknown

  function emit(event: Omit<VerifierEvent, 'at'>): void {
    if (event.error !== undefined) lastError = event.error
    report(settings.onEvent, { ...event, at: clock() })
  }

  const keys = openKeys(settings, emit, () => tokens.forget())
  const tokens = createAccessTokenVerifier({
    issuer,
    audience,
    keys,
    maxLifetimeMs: accessTokenTtlMs,
    clockSkewMs,
    clock,
  })
  const reader = settings.feed?.connect(() => performance.now())
  const follower =
    reader === undefined
      ? null
      : new FeedFollower({
          read: async (input) => reader.read(input),
          // Ending a session is for those who have the store.
          revoke: async () => {},
          retentionMs: accessTokenTtlMs + 2 * clockSkewMs + HEARD_MARGIN_MS,
          maxStalenessMs: settings.maxStalenessMs,
          clockSkewMs,
          // A connection that is silent is given up before it has made blind.
          deadlineMs: settings.maxStalenessMs / 2,
          clock,
          onSight: (cause) => emit(sightEvent(cause)),
          onKeys: () => keys.reload(),
          onError: (error) => emit({ type: 'feed_failure', result: 'failure', error }),
          pauseAfter: (error) => (error instanceof FeedRefused ? error.retryMs : 0),
        })
  if (follower !== null) {
    keys.start()
    follower.start()
  }

  return {
    settings,
    follower,
    emit,
    keys: () => keys.status(),
    async verify(token, onBlind) {
      const claims = tokens.remembered(token) ?? (await tokens.verify(token))
      if (follower === null) return claims
      refuseHeard(follower, claims)
      if (onBlind === 'deny' && follower.blindness() !== null) {
        throw new AuthError('feed_unavailable', 'it is not known which sessions were ended')
      }
      return claims
    },
    async ready() {
      keys.start()
      await waitAloud(
        Promise.all([keys.ready, follower?.ready]),
        () => lastError,
        (message) => warnProcess(message, 'not_ready'),
      )
    },
    async close() {
      keys.close()
      await follower?.close()
      reader?.close()
    },
  }
}

function openKeys(
  { jwks, maxJwksStalenessMs, clock }: VerifierSettings,
  emit: (event: Omit<VerifierEvent, 'at'>) => void,
  forget: () => void,
): PublicKeys {
  if (!(jwks instanceof URL)) return staticKeys(jwks)
  return new RemoteKeys({
    url: jwks,
    maxStaleMs: maxJwksStalenessMs,
    clock,
    onFailure: (error) => emit({ type: 'keys_failure', result: 'failure', error }),
    onIgnored: (flaws) =>
      emit({ type: 'keys_ignored', result: 'failure', detail: { flaws: [...flaws] } }),
    onGone() {
      forget()
      emit({ type: 'keys_gone', result: 'success' })
    },
  })
}

function sightEvent(cause: BlindCause | null): Omit<VerifierEvent, 'at'> {
  return cause === null
    ? { type: 'feed_sighted', result: 'success' }
    : { type: 'feed_blind', result: 'failure', cause }
}
