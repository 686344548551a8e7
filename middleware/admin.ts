import type { Request } from 'express'
import type { Auth } from '../lib/auth.ts'
import { AuthError } from '../lib/errors.ts'
import type { EventFields } from '../lib/events.ts'
import { decideAccess } from '../lib/guard-policy.ts'
import type { UserRef } from '../lib/user.ts'
import { parseUserRef } from '../lib/user.ts'
import type { Context } from './context.ts'
import { hookFailure, requestFacts } from './context.ts'

/** How lately an admin must have logged in to see or end what is others' (OWASP ASVS 5.0 7.5.3). */
const ADMIN_MAX_AUTH_AGE_MS = 5 * 60_000

/** What the routes for admins share. */
export interface Admins<Claims extends object> {
  /** Whether the app's `authorizeAdmin` says so. Without one nobody is. */
  isAdmin(auth: Auth<Claims>, req: Request): Promise<boolean>
  /** @throws {AuthError} `step_up_required` when the login is older than five minutes */
  requireRecentLogin(auth: Auth<Claims>, req: Request): void
  /** Both. @throws {AuthError} `forbidden`, `step_up_required` */
  requireAdmin(auth: Auth<Claims>, req: Request): Promise<void>
  /** Reports a refusal, and returns it to be thrown. */
  refused(auth: Auth<Claims>, req: Request, error: AuthError): AuthError
  /** Reports what an admin did. */
  report(
    auth: Auth<Claims>,
    req: Request,
    about: Pick<EventFields, 'user' | 'sessionId' | 'cause' | 'detail'>,
  ): void
}

/** Makes them for one kit. */
export function createAdmins<Claims extends object>(context: Context<Claims>): Admins<Claims> {
  const { core, options } = context

  async function isAdmin(auth: Auth<Claims>, req: Request): Promise<boolean> {
    if (options.authorizeAdmin === undefined) return false
    try {
      const answer: unknown = await options.authorizeAdmin(auth, req)
      return answer === true
    } catch (error) {
      throw hookFailure(context, 'authorizeAdmin', error)
    }
  }

  function requireRecentLogin(auth: Auth<Claims>, req: Request): void {
    const refusal = decideAccess(
      auth,
      { roles: [], scope: [], levels: null, maxAuthAgeMs: ADMIN_MAX_AUTH_AGE_MS },
      core.settings.clock(),
    )
    if (refusal !== null) throw refused(auth, req, refusal)
  }

  function refused(auth: Auth<Claims>, req: Request, error: AuthError): AuthError {
    core.events.security('authz_fail', {
      user: refOf(auth),
      sessionId: auth.sessionId,
      request: requestFacts(req),
      result: 'failure',
      cause: error.code,
    })
    return error
  }

  return {
    isAdmin,
    requireRecentLogin,
    refused,

    async requireAdmin(auth, req) {
      if (!(await isAdmin(auth, req))) {
        throw refused(auth, req, new AuthError('forbidden', 'this is for admins'))
      }
      requireRecentLogin(auth, req)
    },

    report(auth, req, about) {
      core.events.security('authz_admin', {
        ...about,
        actor: refOf(auth),
        request: requestFacts(req),
        result: 'success',
      })
    },
  }
}

/** The name of who is asking. */
export function refOf(auth: { readonly tenant: string; readonly userId: string }): UserRef {
  return { tenant: auth.tenant, id: auth.userId }
}

/**
 * The user a query names by `user_id` and `tenant`, undefined when it names none.
 *
 * @throws {AuthError} `invalid_request`, `user_invalid`
 */
export function readNamedUser(req: Request): UserRef | undefined {
  const { user_id: id, tenant } = req.query
  if (id === undefined) {
    if (tenant === undefined) return undefined
    throw new AuthError('invalid_request', 'tenant needs user_id')
  }
  if (typeof id !== 'string' || (tenant !== undefined && typeof tenant !== 'string')) {
    throw new AuthError('invalid_request', 'user_id and tenant are one text each')
  }
  return parseUserRef({ id, tenant })
}
