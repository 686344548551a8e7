import type { NextFunction, Request, Response } from 'express'
import type { Auth } from '../lib/auth.ts'
import type { ErrorCode } from '../lib/errors.ts'
import { AuthError } from '../lib/errors.ts'
import { decideAccess } from '../lib/guard-policy.ts'
import type { MaybePromise } from '../lib/options.ts'
import type { SessionRecord } from '../lib/session.ts'
import type { Guard } from './as-guard.ts'
import { asGuard } from './as-guard.ts'
import type { Context, Memo } from './context.ts'
import { hookFailure, requestFacts } from './context.ts'
import type { Accepts, Presented } from './credentials.ts'
import { choosePresented } from './credentials.ts'
import { refuseCrossOrigin } from './csrf.ts'
import { judgeDevice, readBindings } from './device.ts'
import type { ParsedGuardOptions } from './guard-options.ts'
import { presentedDevice } from '../lib/device.ts'
import { answerFailure } from './failure.ts'
import { isPending } from './pending.ts'
import type { Scheme } from './problem.ts'
import { countBadToken } from './rate-limits.ts'
import { clearAuth, setAuth } from './request-auth.ts'

/** How one kind of guard authenticates what the request carries; at once when nobody need be asked. */
export type Authenticate<Claims extends object> = (
  req: Request,
  presented: Presented,
  memo: Memo,
) => MaybePromise<Authenticated<Claims>>

/** Who it is, and the session when the store was asked. */
export interface Authenticated<Claims extends object> {
  readonly auth: Auth<Claims>
  readonly record: SessionRecord | null
}

/**
 * What all guards share: the choice of the credential, the cross-origin check, the policy, and the
 * answer when somebody may not pass.
 */
