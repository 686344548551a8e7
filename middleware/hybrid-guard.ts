import type { Request } from 'express'
import type { ServiceClaims, SessionClaims } from '../lib/access-token-claims.ts'
import type { RegisteredClaims } from '../lib/auth.ts'
import { authFromChecked, authFromClaims, authFromRecord } from '../lib/auth.ts'
import { StoreUnavailable } from '../lib/errors.ts'
import { decideCheck } from '../lib/guard-policy.ts'
import type { MaybePromise } from '../lib/options.ts'
import { touchIntervalMs } from '../lib/session.ts'
import { checkBlind } from './blind.ts'
import type { Context, Memo } from './context.ts'
import type { Presented } from './credentials.ts'
import type { Guard } from './as-guard.ts'
import type { Authenticated } from './guard.ts'
import { runGuard } from './guard.ts'
import type { HybridGuardOptions, ParsedGuardOptions } from './guard-options.ts'
import { parseGuardOptions } from './guard-options.ts'
import { whenKnown } from './pending.ts'
import type { VerifiedAccess } from './presented-access.ts'
import { checkedBefore, verifyPresentedAccess } from './presented-access.ts'
import { checkPresentedSession } from './presented-session.ts'
import { createSampler } from './sampler.ts'

/**
 * Makes `hybridGuard`: an access token first; its session is asked for when the operation is
 * sensitive, wants a level or a fresh login, compares the device, or the node is blind. A session
 * token is taken too, and is then a store check.
 *
 * @param allowPartial - whether a half logged in session passes a guard that asks for no level
 */
export function createHybridGuard<Claims extends object = RegisteredClaims>(
  context: Context<Claims>,
  allowPartial: boolean = false,
): (options?: HybridGuardOptions<Claims>) => Guard {
  const { core, options: kit } = context
  const isDue = createSampler(touchIntervalMs(core.settings.lifetimes.idleTimeoutMs))

  async function authenticateSession(
    req: Request,
    presented: Presented,
    memo: Memo,
  ): Promise<Authenticated<Claims>> {
    const { session } = await checkPresentedSession(context, req, presented, memo, false)
    return { auth: authFromRecord<Claims>('session', session), record: session }
  }

  function authenticateAccess(
    { text, claims }: VerifiedAccess,
    memo: Memo,
    parsed: ParsedGuardOptions<Claims>,
  ): MaybePromise<Authenticated<Claims>> {
    const known = checkedBefore(memo, text)
    if (known !== null) return { auth: authFromChecked<Claims>(claims, known), record: known }
    const decision = decideCheck({
      sensitive: parsed.sensitive || parsed.bindDevice,
      requirements: parsed.requirements,
      blind: core.follower.blindness() !== null,
      sampled: claims.sid !== null && isDue(claims.sid, parsed.sample),
    })
    const byToken = () => ({ auth: authFromClaims<Claims>(claims), record: null })
    switch (decision) {
      case 'none':
        return byToken()
      case 'blind':
        return checkBlind(context, claims, parsed).then(byToken)
      case 'wanted':
      case 'required':
        return claims.sid === null
          ? authenticateService(claims, decision)
          : authenticateChecked(text, claims, memo, decision)
    }
  }

  async function authenticateChecked(
    text: string,
    claims: SessionClaims,
    memo: Memo,
    decision: 'wanted' | 'required',
  ): Promise<Authenticated<Claims>> {
    try {
      const session = await context.checks.checkClaims(claims)
      memo.checked = { text, session }
      return { auth: authFromChecked<Claims>(claims, session), record: session }
    } catch (error) {
      if (decision === 'required' || !(error instanceof StoreUnavailable)) throw error
      return { auth: authFromClaims<Claims>(claims), record: null }
    }
  }

  async function authenticateService(
    claims: ServiceClaims,
    decision: 'wanted' | 'required',
  ): Promise<Authenticated<Claims>> {
    const checked = decision === 'required'
    if (checked) await context.checks.checkServiceClaims(claims)
    return { auth: { ...authFromClaims<Claims>(claims), checked }, record: null }
  }

  return function hybridGuard(options = {}) {
    const parsed = parseGuardOptions<Claims>('hybridGuard', options, {
      onStoreFailure: core.settings.onStoreFailure,
      hasDeviceBinding: kit.deviceBinding !== undefined,
    })
    const requirements = { ...parsed.requirements, allowPartial }
    return runGuard(
      context,
      { ...parsed, requirements },
      {
        name: 'hybridGuardMiddleware',
        accepts: 'both',
        scheme: 'Bearer',
        authenticate(req, presented, memo) {
          if (presented.kind === 'session') {
            return authenticateSession(req, presented, memo)
          }
          const access = verifyPresentedAccess(context, req, presented, memo)
          return whenKnown(access, (verified) => authenticateAccess(verified, memo, parsed))
        },
      },
    )
  }
}
