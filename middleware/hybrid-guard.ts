import type { Request } from 'express'
import type { AccessClaims, SessionClaims } from '../lib/access-token-claims.ts'
import type { RegisteredClaims } from '../lib/auth.ts'
import { authFromClaims } from '../lib/auth.ts'
import { StoreUnavailable } from '../lib/errors.ts'
import { decideCheck } from '../lib/guard-policy.ts'
import type { SessionRecord } from '../lib/session.ts'
import { touchIntervalMs } from '../lib/session.ts'
import { checkBlind } from './blind.ts'
import type { Context } from './context.ts'
import type { Guard } from './as-guard.ts'
import type { Authenticated } from './guard.ts'
import {
  authFromChecked,
  authFromRecord,
  checkPresentedSession,
  checkedBefore,
  runGuard,
  verifyPresentedAccess,
} from './guard.ts'
import type { HybridGuardOptions, ParsedGuardOptions } from './guard-options.ts'
import { parseGuardOptions } from './guard-options.ts'
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

  async function checkAccess(
    req: Request,
    text: string,
    claims: SessionClaims,
  ): Promise<SessionRecord> {
    const session = await context.checks.checkClaims(claims)
    context.memo(req).checked = { text, session }
    return session
  }

  async function authenticateAccess(
    req: Request,
    access: { readonly text: string; readonly claims: AccessClaims },
    parsed: ParsedGuardOptions<Claims>,
  ): Promise<Authenticated<Claims>> {
    const { text, claims } = access
    const known = checkedBefore(context, req, text)
    if (known !== null) return { auth: authFromChecked<Claims>(claims, known), record: known }
    const decision = decideCheck({
      sensitive: parsed.sensitive || parsed.bindDevice,
      requirements: parsed.requirements,
      blind: core.follower.blindness() !== null,
      sampled: claims.sid !== null && isDue(claims.sid, parsed.sample),
    })
    if (decision === 'blind') await checkBlind(context, claims, parsed)
    if (claims.sid === null) {
      if (decision === 'required') await context.checks.checkServiceClaims(claims)
      const auth = authFromClaims<Claims>(claims)
      return { auth: { ...auth, checked: decision === 'required' }, record: null }
    }
    if (decision === 'required' || decision === 'wanted') {
      try {
        const record = await checkAccess(req, text, claims)
        return { auth: authFromChecked<Claims>(claims, record), record }
      } catch (error) {
        if (decision === 'required' || !(error instanceof StoreUnavailable)) throw error
      }
    }
    return { auth: authFromClaims<Claims>(claims), record: null }
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
        async authenticate(req, presented) {
          if (presented.kind === 'session') {
            const { session } = await checkPresentedSession(context, req, presented, false)
            return { auth: authFromRecord<Claims>('session', session), record: session }
          }
          const access = await verifyPresentedAccess(context, req, presented)
          return authenticateAccess(req, access, parsed)
        },
      },
    )
  }
}
