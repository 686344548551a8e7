import type { SessionClaims } from './access-token-claims.ts'
import type { TokenSubject } from './access-token-issuer.ts'
import { createAccessTokenIssuer } from './access-token-issuer.ts'
import type { Session } from './auth.ts'
import { typedClaims } from './auth.ts'
import type { Core } from './core.ts'
import { AuthError } from './errors.ts'
import { finding } from './findings.ts'
import { refuseHeard, refuseStale } from './heard.ts'
import { RecentTokens } from './recent-tokens.ts'
import type { JsonObject } from './session.ts'

/** How long a token for a service behind lives: the time of one request, and of one that waits. */
export const FORWARDED_TTL_MS = 60_000

/** How many are remembered for each audience. */
const MAX_RECENT = 4096

/** Makes tokens for one service behind. */
export interface ForwardedTokens {
  /**
   * For who came with an access token: the same claims, for another audience and a minute.
   *
   * @throws {AuthError} `session_revoked`, `token_revoked` or `token_stale` when the feed has said so
   *   meanwhile, `signing_unavailable`
   * @throws {InternalError} when it would be too long
   */
  fromClaims(claims: SessionClaims): Promise<string>

  /** For who came with a session token. Throws what `fromClaims` throws. */
  fromSession(session: Session<object>): Promise<string>
}

/** Makes the tokens of a gateway for the service that `audience` names. */
export function createForwardedTokens(core: Core, audience: string): ForwardedTokens {
  const { settings, signingKeys, follower, doctor } = core
  const { clock } = settings
  const issuer = createAccessTokenIssuer({
    issuer: settings.issuer,
    audience: [audience],
    keys: signingKeys,
    ttlMs: FORWARDED_TTL_MS,
    clock,
    random: () => 0,
    onWarning: (code, message) => doctor.note(finding(code, message)),
  })
  const recent = new RecentTokens({ ttlMs: FORWARDED_TTL_MS, maxTokens: MAX_RECENT, clock })

  async function tokenFor(key: string, subject: TokenSubject): Promise<string> {
    await signingKeys.ready()
    // A key that was taken away signs nothing any more, remembered or not.
    return recent.get(`${signingKeys.active.kid} ${key}`, async () => issuer.issue(subject))
  }

  /** A request that was let pass a moment before the end must still reach the service behind. */
  function endingAt(deadline: number): Pick<TokenSubject, 'idleDeadline' | 'absoluteDeadline'> {
    const end = Math.max(deadline, clock() + 1000)
    return { idleDeadline: end, absoluteDeadline: end }
  }

  return {
    async fromClaims(claims) {
      const { sid, jti, sub, tenant, gen, ver, authTimeMs } = claims
      const { roles, scope, level, amr, claims: own } = claims
      const token = await tokenFor(`access ${jti}`, {
        sid,
        user: { tenant, id: sub },
        generation: gen,
        ver,
        authTime: authTimeMs,
        attributes: { roles, scope, level, amr, claims: own },
        clientId: claims.clientId,
        actor: claims.actor,
        ...endingAt(claims.expiresAtMs),
      })
      // Last: a signature may take its time, and a remembered token knows nothing of the news.
      refuseHeard(follower, claims)
      return token
    },
    async fromSession(session) {
      const { id: sid, userId, tenant, ver, authTime } = session
      const { roles, scope, level, amr, claims } = session
      const token = await tokenFor(`session ${sid} ${ver}`, {
        sid,
        user: { tenant, id: userId },
        // Who has a session token need not have the newest refresh token: this confirms none.
        generation: 0,
        ver,
        authTime,
        attributes: { roles, scope, level, amr, claims: typedClaims<JsonObject>(claims) },
        ...endingAt(Math.min(session.expiresAt, session.idleExpiresAt)),
      })
      if (follower.isRevoked(sid)) throw new AuthError('session_revoked', 'the session was ended')
      refuseStale(session, follower.oldestGoodVer(sid))
      return token
    },
  }
}
