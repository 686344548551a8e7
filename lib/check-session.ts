import type { AccessClaims, ServiceClaims, SessionClaims } from './access-token-claims.ts'
import type { Core } from './core.ts'
import { hearRevoked } from './core.ts'
import { AuthError } from './errors.ts'
import { refuseHeard, refuseStale, tokenRevoked } from './heard.ts'
import { isSameSeedHash } from './session-id.ts'
import type { SessionRecord } from './session.ts'
import type { PresentedSession } from './session-token-reader.ts'
import type { CheckResult } from './store.ts'
import { isSameUser } from './user.ts'

/** The checks that guards are made of. */
export interface SessionChecks {
  /**
   * Verifies an access token by itself: signature, claims, and what the feed said. No store.
   *
   * @throws {AuthError} `token_invalid`, `token_expired`, `token_stale`, `token_revoked` or
   *   `session_revoked`
   */
  verifyAccessToken(token: string): Promise<AccessClaims>

  /**
   * The same at once, for a token that was verified before; undefined for any other.
   *
   * @throws {AuthError} `token_stale`, `token_revoked` or `session_revoked`
   */
  rememberedClaims(token: string): AccessClaims | undefined

  /**
   * Asks the store for the session of a session token whose MAC has been checked.
   *
   * @throws {AuthError} `session_ended`, `session_revoked` or `token_invalid`
   * @throws {StoreUnavailable}
   */
  checkSessionToken(token: PresentedSession): Promise<SessionRecord>

  /** The same, and the near cache, when there is one, keeps the answer. */
  fetchSession(token: PresentedSession): Promise<SessionRecord>

  /**
   * The session at once, from the near cache; undefined when there is none or it does not know. Not
   * for what is sensitive.
   *
   * @throws {AuthError} `session_revoked` or `token_invalid`
   */
  nearSession(token: PresentedSession): SessionRecord | undefined

  /**
   * Asks the store for the session of a verified access token.
   *
   * @throws {AuthError} `session_ended`, `session_revoked`, `token_stale`, `token_revoked` or
   *   `token_invalid`
   * @throws {StoreUnavailable}
   */
  checkClaims(claims: SessionClaims): Promise<SessionRecord>

  /**
   * Asks the store whether a service's own token was denied.
   *
   * @throws {AuthError} `token_revoked`
   * @throws {StoreUnavailable}
   */
  checkServiceClaims(claims: ServiceClaims): Promise<void>

  /**
   * Both, with answers shared and held for a second, for a node that is blind: the session, null for
   * a service's own token.
   */
  checkClaimsWhileBlind(claims: AccessClaims): Promise<SessionRecord | null>

  /**
   * Refuses what the feed says is void, and sees to it that the store knows too.
   *
   * @throws {AuthError} `session_revoked`
   */
  refuseRevoked(sid: string): void
}

const FINISH_EVERY_MS = 10_000
const MAX_FINISHING = 1000

/** Makes the checks of one kit. */
export function createSessionChecks(core: Core): SessionChecks {
  const { store, follower, settings } = core
  const finishing = new Map<string, number>()

  /** A store that was rolled back may still have what this node remembers as revoked. */
  function finishRevocation(sid: string): void {
    const now = performance.now()
    if (now - (finishing.get(sid) ?? -Infinity) < FINISH_EVERY_MS) return
    finishing.delete(sid)
    finishing.set(sid, now)
    const [oldest] = finishing.keys()
    if (finishing.size > MAX_FINISHING && oldest !== undefined) finishing.delete(oldest)
    store.revoke({ sid }).catch((error: unknown) => {
      finishing.delete(sid)
      core.events.operational('store_failure', { result: 'failure', cause: 'revoke', error })
    })
  }

  function refuseRevoked(sid: string): void {
    if (!follower.isRevoked(sid)) return
    finishRevocation(sid)
    throw new AuthError('session_revoked', 'the session was ended', { endedSession: sid })
  }

  function alive(sid: string, result: CheckResult): SessionRecord {
    if (result.outcome === 'gone') {
      throw new AuthError('session_ended', 'the session is over', { endedSession: sid })
    }
    if (result.outcome === 'invalid') throw new AuthError('token_invalid', 'the token is not good')
    if (result.denied) throw tokenRevoked()
    // Asked again: a revocation may have come in while the store was answering.
    refuseRevoked(sid)
    return result.session
  }

  async function checkClaims(claims: SessionClaims): Promise<SessionRecord> {
    const { sid, jti, gen, tenant, sub } = claims
    refuseRevoked(sid)
    const session = alive(
      sid,
      await store.check({
        sid,
        jti,
        generation: gen,
        idleTimeoutMs: settings.lifetimes.idleTimeoutMs,
      }),
    )
    if (!isSameUser(session.user, { tenant, id: sub })) {
      throw new AuthError('token_invalid', 'the token is not good')
    }
    refuseStale(claims, session.ver)
    return session
  }

  async function checkServiceClaims({ jti }: ServiceClaims): Promise<void> {
    if (await store.isDenied({ sid: jti, jti })) throw tokenRevoked()
  }

  async function checkSessionToken({ sid, seedHash }: PresentedSession): Promise<SessionRecord> {
    refuseRevoked(sid)
    return alive(
      sid,
      await store.check({
        sid,
        seedHash,
        idleTimeoutMs: settings.lifetimes.idleTimeoutMs,
      }),
    )
  }

  function rememberedClaims(token: string): AccessClaims | undefined {
    const claims = core.verifier.remembered(token)
    // No store is asked on this path, so nothing is finished here either.
    if (claims !== undefined) refuseHeard(follower, claims)
    return claims
  }

  return {
    refuseRevoked,
    checkClaims,
    checkServiceClaims,
    rememberedClaims,

    async verifyAccessToken(token) {
      const remembered = rememberedClaims(token)
      if (remembered !== undefined) return remembered
      const claims = await core.verifier.verify(token)
      refuseHeard(follower, claims)
      return claims
    },

    checkSessionToken,

    async fetchSession(token) {
      const { nearCache } = core
      if (nearCache === null) return checkSessionToken(token)
      return nearCache.fill(async () => checkSessionToken(token))
    },

    nearSession(token) {
      const { nearCache } = core
      if (nearCache === null) return undefined
      refuseRevoked(token.sid)
      const near = nearCache.find(token.sid)
      if (near === undefined) return undefined
      if (!isSameSeedHash(near.seedHash, token.seedHash)) {
        throw new AuthError('token_invalid', 'the token is not good')
      }
      return near
    },

    async checkClaimsWhileBlind(claims) {
      const { sid, jti } = claims
      // An answer that is held knows nothing of what was heard since.
      if (sid !== null) refuseRevoked(sid)
      if (follower.isRevoked(jti)) throw tokenRevoked()
      try {
        return await core.blindChecks.ask(`${sid ?? ''}.${jti}`, async () => {
          if (claims.sid !== null) return checkClaims(claims)
          await checkServiceClaims(claims)
          return null
        })
      } catch (error) {
        // What this node learnt it need not ask again.
        if (sid !== null && error instanceof AuthError && error.code === 'session_ended') {
          hearRevoked(core, [sid])
        }
        throw error
      }
    },
  }
}
