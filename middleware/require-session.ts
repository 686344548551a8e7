import type { RegisteredClaims } from '../lib/auth.ts'
import type { Context } from './context.ts'
import type { Guard } from './as-guard.ts'
import type { Authenticated, FoundSession } from './guard.ts'
import { authFromRecord, checkPresentedSession, runGuard } from './guard.ts'
import type { SessionGuardOptions } from './guard-options.ts'
import { parseGuardOptions } from './guard-options.ts'
import { isPending } from './pending.ts'

function authenticated<Claims extends object>({
  session,
  cached,
}: FoundSession): Authenticated<Claims> {
  return { auth: authFromRecord<Claims>('session', session, !cached), record: session }
}

/**
 * Makes `requireSession`: a session token by cookie or `Authorization: Session`, and the store is
 * asked, or the near cache when the kit has one.
 */
export function createRequireSession<Claims extends object = RegisteredClaims>(
  context: Context<Claims>,
): (options?: SessionGuardOptions<Claims>) => Guard {
  const { core, options: kit } = context
  return function requireSession(options = {}) {
    const parsed = parseGuardOptions<Claims>('requireSession', options, {
      onStoreFailure: core.settings.onStoreFailure,
      hasDeviceBinding: kit.deviceBinding !== undefined,
    })
    const { levels, maxAuthAgeMs } = parsed.requirements
    // Who asks for more than an open session wants to know for sure.
    const near = levels === null && maxAuthAgeMs === null && !parsed.bindDevice
    return runGuard(context, parsed, {
      name: 'requireSessionMiddleware',
      accepts: 'session',
      scheme: 'Session',
      authenticate(req, presented, memo) {
        const found = checkPresentedSession(context, req, presented, memo, near)
        return isPending(found) ? found.then(authenticated<Claims>) : authenticated(found)
      },
    })
  }
}
