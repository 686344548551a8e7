import { authFromClaims } from '../lib/auth.ts'
import type { Guard } from './as-guard.ts'
import type { MaybePromise } from '../lib/options.ts'
import type { Context, Memo } from './context.ts'
import type { Authenticated, VerifiedAccess } from './guard.ts'
import { authFromChecked, checkedBefore, runGuard, verifyPresentedAccess } from './guard.ts'
import type { ParsedGuardOptions, TokenGuardOptions } from './guard-options.ts'
import { parseGuardOptions } from './guard-options.ts'
import { checkBlind } from './blind.ts'
import { isPending } from './pending.ts'

/**
 * Makes `requireJwt`: an access token by `Authorization: Bearer` or cookie, judged by signature and
 * feed. No store, unless this node is blind.
 */
export function createRequireJwt<Claims extends object>(
  context: Context<Claims>,
): (options?: TokenGuardOptions) => Guard {
  const { core, options: kit } = context

  function judge(
    { text, claims }: VerifiedAccess,
    memo: Memo,
    parsed: ParsedGuardOptions<Claims>,
  ): MaybePromise<Authenticated<Claims>> {
    const known = checkedBefore(memo, text)
    if (known !== null) return { auth: authFromChecked<Claims>(claims, known), record: known }
    const byToken = () => ({ auth: authFromClaims<Claims>(claims), record: null })
    if (core.follower.blindness() === null) return byToken()
    return checkBlind(context, claims, parsed).then(byToken)
  }

  return function requireJwt(options = {}) {
    const parsed = parseGuardOptions<Claims>('requireJwt', options, {
      onStoreFailure: core.settings.onStoreFailure,
      hasDeviceBinding: kit.deviceBinding !== undefined,
    })
    return runGuard(context, parsed, {
      name: 'requireJwtMiddleware',
      accepts: 'access',
      scheme: 'Bearer',
      authenticate(req, presented, memo) {
        const access = verifyPresentedAccess(context, req, presented, memo)
        return isPending(access)
          ? access.then((verified) => judge(verified, memo, parsed))
          : judge(access, memo, parsed)
      },
    })
  }
}
