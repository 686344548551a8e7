import type { RegisteredClaims } from '../lib/auth.ts'
import type { Context } from './context.ts'
import type { Guard } from './guard.ts'
import { authFromRecord, checkPresentedSession, runGuard } from './guard.ts'
import type { SessionGuardOptions } from './guard-options.ts'
import { parseGuardOptions } from './guard-options.ts'

/**
 * Makes `requireSession`: a session token by cookie or `Authorization: Session`, and the store is
 * asked.
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
    return runGuard(context, parsed, {
      name: 'requireSessionMiddleware',
      accepts: 'session',
      scheme: 'Session',
      async authenticate(req, presented) {
        const record = await checkPresentedSession(context, req, presented)
        return { auth: authFromRecord<Claims>('session', record), record }
      },
    })
  }
}
