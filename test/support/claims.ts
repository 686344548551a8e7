import type { AccessClaims, SessionClaims } from '../../lib/access-token-claims.ts'

/** The claims of a user's token; a test that gets a service's fails. */
export function sessionClaims(claims: AccessClaims): SessionClaims {
  if (claims.sid === null) throw new Error('a token without a session')
  return claims
}
