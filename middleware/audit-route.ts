import type { Request } from 'express'
import { AuthError } from '../lib/errors.ts'
import { isSessionId } from '../lib/session-id.ts'
import type { JsonObject } from '../lib/session.ts'
import type { AuditEvent, AuditQuery } from '../lib/store.ts'
import { createAdmins, readNamedUser } from './admin.ts'
import { refuseUnknownMembers } from './body.ts'
import type { Context } from './context.ts'
import { noStore } from './deliver.ts'
import { parseInstant } from './instant.ts'
import { readPaging } from './paging.ts'
import type { RouteHandler } from './route.ts'
import { requireAuth } from './route.ts'

/** An event of the audit trail in answers; what it does not say is null. */
export interface AuditEventJson {
  readonly type: string
  /** ISO 8601, by the clock of the node that saw it. */
  readonly at: string
  readonly result: 'success' | 'failure'
  /** Whom it is about. */
  readonly user_id: string | null
  readonly tenant: string | null
  /** Who did it, when it is somebody else. */
  readonly actor_id: string | null
  readonly actor_tenant: string | null
  readonly session_id: string | null
  readonly ip: string | null
  readonly user_agent: string | null
  readonly cause: string | null
  readonly detail: JsonObject | null
}

const MEMBERS = ['user_id', 'tenant', 'session_id', 'type', 'from', 'to', 'limit', 'cursor']
const EVENT_TYPE = /^[a-z_]{1,64}$/

/**
 * `GET /audit`, for admins who logged in lately: the audit trail, newest first, paged. Reading it is
 * an event of its own (OWASP ASVS 5.0 16.2, 16.4). What happened within the last 100 ms may still be
 * on its way into the trail.
 */
export function createAuditRoute<Claims extends object>(context: Context<Claims>): RouteHandler {
  const admins = createAdmins(context)
  return async (req, res) => {
    const auth = requireAuth(context, req)
    const query = readQuery(req)
    await admins.requireAdmin(auth, req)
    const page = await context.core.store.audit.query(query)
    const { user, sessionId, type, from, to } = query
    admins.report(auth, req, {
      ...(user && { user }),
      ...(sessionId !== undefined && { sessionId }),
      cause: 'audit_read',
      detail: {
        events: page.items.length,
        ...(type !== undefined && { type }),
        ...(from !== undefined && { from: iso(from) }),
        ...(to !== undefined && { to: iso(to) }),
      },
    })
    noStore(res).json({ events: page.items.map(eventJson), next_cursor: page.next })
  }
}

function readQuery(req: Request): AuditQuery {
  refuseUnknownMembers(req.query, MEMBERS)
  const { session_id: sessionId, type, from, to } = req.query
  if (sessionId !== undefined && !isSessionId(sessionId)) {
    throw new AuthError('invalid_request', 'session_id is the id of a session')
  }
  if (type !== undefined && !(typeof type === 'string' && EVENT_TYPE.test(type))) {
    throw new AuthError('invalid_request', 'type is the name of an event')
  }
  const user = readNamedUser(req)
  return {
    ...(user && { user }),
    ...(sessionId === undefined ? {} : { sessionId }),
    ...(type === undefined ? {} : { type }),
    ...(from === undefined ? {} : { from: parseInstant('from', from) }),
    ...(to === undefined ? {} : { to: parseInstant('to', to) }),
    ...readPaging(req),
  }
}

function iso(at: number): string {
  return new Date(at).toISOString()
}

function eventJson(event: AuditEvent): AuditEventJson {
  return {
    type: event.type,
    at: iso(event.at),
    result: event.result,
    user_id: event.user?.id ?? null,
    tenant: event.user?.tenant ?? null,
    actor_id: event.actor?.id ?? null,
    actor_tenant: event.actor?.tenant ?? null,
    session_id: event.sessionId ?? null,
    ip: event.ip ?? null,
    user_agent: event.userAgent ?? null,
    cause: event.cause ?? null,
    detail: event.detail ?? null,
  }
}
