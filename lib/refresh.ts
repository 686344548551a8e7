import type { User } from './attributes.ts'
import { isSameAttributes, reloadAttributes } from './attributes.ts'
import type { Session } from './auth.ts'
import { toSession } from './auth.ts'
import { rotationEvents } from './change-events.ts'
import type { SessionChecks } from './check-session.ts'
import type { Core } from './core.ts'
import { hearRevoked } from './core.ts'
import { isOtherDevice, presentedDevice, refuseOtherDevice } from './device.ts'
import type { ErrorCode, RefreshOutcome } from './errors.ts'
import { endSession, isUnconfirmed } from './end-session.ts'
import { AuthError, StoreUnavailable } from './errors.ts'
import type { RequestFacts, SecurityEvent } from './events.ts'
import type { Credentials } from './mint.ts'
import { mint } from './mint.ts'
import type { MaybePromise } from './options.ts'
import { rateLimited } from './rate-limit.ts'
import { readRefreshToken } from './refresh-token.ts'
import { MAX_RECOVERED_GENERATIONS } from './rotation.ts'
import { drawAttempt, hashAttempt, hashBinding, hashSeed } from './session-id.ts'
import type { SessionRecord } from './session.ts'
import type { RotateAudit, RotateInput, RotateResult } from './store.ts'
import { attributesUpdate, reportUpdate } from './update-attributes.ts'

/** A refresh as it came in. */
export interface RefreshRequest {
  /** The refresh token as presented. */
  readonly token: string
  /** The client's `Idempotency-Key`; undefined when it sent none. */
  readonly attempt: string | undefined
  /** What tells this device from another; undefined when nothing does. */
  readonly binding: string | undefined
  /** Further values that came in cookies of the same name; the one that fits counts. */
  readonly otherBindings?: readonly string[] | undefined
  readonly request: RequestFacts
}

/** The app's `loadUser`. */
export type LoadUser<Claims extends object> = (
  user: { readonly id: string; readonly tenant: string },
  session: Session<Claims>,
) => MaybePromise<User<Claims> | null>

const LOAD_USER_DEADLINE_MS = 2000
const MAX_UPDATE_TRIES = 3

const TERMINAL: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'credentials_missing',
  'refresh_invalid',
  'refresh_reused',
  'session_ended',
  'session_revoked',
])

/**
 * What a failed refresh means for the client. It ends its session on `terminal` only; after
 * anything else the session may be alive and the same token is good for another try.
 */
export function refreshOutcome(code: ErrorCode): RefreshOutcome {
  return TERMINAL.has(code) ? 'terminal' : 'retryable'
}

/**
 * Buys the next credentials of a session: MAC, rotation, signing; one store call.
 *
 * With `loadUser` the session is read first (one more) and the user looked up before anything
 * changes: a lookup that fails leaves the presented token as good as it was, however long the
 * outage lasts. Had the rotation come first, a retry after `reuseGrace` would look like theft.
 *
 * @throws {AuthError} terminal: `refresh_invalid`, `refresh_reused`, `session_ended`,
 *   `session_revoked`; retryable: `user_lookup_failed` and `signing_unavailable` (503),
 *   `rate_limited` (429), `step_up_required` on another device
 * @throws {StoreUnavailable} retryable: within `reuseGrace`, or with the same `Idempotency-Key`, the
 *   retry is answered with the same successor
 * @throws {InternalError} when `loadUser` returned what is no such user, or claims that do not fit
 */
