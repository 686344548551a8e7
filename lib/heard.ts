import type { AccessClaims } from './access-token-claims.ts'
import { AuthError } from './errors.ts'

/** What the feed has told, by session id or by the `jti` of a denied token. */
export interface Heard {
  isRevoked(name: string): boolean
  oldestGoodVer(sid: string): number
}

/**
 * Refuses a verified token that the feed says is void. Asks no store: two or three look-ups.
 *
 * @throws {AuthError} `session_revoked`, `token_revoked` or `token_stale`
 */
export function refuseHeard(heard: Heard, claims: AccessClaims): void {
  if (claims.sid !== null && heard.isRevoked(claims.sid)) {
    throw new AuthError('session_revoked', 'the session was ended', { endedSession: claims.sid })
  }
  if (heard.isRevoked(claims.jti)) throw tokenRevoked()
  if (claims.sid !== null) refuseStale(claims, heard.oldestGoodVer(claims.sid))
}

/**
 * Refuses a token that is older than a change of what it says.
 *
 * @throws {AuthError} `token_stale`
 */
export function refuseStale({ ver }: { readonly ver: number }, oldestGoodVer: number): void {
  if (ver < oldestGoodVer) {
    throw new AuthError('token_stale', 'the token is older than a change; refresh it')
  }
}

/** The answer to an access token that was denied by itself; its session may live on. */
export function tokenRevoked(): AuthError {
  return new AuthError('token_revoked', 'the access token was revoked')
}
