import type { Request } from 'express'
import type { Auth } from '../lib/auth.ts'
import { endSession, endUserSessions } from '../lib/end-session.ts'
import { AuthError } from '../lib/errors.ts'
import { decideAccess } from '../lib/guard-policy.ts'
import { isSessionId } from '../lib/session-id.ts'
import { parseUserRef } from '../lib/user.ts'
import { readJsonBody, refuseUnknownMembers } from './body.ts'
import type { Context } from './context.ts'
import { hookFailure, requestFacts } from './context.ts'
import { clearCookies, noStore, sessionJson } from './deliver.ts'
import type { RouteHandler } from './route.ts'
import { requireAuth } from './route.ts'
import { endPresented } from './sign-in.ts'

const DEFAULT_PAGE = 50
const MAX_PAGE = 100
const MAX_CURSOR = 512
/** How lately an admin must have logged in to end other users' sessions. */
const ADMIN_MAX_AUTH_AGE_MS = 5 * 60_000

/** The routes about sessions that exist. All but logout run behind a guard that asked the store. */
export interface SessionRoutes {
  readonly logout: RouteHandler
  readonly logoutAll: RouteHandler
  readonly current: RouteHandler
  readonly list: RouteHandler
  readonly endOne: RouteHandler
  readonly endMany: RouteHandler
}

/** Makes the routes. */
export function createSessionRoutes<Claims extends object>(
  context: Context<Claims>,
): SessionRoutes {
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

  /** Ending somebody else's session takes a fresh login, not just an open one. */
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

  function reportAdmin(auth: Auth<Claims>, req: Request, detail: Record<string, string>): void {
    core.events.security('authz_admin', {
      actor: refOf(auth),
      request: requestFacts(req),
      result: 'success',
      detail,
    })
  }

  return {
    async logout(req, res) {
      const body = await readJsonBody(req, res)
      refuseUnknownMembers(body, ['refresh_token'])
      const { refresh_token: fromBody } = body
      if (fromBody !== undefined && typeof fromBody !== 'string') {
        throw new AuthError('invalid_request', 'refresh_token must be text')
      }
      await endPresented(context, req, fromBody === undefined ? [] : [fromBody])
      clearCookies(context, req, res)
      noStore(res).status(204).end()
    },

    async logoutAll(req, res) {
      const auth = requireAuth(context, req)
      const revoked = await endUserSessions(core, refOf(auth), undefined, {
        cause: 'logout_all',
        request: requestFacts(req),
      })
      clearCookies(context, req, res)
      noStore(res).json({ revoked })
    },

    async current(req, res) {
      const record = context.memo(req).checked?.session
      if (record === undefined) throw new AuthError('session_ended', 'the session is over')
      noStore(res).json(sessionJson(record, record.sid))
    },

    async list(req, res) {
      const auth = requireAuth(context, req)
      refuseUnknownMembers(req.query, ['limit', 'cursor'])
      const { limit, cursor } = readPaging(req)
      const page = await core.store.list({ user: refOf(auth), limit, ...cursor })
      noStore(res).json({
        sessions: page.items.map((session) => sessionJson(session, auth.sessionId)),
        next_cursor: page.next,
      })
    },

    async endOne(req, res) {
      const auth = requireAuth(context, req)
      const { id } = req.params
      const request = requestFacts(req)
      const own = { cause: 'ended_by_user', request }
      let ended = isSessionId(id) && (await endSession(core, { sid: id, owner: refOf(auth) }, own))
      if (!ended && (await isAdmin(auth, req))) {
        // Asked before the row is looked at, so that the answer does not tell whether it exists.
        requireRecentLogin(auth, req)
        const reason = { cause: 'ended_by_admin', actor: refOf(auth), request }
        ended = isSessionId(id) && (await endSession(core, { sid: id }, reason))
        if (ended && isSessionId(id)) reportAdmin(auth, req, { ended_session: id })
      }
      if (!ended) throw new AuthError('not_found', 'there is no such session')
      noStore(res).status(204).end()
    },

    async endMany(req, res) {
      const auth = requireAuth(context, req)
      refuseUnknownMembers(req.query, ['user_id', 'tenant'])
      const { user_id: userId, tenant } = req.query
      const request = requestFacts(req)
      if (userId === undefined) {
        if (tenant !== undefined) {
          throw new AuthError('invalid_request', 'tenant needs user_id')
        }
        const reason = { cause: 'ended_by_user', request }
        const revoked = await endUserSessions(core, refOf(auth), auth.sessionId, reason)
        noStore(res).json({ revoked })
        return
      }
      if (typeof userId !== 'string' || (tenant !== undefined && typeof tenant !== 'string')) {
        throw new AuthError('invalid_request', 'user_id and tenant are one text each')
      }
      const user = parseUserRef({ id: userId, tenant })
      if (!(await isAdmin(auth, req))) {
        throw refused(auth, req, new AuthError('forbidden', 'this is for admins'))
      }
      requireRecentLogin(auth, req)
      const reason = { cause: 'ended_by_admin', actor: refOf(auth), request }
      const revoked = await endUserSessions(core, user, undefined, reason)
      reportAdmin(auth, req, { ended_user: user.id, ended_tenant: user.tenant })
      noStore(res).json({ revoked })
    },
  }
}

function refOf(auth: { readonly tenant: string; readonly userId: string }) {
  return { tenant: auth.tenant, id: auth.userId }
}

function readPaging(req: Request) {
  const { limit = String(DEFAULT_PAGE), cursor } = req.query
  const count = typeof limit === 'string' && /^\d{1,3}$/.test(limit) ? Number(limit) : 0
  if (count < 1 || count > MAX_PAGE) {
    throw new AuthError('invalid_request', `limit is a whole number from 1 to ${MAX_PAGE}`)
  }
  if (cursor !== undefined && (typeof cursor !== 'string' || cursor.length > MAX_CURSOR)) {
    throw new AuthError('invalid_request', 'cursor is the next_cursor of the page before')
  }
  return { limit: count, cursor: cursor === undefined ? {} : { cursor } }
}
