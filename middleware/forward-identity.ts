import type { RegisteredClaims } from '../lib/auth.ts'
import type { Context } from './context.ts'
import { answerFailure } from './failure.ts'
import type { Guard } from './as-guard.ts'
import { asGuard } from './as-guard.ts'
import { createIdentity } from './identity.ts'
import type { IdentityOptions } from './identity-options.ts'
import { parseIdentityOptions } from './identity-options.ts'
import { addHeader, stripCookies, stripHeaders } from './strip-headers.ts'

/**
 * Makes `forwardIdentity`: between a guard and a reverse proxy. What the client says of identity is
 * taken out of the request, and who the guard found is put in.
 */
export function createForwardIdentity<Claims extends object = RegisteredClaims>(
  context: Context<Claims>,
): (options: IdentityOptions<Claims>) => Guard {
  const { settings } = context.core
  const cookies = [
    ...Object.values(settings.cookies),
    ...(settings.device?.cookie == null ? [] : [settings.device.cookie]),
  ]
  const cookieNames = new Set(cookies.map(({ name }) => name.toLowerCase()))

  return function forwardIdentity(options) {
    const parsed = parseIdentityOptions('forwardIdentity', options, settings.audience)
    const identityOf = createIdentity(context, 'forwardIdentity', parsed)

    return asGuard('forwardIdentityMiddleware', async (req, res, next) => {
      try {
        // First, and whatever happens next: what stays here came from the client.
        stripHeaders(req, parsed.stripped)
        if (!parsed.keepCredentials) stripCookies(req, cookieNames)
        for (const [name, value] of await identityOf(req)) addHeader(req, name, value)
      } catch (error) {
        answerFailure(context, error, 'Bearer', req, res, next)
        return
      }
      next()
    })
  }
}
