import { endSession, endUserSessions } from '../lib/end-session.ts'
import { AuthError } from '../lib/errors.ts'
import { isSessionId } from '../lib/session-id.ts'
import { createAdmins, readNamedUser, refOf } from './admin.ts'
import { readJsonBody, refuseUnknownMembers } from './body.ts'
import type { Context } from './context.ts'
import { requestFacts } from './context.ts'
import { clearCookies, noStore, sessionJson } from './deliver.ts'
import { readPaging } from './paging.ts'
import type { RouteHandler } from './route.ts'
import { requireAuth } from './route.ts'
import { endPresented } from './sign-in.ts'

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
  const { core } = context
  const admins = createAdmins(context)

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
      refuseUnknownMembers(req.query, ['user_id', 'tenant', 'limit', 'cursor'])
      const paging = readPaging(req)
      const named = readNamedUser(req)
      // Also for one's own name: who is no admin learns nothing by trying names.
      if (named !== undefined) await admins.requireAdmin(auth, req)
      const page = await core.store.list({ user: named ?? refOf(auth), ...paging })
      if (named !== undefined) {
        admins.report(auth, req, {
          user: named,
          cause: 'sessions_listed',
          detail: { sessions: page.items.length },
        })
      }
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
      const isAdmin = !ended && (await admins.isAdmin(auth, req))
      if (isAdmin) {
        // Asked before the row is looked at, so that the answer does not tell whether it exists.
        admins.requireRecentLogin(auth, req)
        const reason = { cause: 'ended_by_admin', actor: refOf(auth), request }
        ended = isSessionId(id) && (await endSession(core, { sid: id }, reason))
        if (ended && isSessionId(id)) {
          const detail = { ended_session: id }
          admins.report(auth, req, { sessionId: id, cause: 'session_ended', detail })
        }
      }
      if (!ended) {
        const error = new AuthError('not_found', 'there is no such session')
        throw isAdmin ? error : admins.refused(auth, req, error)
      }
      noStore(res).status(204).end()
    },

    async endMany(req, res) {
      const auth = requireAuth(context, req)
      refuseUnknownMembers(req.query, ['user_id', 'tenant'])
      const user = readNamedUser(req)
      const request = requestFacts(req)
      if (user === undefined) {
        const reason = { cause: 'ended_by_user', request }
        const revoked = await endUserSessions(core, refOf(auth), auth.sessionId, reason)
        noStore(res).json({ revoked })
        return
      }
      await admins.requireAdmin(auth, req)
      const reason = { cause: 'ended_by_admin', actor: refOf(auth), request }
      const revoked = await endUserSessions(core, user, undefined, reason)
      const detail = { ended_user: user.id, ended_tenant: user.tenant, revoked }
      admins.report(auth, req, { user, cause: 'user_ended', detail })
      noStore(res).json({ revoked })
    },
  }
}
