import type { ParsedUser } from './attributes.ts'
import { openEvents } from './change-events.ts'
import type { Core } from './core.ts'
import { hearRevoked } from './core.ts'
import { endSession } from './end-session.ts'
import { AuthError } from './errors.ts'
import type { RequestFacts, SecurityEvent } from './events.ts'
import { capText } from './events.ts'
import type { Credentials } from './mint.ts'
import { mint } from './mint.ts'
import { drawSeed, drawSessionId, hashBinding, hashSeed } from './session-id.ts'
import type { NewSession } from './session.ts'
import type { PresentedSession } from './session-token-reader.ts'
import type { CreateInput, OpenAudit } from './store.ts'

/** What is known of a login. */
export interface Login {
  readonly user: ParsedUser
  /** When checking the credentials began, `performance.now` milliseconds. */
  readonly beganAt: number
  /** What tells this device from another; undefined when nothing does. */
  readonly binding: string | undefined
  /** How the device shows in a list; undefined derives it from the request. */
  readonly label: string | undefined
  readonly request: RequestFacts
  /** What the trail says of it beside the new session; nothing when the app opens one by itself. */
  readonly success?: {
    readonly type: 'authn_login_success' | 'authn_step_up_success'
    readonly cause?: string
  }
}

/**
 * Opens a session. One presented along is replaced, not orphaned.
 *
 * @param old - the session token that came with the login, its MAC checked; null when none
 * @throws {AuthError} `session_limit` (403), `stale_login` (401), `session_revoked` (401) when it was ended
 *   before its credentials were signed
 * @throws {AuthError} `signing_unavailable` (503) when the key is elsewhere and cannot be used now
 * @throws {StoreUnavailable} nothing was opened that the client could know of
 * @throws {InternalError} when the user's claims do not fit into an access token
 */
export async function openSession(
  core: Core,
  login: Login,
  old: PresentedSession | null,
): Promise<Credentials> {
  await core.signingKeys.ready()
  const seed = drawSeed()
  const input = createInput(core, login, seed)
  const result =
    old === null
      ? await core.store.create(input)
      : await core.store.replace({ ...input, old, orElse: 'create', keepData: false })
  const { session, revoked } = finish(core, login, { input, result, replacedSid: old?.sid })
  if (old !== null && !revoked.includes(old.sid)) {
    await endForeignSession(core, old, session.sid, login.request)
  }
  // Last: nothing is waited for between the look at what was ended meanwhile and the answer.
  return mint(core, session, seed)
}

/**
 * Replaces a session by a fresh one of the same user, after they proved again who they are.
 *
 * @param sid - the session that is replaced
 * @throws {AuthError} `session_ended` when it is gone meanwhile, `session_limit`, `stale_login`,
 *   `session_revoked` when the fresh one was ended before its credentials were signed
 * @throws {StoreUnavailable}
 */
export async function stepUpSession(core: Core, login: Login, sid: string): Promise<Credentials> {
  await core.signingKeys.ready()
  const seed = drawSeed()
  const input = createInput(core, login, seed)
  const result = await core.store.replace({
    ...input,
    old: { sid },
    orElse: 'refuse',
    keepData: true,
  })
  const { session } = finish(core, login, { input, result, replacedSid: sid })
  return mint(core, session, seed)
}

type Opened = Awaited<ReturnType<Core['store']['replace']>>

/** Tells the node and the trail what the store has done. */
function finish(
  core: Core,
  login: Login,
  opening: {
    readonly input: Opening
    readonly result: Opened
    readonly replacedSid: string | undefined
  },
): Extract<Opened, { readonly outcome: 'created' }> {
  const { input, result, replacedSid } = opening
  if (result.outcome !== 'created') {
    const isStepUp = login.success?.type === 'authn_step_up_success'
    const failure = isStepUp ? 'authn_step_up_fail' : 'authn_login_fail'
    const type = result.outcome === 'session_limit' ? 'excess_sessions_exceeded' : failure
    core.events.security(type, {
      user: login.user.ref,
      request: login.request,
      ...(replacedSid === undefined ? {} : { sessionId: replacedSid }),
      result: 'failure',
      cause: result.outcome,
    })
    throw refusal(result.outcome)
  }
  hearRevoked(core, result.revoked)
  core.events.changed(openEvents(input.audit, result.revoked, replacedSid))
  return result
}

function refusal(outcome: Exclude<Opened['outcome'], 'created'>): AuthError {
  switch (outcome) {
    case 'session_limit':
      return new AuthError('session_limit', 'too many sessions are open; end one first')
    case 'stale_login':
      return new AuthError('stale_login', 'sessions were ended while logging in; try again')
    case 'gone':
      return new AuthError('session_ended', 'the session is over')
  }
}

/** The presented session was somebody else's, or over. A login over it leaves it to nobody. */
async function endForeignSession(
  core: Core,
  old: { readonly sid: string; readonly seedHash: string },
  openedSid: string,
  request: RequestFacts,
): Promise<void> {
  try {
    await endSession(core, old, { cause: 'replaced', request })
  } catch (error) {
    // Nobody will ever hold the new session's credentials; what is left of it ends by idleness.
    hearRevoked(core, [openedSid])
    const reason = { cause: 'login_failed', request }
    await endSession(core, { sid: openedSid }, reason).catch((cause: unknown) => {
      core.events.operational('store_failure', { result: 'failure', cause: 'revoke', error: cause })
    })
    throw error
  }
}

interface Opening extends CreateInput {
  readonly audit: OpenAudit<SecurityEvent>
}

function createInput(core: Core, login: Login, seed: string): Opening {
  const { user, request } = login
  core.issuer.assertFits(user.attributes, user.ref)
  const sid = drawSessionId(user.ref)
  const session: NewSession = {
    sid,
    user: user.ref,
    seedHash: hashSeed(seed),
    attributes: user.attributes,
    bindingHash: hashBinding(sid, login.binding),
    device: {
      label: textOrNull(login.label ?? request.userAgent),
      ip: textOrNull(request.ip),
    },
    remember: user.remember,
    data: null,
  }
  return {
    session,
    lifetimes: core.settings.lifetimes,
    limit: core.settings.limit,
    loginAgeMs: Math.max(0, Math.floor(performance.now() - login.beganAt)),
    audit: openAudit(core, login, sid),
  }
}

function openAudit({ events }: Core, login: Login, sid: string): OpenAudit<SecurityEvent> {
  const { user, request, success } = login
  const about = { user: user.ref, request, result: 'success' } as const
  const created = events.prepare('session_created', { ...about, sessionId: sid })
  return {
    evicted: events.prepare('session_limit_evicted', { ...about, cause: 'limit' }),
    replaced: events.prepare('session_revoked', { ...about, cause: 'replaced' }),
    opened:
      success === undefined
        ? [created]
        : [
            created,
            events.prepare(success.type, {
              ...about,
              sessionId: sid,
              ...(success.cause === undefined ? {} : { cause: success.cause }),
            }),
          ],
  }
}

function textOrNull(text: string | undefined): string | null {
  return text === undefined || text === '' ? null : capText(text)
}
