import type { Request } from 'express'
import type { Auth, RegisteredClaims } from '../../lib/auth.ts'
import { authFromClaims } from '../../lib/auth.ts'
import type { Duration } from '../../lib/duration.ts'
import { AuthError, InternalError } from '../../lib/errors.ts'
import { decideAccess } from '../../lib/guard-policy.ts'
import type { MaybePromise } from '../../lib/options.ts'
import type { VerifierCore } from '../../lib/verifier-core.ts'
import type { ErrorHandler } from '../answer.ts'
import { answer, toAnswerable } from '../answer.ts'
import type { Guard } from '../as-guard.ts'
import { asGuard } from '../as-guard.ts'
import { readAuthorization } from '../authorization.ts'
import type { ParsedGuardOptions, TokenGuardOptions } from '../guard-options.ts'
import { parseGuardOptions } from '../guard-options.ts'
import type { AuthMemo } from '../request-auth.ts'
import { clearAuth, setAuth } from '../request-auth.ts'

/** Options of a verifier's `requireJwt`. All is judged by the token: it says what was so when it was issued. */
export interface VerifierGuardOptions<
  Claims extends object = RegisteredClaims,
> extends TokenGuardOptions {
  /** Longest time since the user proved who they are, else 401 `step_up_required`. */
  readonly maxAuthAge?: Duration | undefined
  /** The level, or one of several, by name; else 401 `step_up_required`. */
  readonly level?: string | readonly string[] | undefined
  /** The app's own condition, else 403 `forbidden`. What it throws is 500, never a pass. */
  readonly check?: ((auth: Auth<Claims>, req: Request) => MaybePromise<boolean>) | undefined
}

const KNOWN = [
  'optional',
  'roles',
  'scope',
  'services',
  'onStoreFailure',
  'maxAuthAge',
  'level',
  'check',
]

/** Makes a verifier's `requireJwt`: an access token by `Authorization: Bearer`, and nothing else. */
export function createRequireJwt<Claims extends object>(
  core: VerifierCore,
  memo: (req: Request) => AuthMemo,
  onError: ErrorHandler | undefined,
): (options?: VerifierGuardOptions<Claims>) => Guard {
  return function requireJwt(options = {}) {
    const parsed = parseGuardOptions<Claims>('requireJwt', options, {
      onStoreFailure: core.settings.onStoreFailure,
      hasDeviceBinding: false,
      known: KNOWN,
    })

    const { levels, maxAuthAgeMs } = parsed.requirements
    // What only a person can show, a service never does.
    const takesServices = parsed.services && levels === null && maxAuthAgeMs === null

    /** Who is asking; null when nobody is and nobody need be. */
    async function authenticate(req: Request): Promise<Auth<Claims> | null> {
      const token = readBearer(req)
      if (token === null) {
        if (parsed.optional) return null
        throw new AuthError('credentials_missing', 'no credentials were sent')
      }
      const auth = authFromClaims<Claims>(await core.verify(token, parsed.onStoreFailure))
      if (auth.kind === 'service' && !takesServices) {
        throw refused(core, req, auth, new AuthError('forbidden', 'this is not for services'))
      }
      const refusal = decideAccess(auth, parsed.requirements, core.settings.clock())
      if (refusal !== null) throw refused(core, req, auth, refusal)
      if (parsed.check !== null && !(await askApp(core, parsed.check, auth, req))) {
        throw refused(core, req, auth, new AuthError('forbidden', 'this is not allowed'))
      }
      return auth
    }

    return asGuard('requireJwtMiddleware', async (req, res, next) => {
      try {
        const auth = await authenticate(req)
        if (auth === null) clearAuth(memo(req), req)
        else {
          setAuth(memo(req), req, auth)
          // What depends on a credential is nobody else's; a handler that knows better says so after us.
          if (!res.headersSent) res.set('Cache-Control', 'no-store')
        }
      } catch (error) {
        answer(onError, toAnswerable(error), 'Bearer', req, res, next)
        return
      }
      next()
    })
  }
}

/**
 * The access token of a request. A query string or a cookie is never read: what a browser adds by
 * itself would need the cross-origin check of the kit.
 */
function readBearer(req: Request): string | null {
  const header = readAuthorization(req)
  if (header === null) return null
  if (header.scheme === 'bearer') return header.text
  throw new AuthError('token_invalid', 'the Authorization scheme is not taken here')
}

async function askApp<Claims extends object>(
  core: VerifierCore,
  check: NonNullable<ParsedGuardOptions<Claims>['check']>,
  auth: Auth<Claims>,
  req: Request,
): Promise<boolean> {
  try {
    // An app without types may return anything: only true is a yes.
    const said: unknown = await check(auth, req)
    return said === true
  } catch (error) {
    core.emit({ type: 'hook_failure', result: 'failure', cause: 'check', error })
    throw new InternalError('check failed', { cause: error })
  }
}

function refused(
  core: VerifierCore,
  req: Request,
  auth: Auth<object>,
  error: AuthError,
): AuthError {
  core.emit({
    type: 'authz_fail',
    result: 'failure',
    cause: error.code,
    ...(auth.kind === 'service'
      ? { detail: { service: auth.service ?? '' } }
      : { user: { tenant: auth.tenant, id: auth.userId }, sessionId: auth.sessionId }),
    // Who acts for the user did it, and not the user.
    ...(auth.actor === undefined ? {} : { detail: { service: auth.actor.sub } }),
    ...(req.ip === undefined ? {} : { ip: req.ip }),
  })
  return error
}