export async function refreshSession<Claims extends object>(
  core: Core,
  checks: SessionChecks,
  loadUser: LoadUser<Claims> | undefined,
  presented: RefreshRequest,
): Promise<Credentials> {
  const token = readRefreshToken(core.ring, presented.token)
  if (token === null) throw invalid()
  const { sid, seed, generation } = token
  const { idleTimeoutMs } = core.settings.lifetimes
  const seedHash = hashSeed(seed)
  checks.refuseRevoked(sid)
  // Before anything rotates: what cannot be signed now must not cost the client its token.
  await core.signingKeys.ready()
  const bindings = [presented.binding ?? [], presented.otherBindings ?? []].flat()
  let bindingHash = hashBinding(sid, presented.binding)
  let stranger: SessionRecord | null = null
  let user: User<Claims> | undefined
  const about = { sessionId: sid, request: presented.request }
  const heldMs = core.limits.refreshPerSession?.count(sid, about) ?? null
  if (heldMs !== null || loadUser !== undefined || refusesOtherDevices(core)) {
    const found = await core.store.check({ sid, seedHash, idleTimeoutMs, peek: true })
    if (found.outcome !== 'alive') throw refuse(core, found, sid, presented.request)
    const { session } = found
    bindingHash = presentedDevice(session, bindings)
    stranger = isOtherDevice(session, bindings) ? session : null
    // An older token goes on to the rotation: that it was used before must not go unseen.
    if (stranger !== null && wouldRotate(session, generation)) {
      await refuseOtherDevice(core, session, presented.request)
    }
    // Over its limit a session rotates no more. An older token goes on all the same: it can replay or
    // give a thief away, but generations only grow, so it cannot rotate.
    if (heldMs !== null && generation >= session.generation) throw rateLimited(heldMs)
    if (heldMs === null && loadUser !== undefined) {
      user = await lookUp(core, loadUser, session, presented.request)
    }
  }
  const audit = rotateAudit(core, about)
  const rotated = await rotate(core, presented.request, {
    sid,
    seedHash,
    generation,
    attemptHash: hashAttempt(presented.attempt ?? drawAttempt()),
    bindingHash,
    policy: core.settings.rotation,
    idleTimeoutMs,
    onReuse: core.settings.onReuse,
    audit,
  })
  core.events.changed(rotationEvents(audit, rotated))
  // The same attempt is answered on any device, but not where another device is refused.
  if (stranger !== null && isAnswered(rotated)) {
    await refuseOtherDevice(core, stranger, presented.request)
  }
  const session = accept(core, rotated, sid, presented.request)
  if (heldMs !== null) throw rateLimited(heldMs)
  const updated =
    user === undefined ? session : await updateAttributes(core, user, session, presented.request)
  return mint(core, updated, seed)
}

/** Whether the app wants another device refused, which is to be known before anything rotates. */
function refusesOtherDevices({ settings: { device } }: Core): boolean {
  return device?.onChange === 'step-up' || device?.onChange === 'revoke'
}

/** Whether a token of this generation is the current one, or ahead of a store that lost writes. */
function wouldRotate(session: SessionRecord, generation: number): boolean {
  const ahead = generation - session.generation
  return ahead >= 0 && ahead <= MAX_RECOVERED_GENERATIONS
}

function isAnswered({ outcome }: RotateResult): boolean {
  return outcome === 'rotated' || outcome === 'recovered' || outcome === 'replayed'
}

async function rotate(
  core: Core,
  request: RequestFacts,
  input: RotateInput,
): Promise<RotateResult> {
  try {
    return await core.store.rotate(input)
  } catch (error) {
    // Only reuse revokes, and it has, whatever the replicas say: the retry must not hide the theft.
    if (isUnconfirmed(error)) {
      hearRevoked(core, [input.sid])
      core.events.security('authn_token_reuse', {
        sessionId: input.sid,
        request,
        result: 'failure',
        cause: 'revocation_unconfirmed',
      })
    }
    throw error
  }
}

function accept(
  core: Core,
  result: RotateResult,
  sid: string,
  request: RequestFacts,
): SessionRecord {
  const { events } = core
  switch (result.outcome) {
    case 'gone':
    case 'invalid':
      throw refuse(core, result, sid, request)
    case 'reused':
      hearRevoked(core, result.revoked)
      throw new AuthError('refresh_reused', 'the refresh token was used before; log in again')
    case 'replayed':
      events.operational('session_replayed', {
        user: result.session.user,
        sessionId: sid,
        request,
        result: 'success',
        cause: result.cause,
      })
      return result.session
    case 'rotated':
    case 'recovered':
      events.operational('session_renewed', {
        user: result.session.user,
        sessionId: sid,
        request,
        result: 'success',
        cause: result.outcome,
      })
      return result.session
  }
}