export function runGuard<Claims extends object>(
  context: Context<Claims>,
  options: ParsedGuardOptions<Claims>,
  guard: {
    readonly name: string
    readonly accepts: Accepts
    readonly scheme: Scheme
    readonly authenticate: Authenticate<Claims>
  },
): Guard {
  /**
   * Says whether somebody was let in; nobody was when the guard is optional. At once when nobody need be
   * asked: to wait for what is there already costs as much as the policy does.
   */
  function pass(req: Request, memo: Memo): MaybePromise<boolean> {
    const presented = choosePresented(context, req, guard.accepts)
    if (presented === null) {
      if (options.optional) return false
      throw new AuthError('credentials_missing', 'no credentials were sent')
    }
    try {
      if (presented.transport === 'cookie') refuseCrossOrigin(context, req)
      const found = guard.authenticate(req, presented, memo)
      if (!isPending(found) && !hasMoreToAsk) return letIn(req, memo, found)
      return passLater(req, memo, found).catch((error: unknown) => excuse(presented, error))
    } catch (error) {
      return excuse(presented, error)
    }
  }

  async function passLater(
    req: Request,
    memo: Memo,
    found: MaybePromise<Authenticated<Claims>>,
  ): Promise<boolean> {
    const known = await found
    const { auth, record } = known
    // A stolen credential is refused before anything is said of what its owner may do.
    if (record !== null && judgesDevices) await judgeDevice(context, req, record, isWayOut)
    if (options.check === null) return letIn(req, memo, known)
    refuseUnfit(req, auth, record)
    if (!(await askApp(options.check, auth, req))) {
      throw refused(req, auth, new AuthError('forbidden', 'this is not allowed'))
    }
    setAuth(memo, req, auth)
    return true
  }

  function letIn(req: Request, memo: Memo, { auth, record }: Authenticated<Claims>): true {
    refuseUnfit(req, auth, record)
    setAuth(memo, req, auth)
    return true
  }

  /** Whether an optional guard lets pass as nobody who was refused. */
  function excuse(presented: Presented, error: unknown): false {
    if (options.optional && presented.transport === 'cookie' && isNobody(error)) return false
    throw error
  }

  const { levels, maxAuthAgeMs } = options.requirements
  const asksMore = levels !== null || maxAuthAgeMs !== null
  // What only a person can show, a service never does.
  const takesServices = options.services && !asksMore && !options.bindDevice
  const isWayOut = options.requirements.allowPartial === true
  const judgesDevices = (context.core.settings.device?.onChange ?? 'off') !== 'off'
  const hasMoreToAsk = judgesDevices || options.check !== null

  /** A half logged in session is nobody yet, unless the guard asked for a level or a fresh login. */
  function isNobody(error: unknown): boolean {
    return isOver(error) || (!asksMore && hasCode(error, 'step_up_required'))
  }

  function refuseUnfit(req: Request, auth: Auth<Claims>, record: SessionRecord | null): void {
    if (auth.kind === 'service' && !takesServices) {
      throw refused(req, auth, new AuthError('forbidden', 'this is not for services'))
    }
    const refusal = decideAccess(auth, options.requirements, context.core.settings.clock())
    if (refusal !== null) throw refused(req, auth, refusal)
    if (options.bindDevice && record !== null) {
      if (presentedDevice(record, readBindings(context, req)) !== record.bindingHash) {
        throw refused(req, auth, new AuthError('device_mismatch', 'this is another device'))
      }
    }
  }

  async function askApp(
    check: NonNullable<ParsedGuardOptions<Claims>['check']>,
    auth: Auth<Claims>,
    req: Request,
  ): Promise<boolean> {
    try {
      // An app without types may return anything: only true is a yes.
      const answer: unknown = await check(auth, req)
      return answer === true
    } catch (error) {
      throw hookFailure(context, 'check', error)
    }
  }

  function refused(req: Request, auth: Auth<Claims>, error: AuthError): AuthError {
    context.core.events.security('authz_fail', {
      ...(auth.kind === 'service'
        ? { detail: { service: auth.service ?? '' } }
        : { user: { tenant: auth.tenant, id: auth.userId }, sessionId: auth.sessionId }),
      // Who acts for the user did it, and not the user.
      ...(auth.actor === undefined ? {} : { detail: { service: auth.actor.sub } }),
      request: requestFacts(req),
      result: 'failure',
      cause: error.code,
    })
    return error
  }

  function accept(passed: boolean, req: Request, res: Response, memo: Memo): void {
    memo.guarded = true
    if (passed) forbidCaching(res)
    else clearAuth(memo, req)
  }

  async function acceptLater(
    passed: Promise<boolean>,
    req: Request,
    res: Response,
    next: NextFunction,
    memo: Memo,
  ): Promise<void> {
    try {
      accept(await passed, req, res, memo)
    } catch (error) {
      return refuse(error, req, res, next)
    }
    return next()
  }

  async function refuse(
    error: unknown,
    req: Request,
    res: Response,
    next: NextFunction,
  ): Promise<void> {
    const failure = await countBadToken(context, req, error)
    answerFailure(context, failure, guard.scheme, req, res, next)
  }

  return asGuard(guard.name, (req, res, next) => {
    // Express gives each request a shape of its own: what is looked up on it is looked up slowly.
    const memo = context.memo(req)
    try {
      const passed = pass(req, memo)
      // By what it is and not by what it is not: whatever else comes back lets nobody in.
      if (typeof passed !== 'boolean') return acceptLater(passed, req, res, next, memo)
      accept(passed, req, res, memo)
    } catch (error) {
      return refuse(error, req, res, next)
    }
    return next()
  })
}

/** What depends on a credential is nobody else's; a handler that knows better says so after us. */
function forbidCaching(res: Response): void {
  try {
    // Not Express's `set`, which looks for a content type in every header.
    res.setHeader('Cache-Control', 'no-store')
  } catch (error) {
    if (!res.headersSent) throw error
  }
}

const OVER: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'token_invalid',
  'token_expired',
  'token_stale',
  'session_ended',
  'session_revoked',
])

/** A browser sends an ended cookie until it runs out: who sends it is nobody, not an intruder. */
function isOver(error: unknown): boolean {
  return error instanceof AuthError && OVER.has(error.code)
}

function hasCode(error: unknown, code: ErrorCode): boolean {
  return error instanceof AuthError && error.code === code
}
