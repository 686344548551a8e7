import type { AccessClaims } from '../lib/access-token-claims.ts'
import { StoreUnavailable } from '../lib/errors.ts'
import type { Context } from './context.ts'
import type { ParsedGuardOptions } from './guard-options.ts'

/**
 * What a blind node does with a plain access token: it asks the store, and where the store does not
 * answer either, the app's `onStoreFailure` decides.
 *
 * @throws {AuthError} when the store says that the session is over
 * @throws {StoreUnavailable} with `onStoreFailure: 'deny'`
 */
export async function checkBlind<Claims extends object>(
  context: Context<Claims>,
  claims: AccessClaims,
  options: ParsedGuardOptions<Claims>,
): Promise<void> {
  try {
    await context.checks.checkClaimsWhileBlind(claims)
  } catch (error) {
    if (!(error instanceof StoreUnavailable) || options.onStoreFailure === 'deny') throw error
    context.core.events.operational('store_failure', {
      ...(claims.sid === null
        ? { detail: { service: claims.sub } }
        : { user: { tenant: claims.tenant, id: claims.sub }, sessionId: claims.sid }),
      result: 'failure',
      cause: 'accepted_on_signature',
      error,
    })
  }
}
