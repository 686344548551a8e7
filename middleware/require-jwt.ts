import { authFromChecked, authFromClaims } from '../lib/auth.ts'
import type { Guard } from './as-guard.ts'
import type { MaybePromise } from '../lib/options.ts'
import type { Context, Memo } from './context.ts'
import type { Authenticated } from './guard.ts'
import { runGuard } from './guard.ts'
import type { ParsedGuardOptions, TokenGuardOptions } from './guard-options.ts'
import { parseGuardOptions } from './guard-options.ts'
import { checkBlind } from './blind.ts'
import { whenKnown } from './pending.ts'
import type { VerifiedAccess } from './presented-access.ts'
import { checkedBefore, verifyPresentedAccess } from './presented-access.ts'

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
        return whenKnown(access, (verified) => judge(verified, memo, parsed))
      },
    })
  }
}
