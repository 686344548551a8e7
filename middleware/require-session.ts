import type { RegisteredClaims } from '../lib/auth.ts'
import { authFromRecord } from '../lib/auth.ts'
import type { Context } from './context.ts'
import type { Guard } from './as-guard.ts'
import type { Authenticated } from './guard.ts'
import { runGuard } from './guard.ts'
import type { SessionGuardOptions } from './guard-options.ts'
import { parseGuardOptions } from './guard-options.ts'
import { whenKnown } from './pending.ts'
import type { FoundSession } from './presented-session.ts'
import { checkPresentedSession } from './presented-session.ts'

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
        return whenKnown(found, authenticated<Claims>)
      },
    })
  }
}
