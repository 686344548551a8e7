import type { AccessClaims } from './access-token-claims.ts'
import { actorJson } from './access-token-issuer.ts'
import type { SessionChecks } from './check-session.ts'
import type { Core } from './core.ts'
import { AuthError } from './errors.ts'
import { PARTIAL_LEVEL } from './guard-policy.ts'
import { refuseHeard } from './heard.ts'
import type { IssuedToken } from './issued-tokens.ts'
import type { JsonObject, SessionRecord } from './session.ts'
import type { CheckInput } from './store.ts'
import { isSameUser } from './user.ts'

/** What is said of every token that is not good, whatever it was (RFC 7662 §2.2). */
export const INACTIVE: JsonObject = Object.freeze({ active: false })

/**
 * What a token says, if it is good at this moment. Its session is asked for in the store; nobody acted,
 * so nothing is written. A half logged in session is no session yet.
 *
 * @returns the members of RFC 7662 §2.2, or {@link INACTIVE}
 * @throws {StoreUnavailable} it is not known
 */
export async function introspectToken(
  core: Core,
  checks: SessionChecks,
  issued: IssuedToken | null,
): Promise<JsonObject> {
  if (issued === null) return INACTIVE
  try {
    return (await describe(core, checks, issued)) ?? INACTIVE
  } catch (error) {
    if (error instanceof AuthError && error.status === 401) return INACTIVE
    throw error
  }
}

async function describe(
  core: Core,
  checks: SessionChecks,
  issued: IssuedToken,
): Promise<JsonObject | null> {
  if (issued.kind === 'access') {
    const { claims } = issued
    refuseHeard(core.follower, claims)
    if (claims.sid === null) {
      await checks.checkServiceClaims(claims)
      return describeAccess(claims)
    }
    const { sid, jti, tenant, sub } = claims
    const session = await peek(core, checks, { sid, jti })
    const isGood =
      session !== null && isSameUser(session.user, { tenant, id: sub }) && claims.ver >= session.ver
    return isGood ? describeAccess(claims) : null
  }
  const { sid, seedHash } = issued.token
  const session = await peek(core, checks, { sid, seedHash })
  if (session === null) return null
  if (issued.kind === 'session') {
    return { ...describeSession(core, session), token_type: 'Session', token_use: 'session_token' }
  }
  // One that was used is no good, also where a repeated refresh would still be answered.
  if (issued.token.generation !== session.generation) return null
  return { ...describeSession(core, session), token_use: 'refresh_token' }
}

async function peek(
  core: Core,
  checks: SessionChecks,
  which: Pick<CheckInput, 'sid' | 'seedHash' | 'jti'>,
): Promise<SessionRecord | null> {
  const { idleTimeoutMs } = core.settings.lifetimes
  checks.refuseRevoked(which.sid)
  const result = await core.store.check({ ...which, peek: true, idleTimeoutMs })
  checks.refuseRevoked(which.sid)
  if (result.outcome !== 'alive' || result.denied) return null
  return result.session.attributes.level === PARTIAL_LEVEL ? null : result.session
}

function describeAccess(claims: AccessClaims): JsonObject {
  const { aud, scope, roles, amr, level, clientId, actor } = claims
  return {
    active: true,
    token_type: 'Bearer',
    token_use: 'access_token',
    iss: claims.iss,
    aud: aud.length === 1 ? (aud[0] ?? '') : aud,
    sub: claims.sub,
    exp: claims.expiresAtMs / 1000,
    iat: claims.issuedAtMs / 1000,
    jti: claims.jti,
    ...(scope.length === 0 ? {} : { scope: scope.join(' ') }),
    ...(clientId === null ? {} : { client_id: clientId }),
    ...(claims.sid === null ? {} : { sid: claims.sid, auth_time: claims.authTimeMs / 1000 }),
    ...(claims.tenant === '' ? {} : { tenant: claims.tenant }),
    ...(roles.length === 0 ? {} : { roles }),
    ...(amr.length === 0 ? {} : { amr }),
    ...(level === null ? {} : { acr: level }),
    ...(actor === null ? {} : { act: actorJson(actor) }),
  }
}

/** Session and refresh tokens are for the issuer only, and so their `aud` says. */
function describeSession({ settings }: Core, session: SessionRecord): JsonObject {
  const { roles, scope, amr, level } = session.attributes
  const deadline = Math.min(session.idleDeadline, session.absoluteDeadline)
  return {
    active: true,
    iss: settings.issuer,
    aud: settings.issuer,
    sub: session.user.id,
    exp: Math.floor(deadline / 1000),
    iat: Math.floor(session.createdAt / 1000),
    sid: session.sid,
    auth_time: Math.floor(session.authTime / 1000),
    ...(scope.length === 0 ? {} : { scope: scope.join(' ') }),
    ...(session.user.tenant === '' ? {} : { tenant: session.user.tenant }),
    ...(roles.length === 0 ? {} : { roles }),
    ...(amr.length === 0 ? {} : { amr }),
    ...(level === null ? {} : { acr: level }),
  }
}
