import type { Request, Response } from 'express'
import type { User } from '../lib/attributes.ts'
import { parseUser } from '../lib/attributes.ts'
import type { RegisteredClaims, Session } from '../lib/auth.ts'
import { toSession } from '../lib/auth.ts'
import { endSession } from '../lib/end-session.ts'
import { AuthError, InternalError } from '../lib/errors.ts'
import type { Credentials } from '../lib/mint.ts'
import { openSession } from '../lib/open-session.ts'
import type { Delivery } from '../lib/options.ts'
import { readRefreshToken } from '../lib/refresh-token.ts'
import { hashSeed } from '../lib/session-id.ts'
import type { PresentedSession } from '../lib/session-token-reader.ts'
import type { RevokeInput } from '../lib/store.ts'
import { verifyOrNull } from './access-cookie.ts'
import type { Context } from './context.ts'
import { readDelivery, requestFacts } from './context.ts'
import { readAuthorization } from './authorization.ts'
import { cookieTexts, oneSessionToken } from './credentials.ts'
import { fromOwnOrigin, refuseCrossOrigin } from './csrf.ts'
import { clearCookies, deliver, noStore } from './deliver.ts'
import { bindLogin } from './device.ts'

/** How the app signs somebody in whom it has authenticated itself. */
export interface SignInOptions {
  /** How the device shows in a list. @defaultValue the `User-Agent` */
  readonly label?: string | undefined
  /**
   * When checking the credentials began, `performance.now()`: a login that began before all of the
   * user's sessions were ended is refused. @defaultValue now
   */
  readonly beganAt?: number | undefined
}

/** A login that was just made, with the tokens no cookie carries. */
export interface SignedIn<Claims extends object = RegisteredClaims> {
  readonly session: Session<Claims>
  /** Absent when a cookie carries it. */
  readonly accessToken?: string
  /** Until the access token ends, in seconds. */
  readonly expiresIn: number
  /** Present with `delivery: 'body'`. */
  readonly refreshToken?: string
  /** Present with `delivery: 'body'`. */
  readonly sessionToken?: string
}

/** Opens a session for a request and returns its credentials; the caller delivers them. */
export async function openForRequest<Claims extends object>(
  context: Context<Claims>,
  req: Request,
  user: User<Claims>,
  delivery: Delivery,
  options: SignInOptions & { readonly cause?: 'sign_in' } = {},
): Promise<Credentials> {
  const { cause } = options
  return openSession(
    context.core,
    {
      user: parseUser(user),
      beganAt: options.beganAt ?? performance.now(),
      binding: bindLogin(context, req, delivery),
      label: options.label,
      request: requestFacts(req),
      success: { type: 'authn_login_success', ...(cause === undefined ? {} : { cause }) },
    },
    presentedSession(context, req),
  )
}

/**
 * The session a login comes along with, which it replaces. What is not ours, or is ambiguous, is
 * nobody's: a login is how one gets out of such a state. A page of another origin does not get to
 * end the session of the cookie that the browser adds.
 */
function presentedSession<Claims extends object>(
  context: Context<Claims>,
  req: Request,
): PresentedSession | null {
  try {
    const header = readAuthorization(req)
    if (header !== null) {
      return header.scheme === 'session' ? context.core.readSessionToken(header.text) : null
    }
    return fromOwnOrigin(context, req)
      ? oneSessionToken(context, cookieTexts(context, req, 'session'))
      : null
  } catch (error) {
    if (error instanceof AuthError) return null
    throw error
  }
}

/** Makes the kit's `signIn`. */
export function createSignIn<Claims extends object>(
  context: Context<Claims>,
): (
  req: Request,
  res: Response,
  user: User<Claims>,
  options?: SignInOptions,
) => Promise<SignedIn<Claims>> {
  return async function signIn(req, res, user, options) {
    if (res.headersSent) {
      throw new InternalError('signIn: the answer is on its way, and cookies can be set no more')
    }
    // Before anything changes: the hook may throw.
    const delivery = readDelivery(context, req)
    const credentials = await openForRequest(context, req, user, delivery, {
      ...options,
      cause: 'sign_in',
    })
    const body = deliver(context, res, credentials, delivery)
    return {
      session: toSession<Claims>(credentials.session),
      expiresIn: body.expires_in,
      ...(body.access_token === undefined ? {} : { accessToken: body.access_token }),
      ...(body.refresh_token === undefined ? {} : { refreshToken: body.refresh_token }),
      ...(body.session_token === undefined ? {} : { sessionToken: body.session_token }),
    }
  }
}

/** Makes the kit's `signOut`: ends every session whose credential came along, clears the cookies. */
export function createSignOut<Claims extends object>(
  context: Context<Claims>,
): (req: Request, res: Response) => Promise<void> {
  return async function signOut(req, res) {
    await endPresented(context, req, [])
    clearCookies(context, req, res)
    noStore(res)
  }
}

/**
 * Ends every session of which the request carries a credential that verifies: each is judged by
 * itself, so that no stranger's session ends along with one's own.
 *
 * @param refreshTokens - refresh tokens that came in the body
 * @throws {AuthError} `cross_origin`; nothing was ended then
 * @throws {StoreUnavailable} not acknowledged: cookies stay, the client tries again
 */
export async function endPresented<Claims extends object>(
  context: Context<Claims>,
  req: Request,
  refreshTokens: readonly string[],
): Promise<void> {
  const { core } = context
  const header = readAuthorization(req)
  const sessions = [...cookieTexts(context, req, 'session')]
  const refreshes = [...cookieTexts(context, req, 'refresh')]
  const accesses = [...cookieTexts(context, req, 'access')]
  if (sessions.length + refreshes.length + accesses.length > 0) refuseCrossOrigin(context, req)
  if (header?.scheme === 'session') sessions.push(header.text)
  if (header?.scheme === 'bearer') accesses.push(header.text)
  refreshes.push(...refreshTokens)

  const found = new Map<string, RevokeInput>()
  for (const access of accesses) {
    const claims = await verifyOrNull(core.verifier, access)
    // One that was denied by itself is in other hands, and with a service's part nobody logs out.
    if (claims === null || claims.sid === null || claims.actor !== null) continue
    if (!core.follower.isRevoked(claims.jti)) found.set(claims.sid, { sid: claims.sid })
  }
  const tokens = [
    ...sessions.map(core.readSessionToken),
    ...refreshes.map((text) => {
      const token = readRefreshToken(core.ring, text)
      return token && { sid: token.sid, seedHash: hashSeed(token.seed) }
    }),
  ]
  for (const token of tokens) {
    if (token !== null && !found.has(token.sid)) found.set(token.sid, token)
  }
  const reason = { cause: 'logout', request: requestFacts(req) }
  await Promise.all([...found.values()].map(async (which) => endSession(core, which, reason)))
}
