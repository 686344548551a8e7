import type { NextFunction, Request, Response } from 'express'
import type { RegisteredClaims } from '../lib/auth.ts'
import { ConfigError, InternalError } from '../lib/errors.ts'
import { parseHeaderName } from '../lib/identity-header.ts'
import type { Context } from './context.ts'
import { answerFailure } from './failure.ts'
import type { Guard } from './as-guard.ts'
import { asGuard } from './as-guard.ts'
import { createIdentity } from './identity.ts'
import type { IdentityOptions } from './identity-options.ts'
import { parseIdentityOptions } from './identity-options.ts'

/** Options of `authRequest`. */
export type AuthRequestOptions<Claims extends object = RegisteredClaims> =
  IdentityOptions<Claims> & {
    /** Who may pass: a guard of this kit. */
    readonly guard: Guard
    /**
     * The header in which the proxy says the method of the request it asks about. The proxy must set
     * it, whatever the client sent: without it every request is refused.
     *
     * @defaultValue `'x-original-method'`
     */
    readonly methodHeader?: string | undefined
  }

// RFC 9110 §9.1: a token. One that is not known counts as unsafe.
const METHOD = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}$/
const SAFE: ReadonlySet<string> = new Set(['GET', 'HEAD'])

/**
 * Makes `authRequest`: answers a proxy that asks whether a request may pass (`auth_request` of nginx,
 * `forwardAuth` of Traefik, `forward_auth` of Caddy). 204 with the identity in headers, or the guard's
 * refusal with its code in `Latchkey-Code`.
 */
export function createAuthRequest<Claims extends object = RegisteredClaims>(
  context: Context<Claims>,
): (options: AuthRequestOptions<Claims>) => Guard {
  return function authRequest(options) {
    const { audience } = context.core.settings
    const parsed = parseIdentityOptions('authRequest', options, audience, ['guard', 'methodHeader'])
    const { guard, methodHeader = 'x-original-method' } = options
    const given: unknown = guard
    if (typeof given !== 'function') {
      throw new ConfigError('authRequest.guard', 'must be a guard, such as requireJwt()')
    }
    const header = parseHeaderName('authRequest.methodHeader', methodHeader)
    const identityOf = createIdentity(context, 'authRequest', parsed)

    /** A proxy asks by GET about a POST: the cross-origin check must not take it for one. */
    function readMethod(req: Request): string {
      const { [header]: original } = req.headers
      if (typeof original !== 'string' || !METHOD.test(original)) {
        throw new InternalError(`authRequest: the proxy must say the method in ${header}`)
      }
      // A proxy that passes the method on as it is has said it already, and no header takes that back.
      return SAFE.has(req.method) ? original : req.method
    }

    async function answer(req: Request, res: Response, next: NextFunction): Promise<void> {
      try {
        const headers = await identityOf(req)
        for (const [name, value] of headers) res.set(name, value)
        res.status(204).set('Cache-Control', 'no-store').end()
      } catch (error) {
        answerFailure(context, error, 'Bearer', req, res, next)
      }
    }

    return asGuard('authRequestMiddleware', async (req, res, next) => {
      try {
        context.memo(req).original = { method: readMethod(req) }
      } catch (error) {
        answerFailure(context, error, 'Bearer', req, res, next)
        return
      }
      await guard(req, res, (error) => {
        if (error === undefined) void answer(req, res, next)
        else next(error)
      })
    })
  }
}
