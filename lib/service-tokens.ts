import { ACCESS_TOKEN_TYP, refuseTooLong } from './access-token-issuer.ts'
import { serviceTtlMs } from './audiences.ts'
import type { Core } from './core.ts'
import { AuthError } from './errors.ts'
import { grantScope } from './grant-scope.ts'
import type { Service } from './service.ts'
import { drawSessionId } from './session-id.ts'
import { signJwt } from './sign-jwt.ts'
import type { TokenAnswer } from './token-answer.ts'

/**
 * Makes a service's own access token (RFC 6749 §4.4, RFC 9068 §2.2): `sub` and `client_id` are the
 * service, and there is no session. Its `jti` has the form of a session id, so that it says by itself
 * where a denial is kept.
 *
 * @param asked - audience and scope the service asks for; null for the kit's own audience, and for all
 *   it may have
 * @throws {AuthError} `invalid_target`, `invalid_scope`, `signing_unavailable`
 */
export async function issueServiceToken(
  { settings, signingKeys }: Core,
  service: Service,
  asked: { readonly audience: string | null; readonly scope: readonly string[] | null },
): Promise<TokenAnswer> {
  const { audience } = asked
  const names = audience === null ? settings.audience : [audience]
  const target = audience === null ? undefined : settings.audiences.get(audience)
  const isServed = target !== undefined || names.every((name) => settings.audience.includes(name))
  const mayHave = names.every((name) => service.audiences?.includes(name) ?? true)
  if (!isServed || !mayHave) {
    throw new AuthError('invalid_target', 'there are no such tokens for this service')
  }
  const scope = grantScope(asked.scope, [service.scope ?? [], target?.scope ?? null])
  const ttlMs = target?.ttlMs ?? serviceTtlMs(settings.accessTokenTtlMs)
  const iat = Math.floor(settings.clock() / 1000)
  const expiresInS = Math.floor(ttlMs / 1000)
  const jti = drawSessionId({ tenant: '', id: service.id })
  const token = await signJwt(
    signingKeys.active,
    {
      iss: settings.issuer,
      aud: names.length === 1 ? (names[0] ?? '') : names,
      sub: service.id,
      client_id: service.id,
      exp: iat + expiresInS,
      iat,
      jti,
      ...(scope.length === 0 ? {} : { scope: scope.join(' ') }),
    },
    ACCESS_TOKEN_TYP,
  )
  refuseTooLong(token.length)
  return { token, jti, expiresInS, scope }
}
