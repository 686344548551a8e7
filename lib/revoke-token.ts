import type { AccessClaims } from './access-token-claims.ts'
import type { Core } from './core.ts'
import { hearRevoked } from './core.ts'
import { endSession, isUnconfirmed } from './end-session.ts'
import { AuthError } from './errors.ts'
import type { RequestFacts } from './events.ts'
import type { IssuedToken } from './issued-tokens.ts'
import type { Service } from './service.ts'

/**
 * Revokes a token on behalf of a service that holds it: of a session or refresh token the session
 * ends, of an access token only that token. What another service asked for is not this one's to
 * revoke (RFC 7009 §2.1). Idempotent.
 *
 * @throws {AuthError} `unauthorized_client`
 * @throws {StoreUnavailable} not acknowledged: call again
 */
export async function revokeToken(
  core: Core,
  issued: IssuedToken | null,
  service: Service,
  request: RequestFacts,
): Promise<void> {
  if (issued === null) return
  if (issued.kind === 'access') return denyAccess(core, issued.claims, service, request)
  const { sid, seedHash } = issued.token
  await endSession(
    core,
    { sid, seedHash },
    {
      cause: 'revoked_by_service',
      request,
      detail: { service: service.id },
    },
  )
}

async function denyAccess(
  core: Core,
  claims: AccessClaims,
  { id }: Service,
  request: RequestFacts,
): Promise<void> {
  if (claims.clientId !== null && claims.clientId !== id) {
    throw new AuthError('unauthorized_client', 'the token belongs to another service')
  }
  const { sid, jti } = claims
  // For as long as a guard would take it.
  const expiresAt = claims.expiresAtMs + core.settings.clockSkewMs
  try {
    await core.store.deny({ sid: sid ?? jti, jti, expiresAt })
  } catch (error) {
    // It was denied all the same: this node holds to it.
    if (isUnconfirmed(error)) hearRevoked(core, [jti])
    throw error
  }
  hearRevoked(core, [jti])
  core.events.security('authn_token_revoked', {
    ...(sid === null ? {} : { user: { tenant: claims.tenant, id: claims.sub }, sessionId: sid }),
    request,
    result: 'success',
    cause: 'revoked_by_service',
    detail: { service: id, jti },
  })
}
