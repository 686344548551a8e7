import type { NextFunction, Request, Response } from 'express'
import type { AccessClaims } from '../lib/access-token-claims.ts'
import type { Auth } from '../lib/auth.ts'
import { toSession } from '../lib/auth.ts'
import type { ErrorCode } from '../lib/errors.ts'
import { AuthError } from '../lib/errors.ts'
import { decideAccess } from '../lib/guard-policy.ts'
import type { MaybePromise } from '../lib/options.ts'
import type { SessionRecord } from '../lib/session.ts'
import type { PresentedSession } from '../lib/session-token-reader.ts'
import type { Guard } from './as-guard.ts'
import { asGuard } from './as-guard.ts'
import type { Context, Memo } from './context.ts'
import { hookFailure, requestFacts } from './context.ts'
import type { Accepts, Presented } from './credentials.ts'
import { readCookie } from '../lib/cookies.ts'
import { verifyOrNull } from './access-cookie.ts'
import { ambiguous, choosePresented, cookieTexts, oneSessionToken } from './credentials.ts'
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

/**
 * The session of a session token, from the store or from what an earlier guard asked it during this
 * request.
 *
 * @param near - whether the near cache may answer. What it says is not remembered for later guards:
 *   it is weaker than what they may ask for
 */
export function checkPresentedSession<Claims extends object>(
  context: Context<Claims>,
  req: Request,
  presented: Presented,
  memo: Memo,
  near: boolean,
): MaybePromise<FoundSession> {
  const [text = ''] = presented.texts
  if (presented.texts.length === 1 && memo.checked?.text === text) {
    // The store was asked already, but the feed may have brought news since.
    context.checks.refuseRevoked(memo.checked.session.sid)
    return { session: memo.checked.session, cached: false }
  }
  const token = oneSessionToken(context, presented.texts)
  if (token === null) throw new AuthError('token_invalid', 'the session token is not good')
  if (presented.transport === 'cookie' && context.core.settings.accessToken === 'cookie') {
    return refuseForeignAccess(context, req, token.sid).then(async () =>
      findSession(context, token, presented, memo, near),
    )
  }
  return findSession(context, token, presented, memo, near)
}

/** A session, and whether the near cache knew it: the store was not asked then. */
export interface FoundSession {
  readonly session: SessionRecord
  readonly cached: boolean
}

function findSession<Claims extends object>(
  { checks }: Context<Claims>,
  token: PresentedSession,
  presented: Presented,
  memo: Memo,
  near: boolean,
): MaybePromise<FoundSession> {
  const known = near ? checks.nearSession(token) : undefined
  if (known !== undefined) return { session: known, cached: true }
  const asked = near ? checks.fetchSession(token) : checks.checkSessionToken(token)
  return asked.then((session) => {
    memo.checked = { text: onlyText(presented), session }
    return { session, cached: false }
  })
}

/** An access cookie of another session next to the session cookie: nobody can say who is asking. */
async function refuseForeignAccess<Claims extends object>(
  { core }: Context<Claims>,
  req: Request,
  sid: string,
): Promise<void> {
  for (const text of readCookie(req.headers.cookie, core.settings.cookies.access.name)) {
    const claims = core.verifier.remembered(text) ?? (await verifyOrNull(core.verifier, text))
    if (claims !== null && claims.sid !== sid) throw ambiguous()
  }
}

/** Of duplicate cookies only one was good: the others' texts must not stand for it. */
function onlyText({ texts }: Presented): string | null {
  return texts.length === 1 ? (texts[0] ?? null) : null
}

/** An access token that was found good, by signature and feed. */
export interface VerifiedAccess {
  readonly text: string
  readonly claims: AccessClaims
}

/** The claims of the presented access token, by signature and feed. */
export function verifyPresentedAccess<Claims extends object>(
  context: Context<Claims>,
  req: Request,
  presented: Presented,
  memo: Memo,
): MaybePromise<VerifiedAccess> {
  const { texts } = presented
  const [text = ''] = texts
  const known = texts.length === 1 ? context.checks.rememberedClaims(text) : undefined
  if (known !== undefined)
    return acceptAccess(context, req, presented, memo, { text, claims: known })
  return oneAccessToken(context, texts).then((access) =>
    acceptAccess(context, req, presented, memo, access),
  )
}

/**
 * Keeps a good token for the guards that come after.
 *
 * @throws {AuthError} `credentials_ambiguous` in a cookie beside the cookie of another session
 */
function acceptAccess<Claims extends object>(
  context: Context<Claims>,
  req: Request,
  presented: Presented,
  memo: Memo,
  access: VerifiedAccess,
): VerifiedAccess {
  const { texts, transport } = presented
  // Chosen by an earlier guard of this request.
  if (texts.length === 1 && memo.access?.text === access.text) return memo.access
  const { sid } = access.claims
  if (transport === 'header' && sid !== null) context.cookieWatch.bearer(req, sid)
  if (transport === 'cookie') {
    const session = oneSessionToken(context, cookieTexts(context, req, 'session'))
    if (session !== null && session.sid !== sid) throw ambiguous()
  }
  memo.access = access
  return access
}

/**
 * The session of a verified access token, when an earlier guard asked the store for it during this
 * request: what is known better is not forgotten again. Null when none did.
 */
export function checkedBefore({ checked }: Memo, text: string): SessionRecord | null {
  return checked?.text === text ? checked.session : null
}

/** Of duplicate cookies the one that verifies counts; two that verify and differ are nobody's. */
async function oneAccessToken<Claims extends object>(
  context: Context<Claims>,
  texts: readonly string[],
): Promise<VerifiedAccess> {
  let found: VerifiedAccess | null = null
  let failure: unknown
  for (const text of texts) {
    try {
      const claims = await context.checks.verifyAccessToken(text)
      if (found !== null) throw ambiguous()
      found = { text, claims }
    } catch (error) {
      if (!(error instanceof AuthError) || error.status !== 401) throw error
      failure = error
    }
  }
  if (found === null) throw failure
  return found
}

/**
 * `req.auth` from an access token whose session the store was asked for. A token that was narrowed
 * stays as narrow as it is.
 */
export function authFromChecked<Claims extends object>(
  { scope, actor }: AccessClaims,
  record: SessionRecord,
): Auth<Claims> {
  const auth = authFromRecord<Claims>('jwt', record)
  return {
    ...auth,
    scope: auth.scope.filter((word) => scope.includes(word)),
    ...(actor === null ? {} : { actor }),
  }
}

/**
 * `req.auth` from what the store said.
 *
 * @param checked - whether it said so for this request, rather than to the near cache before
 */
export function authFromRecord<Claims extends object>(
  kind: Auth['kind'],
  record: SessionRecord,
  checked: boolean = true,
): Auth<Claims> {
  const session = toSession<Claims>(record)
  return {
    kind,
    userId: session.userId,
    sessionId: session.id,
    tenant: session.tenant,
    roles: session.roles,
    scope: session.scope,
    level: session.level,
    authTime: session.authTime,
    claims: session.claims,
    session,
    checked,
  }
}
