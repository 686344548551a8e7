import { authFromClaims } from '../lib/auth.ts'
import type { Guard } from './as-guard.ts'
import type { Context } from './context.ts'
import { authFromChecked, checkedBefore, runGuard, verifyPresentedAccess } from './guard.ts'
import type { TokenGuardOptions } from './guard-options.ts'
import { parseGuardOptions } from './guard-options.ts'
import { checkBlind } from './blind.ts'

/**
 * Makes `requireJwt`: an access token by `Authorization: Bearer` or cookie, judged by signature and
 * feed. No store, unless this node is blind.
 */
export function createRequireJwt<Claims extends object>(
  context: Context<Claims>,
): (options?: TokenGuardOptions) => Guard {
  const { core, options: kit } = context
  return function requireJwt(options = {}) {
    const parsed = parseGuardOptions<Claims>('requireJwt', options, {
      onStoreFailure: core.settings.onStoreFailure,
      hasDeviceBinding: kit.deviceBinding !== undefined,
    })
    return runGuard(context, parsed, {
      name: 'requireJwtMiddleware',
      accepts: 'access',
      scheme: 'Bearer',
      async authenticate(req, presented) {
        const { text, claims } = await verifyPresentedAccess(context, req, presented)
        const known = checkedBefore(context, req, text)
        if (known !== null) return { auth: authFromChecked<Claims>(claims, known), record: known }
        if (core.follower.blindness() !== null) await checkBlind(context, claims, parsed)
        return { auth: authFromClaims<Claims>(claims), record: null }
      },
    })
  }
}
