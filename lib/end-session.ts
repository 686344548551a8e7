import { revokedEvent, userRevokedEvent } from './change-events.ts'
import type { Core } from './core.ts'
import { hearRevoked } from './core.ts'
import { StoreUnavailable } from './errors.ts'
import type { RequestFacts } from './events.ts'
import type { JsonObject } from './session.ts'
import type { RevokeInput, RevokeResult } from './store.ts'
import type { UserRef } from './user.ts'

/** Why and by whom, for the audit trail. */
export interface EndReason {
  /** A code of the app's or latchkey's: `'logout'`, `'password_changed'`. */
  readonly cause: string
  /** Who did it, when it is not the user. */
  readonly actor?: UserRef | undefined
  readonly request?: RequestFacts | undefined
  /** Further facts. */
  readonly detail?: JsonObject | undefined
}

/**
 * Ends one session, on every node. Idempotent.
 *
 * @param which - the session, and whose it must be
 * @returns false when there was none that fits
 * @throws {StoreUnavailable} not acknowledged: nothing is known, call again
 */
export async function endSession(
  core: Core,
  which: RevokeInput,
  reason: EndReason,
): Promise<boolean> {
  const type = reason.cause === 'logout' ? 'session_logout' : 'session_revoked'
  const audit = core.events.prepare(type, {
    ...(reason.actor === undefined ? {} : { actor: reason.actor }),
    sessionId: which.sid,
    request: reason.request,
    result: 'success',
    cause: reason.cause,
    ...(reason.detail === undefined ? {} : { detail: reason.detail }),
  })
  const result = await revoke(core, { ...which, audit }, reason)
  if (result.outcome === 'gone') return false
  hearRevoked(core, [which.sid])
  core.events.changed([revokedEvent(audit, result.session)])
  return true
}

/** A revocation that too few replicas have was made all the same: this node holds to it. */
async function revoke(core: Core, which: RevokeInput, reason: EndReason): Promise<RevokeResult> {
  try {
    return await core.store.revoke(which)
  } catch (error) {
    if (isUnconfirmed(error)) {
      hearRevoked(core, [which.sid])
      core.events.security('session_revoked', {
        sessionId: which.sid,
        request: reason.request,
        result: 'failure',
        cause: 'revocation_unconfirmed',
      })
    }
    throw error
  }
}

/** Whether a store took a revocation, but not as many replicas as the app wants have it yet. */
export function isUnconfirmed(error: unknown): boolean {
  return error instanceof StoreUnavailable && error.code === 'revocation_unconfirmed'
}

/**
 * Ends all sessions of a user, or all but one, on every node, and refuses the logins that began
 * before. Idempotent.
 *
 * @returns how many sessions ended
 * @throws {StoreUnavailable} not acknowledged: nothing is known, call again
 */
export async function endUserSessions(
  core: Core,
  user: UserRef,
  except: string | undefined,
  reason: EndReason,
): Promise<number> {
  const audit = core.events.prepare('authn_token_revoked', {
    user,
    ...(reason.actor === undefined ? {} : { actor: reason.actor }),
    ...(except === undefined ? {} : { sessionId: except }),
    request: reason.request,
    result: 'success',
    cause: reason.cause,
  })
  const { revoked } = await core.store.revokeUser({
    user,
    ...(except === undefined ? {} : { except }),
    audit,
  })
  hearRevoked(core, revoked)
  core.events.changed([userRevokedEvent(audit, revoked)])
  return revoked.length
}
