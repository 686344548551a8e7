import type { Actor, SessionClaims } from './access-token-claims.ts'
import { MAX_ACTORS } from './access-token-claims.ts'
import type { AccessTokenIssuer } from './access-token-issuer.ts'
import { createAccessTokenIssuer } from './access-token-issuer.ts'
import type { Core } from './core.ts'
import { AuthError } from './errors.ts'
import { finding } from './findings.ts'
import { grantScope } from './grant-scope.ts'
import { refuseHeard } from './heard.ts'
import type { Service } from './service.ts'
import type { SessionRecord } from './session.ts'
import type { TokenAnswer } from './token-answer.ts'

/** Whose token is exchanged, as the store knows it at this moment. */
export interface ExchangeSubject {
  readonly session: SessionRecord
  /** What the access token said that came in; null when a session token did. */
  readonly claims: SessionClaims | null
}

/** What is asked for. */
export interface ExchangeRequest {
  readonly audience: string
  /** Null asks for all there is. */
  readonly scope: readonly string[] | null
  /** Who asks, and will act for the user; null when the user's own client does. */
  readonly service: Service | null
}

/** Exchanges tokens (RFC 8693). */
export type ExchangeToken = (
  subject: ExchangeSubject,
  asked: ExchangeRequest,
) => Promise<TokenAnswer>

/**
 * Makes the exchange. What comes out is for one of `audiences`, of the same session, with no more
 * scope and no longer life than what came in.
 */
export function createExchange(core: Core): ExchangeToken {
  const { settings, signingKeys, follower, doctor } = core
  const issuers = new Map<string, AccessTokenIssuer>()
  for (const [name, { ttlMs }] of settings.audiences) {
    const issuer = createAccessTokenIssuer({
      issuer: settings.issuer,
      audience: [name],
      keys: signingKeys,
      ttlMs,
      clock: settings.clock,
      random: () => 0,
      onWarning: (code, message) => doctor.note(finding(code, message)),
    })
    issuers.set(name, issuer)
  }

  return async function exchangeToken({ session, claims }, { audience, scope, service }) {
    const target = settings.audiences.get(audience)
    const issuer = issuers.get(audience)
    const mayHave = service?.audiences?.includes(audience) ?? true
    if (target === undefined || issuer === undefined || !mayHave) throw noSuchTarget()
    if (claims !== null && !isForAnybody(claims) && !claims.aud.includes(audience)) {
      throw noSuchTarget()
    }
    const { attributes } = session
    const incoming =
      claims === null
        ? attributes.scope
        : attributes.scope.filter((word) => claims.scope.includes(word))
    const granted = grantScope(scope, [incoming, target.scope])
    const { token, jti, expiresInS } = await issuer.issue({
      ...session,
      // Who has a session token need not have the newest refresh token: this confirms none.
      generation: claims?.gen ?? 0,
      attributes: { ...attributes, scope: granted },
      absoluteDeadline: Math.min(session.absoluteDeadline, claims?.expiresAtMs ?? Infinity),
      clientId: service?.id ?? claims?.clientId ?? null,
      actor: actorOf(service, claims?.actor ?? null),
    })
    // A signature may take its time, and the feed may have brought news meanwhile.
    if (claims !== null) refuseHeard(follower, claims)
    else if (follower.isRevoked(session.sid)) {
      throw new AuthError('session_revoked', 'the session was ended')
    }
    return { token, jti, expiresInS, scope: granted }
  }

  /** A token of a login may become one for any audience; one that was exchanged, for its own only. */
  function isForAnybody({ clientId, aud }: SessionClaims): boolean {
    return clientId === null && settings.audience.some((own) => aud.includes(own))
  }
}

function noSuchTarget(): AuthError {
  return new AuthError('invalid_target', 'there are no such tokens for this request')
}

/** RFC 8693 §4.1: the newest actor outermost. Who acts already is not named twice. */
function actorOf(service: Service | null, before: Actor | null): Actor | null {
  if (service === null || before?.sub === service.id) return before
  if (depthOf(before) >= MAX_ACTORS) {
    throw new AuthError('subject_token_invalid', 'too many act for one another already')
  }
  return before === null ? { sub: service.id } : { sub: service.id, act: before }
}

function depthOf(actor: Actor | null): number {
  let depth = 0
  for (let at = actor ?? undefined; at !== undefined; at = at.act) depth++
  return depth
}