function refuse(
  core: Core,
  result: { readonly outcome: 'gone' } | { readonly outcome: 'invalid'; readonly cause?: string },
  sessionId: string,
  request: RequestFacts,
): AuthError {
  if (result.outcome === 'gone') {
    return new AuthError('session_ended', 'the session is over', { endedSession: sessionId })
  }
  // It has a MAC of ours: a leaked secret, or a store that was set back a long way.
  const cause = result.cause ?? 'seed'
  core.events.security('malicious_token', { sessionId, request, result: 'failure', cause })
  return invalid()
}

function rotateAudit(
  { events, settings }: Core,
  about: { readonly sessionId: string; readonly request: RequestFacts },
): RotateAudit<SecurityEvent> {
  const { device } = settings
  const success = { ...about, result: 'success' } as const
  return {
    recovered: events.prepare('authn_token_recovered', success),
    // Unless the app wants nothing of it.
    deviceChanged:
      device?.onChange === 'off' ? null : events.prepare('session_device_changed', success),
    // A login without a binding is bound to no device.
    boundOnly: device !== undefined,
    reused: events.prepare('authn_token_reuse', { ...about, result: 'failure', cause: 'reused' }),
  }
}

/** What the app says of the user now; a user who is gone ends the session. */
async function lookUp<Claims extends object>(
  core: Core,
  loadUser: LoadUser<Claims>,
  session: SessionRecord,
  request: RequestFacts,
): Promise<User<Claims>> {
  const { sid, user: ref } = session
  let user: User<Claims> | null
  try {
    user = await withinDeadline(loadUser({ ...ref }, toSession<Claims>(session)))
  } catch (error) {
    core.events.operational('hook_failure', {
      user: ref,
      sessionId: sid,
      request,
      result: 'failure',
      cause: 'loadUser',
      error,
    })
    throw new AuthError('user_lookup_failed', 'the user could not be looked up; try again', {
      cause: error,
    })
  }
  if (user === null) {
    await endSession(core, { sid }, { cause: 'user_gone', request })
    throw new AuthError('session_ended', 'the session is over')
  }
  // Before the rotation: a hook at fault must not cost the client its token.
  const attributes = reloadAttributes(user, ref, session.attributes)
  core.issuer.assertFits(attributes, ref)
  return user
}

/** Writes only what changed, and once more on top of what somebody else changed meanwhile. */
async function updateAttributes<Claims extends object>(
  core: Core,
  user: User<Claims>,
  read: SessionRecord,
  request: RequestFacts,
): Promise<SessionRecord> {
  let session = read
  for (let tries = 0; tries < MAX_UPDATE_TRIES; tries++) {
    const attributes = reloadAttributes(user, session.user, session.attributes)
    if (isSameAttributes(attributes, session.attributes)) return session
    const input = attributesUpdate(core, session, attributes, { cause: 'load_user', request })
    const result = await core.store.update(input)
    if (result.outcome === 'gone') throw new AuthError('session_ended', 'the session is over')
    session = result.session
    if (result.outcome === 'updated') {
      reportUpdate(core, input, session)
      return session
    }
  }
  throw new StoreUnavailable('update', { cause: new Error('changed by others again and again') })
}

async function withinDeadline<Value>(work: MaybePromise<Value>): Promise<Value> {
  return new Promise<Value>((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new Error(`loadUser took longer than ${LOAD_USER_DEADLINE_MS} ms`))
    }, LOAD_USER_DEADLINE_MS)
    Promise.resolve(work)
      .then(resolve, reject)
      .finally(() => clearTimeout(timer))
  })
}

function invalid(): AuthError {
  return new AuthError('refresh_invalid', 'the refresh token is not good')
}
