import type { Request } from 'express'
import type { Auth } from '../lib/auth.ts'
import { AuthError, InternalError } from '../lib/errors.ts'
import { createForwardedTokens } from '../lib/forwarded-tokens.ts'
import { formatIdentity } from '../lib/identity-header.ts'
import type { Context } from './context.ts'
import { hookFailure } from './context.ts'
import type { ParsedIdentityOptions } from './identity-options.ts'

/** A header of a request to a service behind. */
export type IdentityHeader = readonly [name: string, value: string]

/**
 * Makes what says who is asking.
 *
 * @param name - the factory's name, for errors
 * @returns what reads it off a request that a guard let pass: the headers, none for nobody. It throws
 *   `InternalError` when no guard of this kit ran or a hook failed, `AuthError` `session_revoked`,
 *   `token_revoked`, `token_stale`, `signing_unavailable`, or `forbidden` for a service
 */
export function createIdentity<Claims extends object>(
  context: Context<Claims>,
  name: string,
  options: ParsedIdentityOptions<Claims>,
): (req: Request) => Promise<readonly IdentityHeader[]> {
  const { token } = options
  const tokens = token === null ? null : createForwardedTokens(context.core, token.audience)

  async function textOf(req: Request, auth: Auth<object>): Promise<string> {
    const { access } = context.memo(req)
    if (tokens === null) throw new InternalError(`${name}: has no audience`)
    if (auth.kind === 'jwt' && access !== undefined && access.claims.sid !== null) {
      return tokens.fromClaims(access.claims)
    }
    if (auth.session !== undefined) return tokens.fromSession(auth.session)
    throw new InternalError(`${name}: the guard left neither token nor session`)
  }

  function valuesOf(auth: Auth<Claims>): readonly IdentityHeader[] {
    try {
      return options.headers.flatMap(([header, read]) => {
        const value = formatIdentity(read(auth))
        return value === undefined ? [] : [[header, value] as const]
      })
    } catch (error) {
      throw hookFailure(context, `${name}.headers`, error)
    }
  }

  return async (req) => {
    const { auth, guarded } = context.memo(req)
    if (guarded !== true) {
      throw new InternalError(`${name}: no guard of this kit let this request pass; put one before`)
    }
    if (auth === undefined) return []
    // Services behind take what stands there for a user.
    if (auth.kind === 'service') throw new AuthError('forbidden', 'a service is not passed on')
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- only this kit writes its memo
    if (token === null) return valuesOf(auth as Auth<Claims>)
    const text = await textOf(req, auth)
    return [[token.header, token.header === 'authorization' ? `Bearer ${text}` : text]]
  }
}
