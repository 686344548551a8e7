import type { Request } from 'express'
import type { CookieRole } from '../lib/cookies.ts'
import { readCookie } from '../lib/cookies.ts'
import { AuthError } from '../lib/errors.ts'
import type { PresentedSession } from '../lib/session-token-reader.ts'
import { readAuthorization } from './authorization.ts'
import type { Context } from './context.ts'

/** Where a credential came from: only what a browser adds by itself needs the cross-origin check. */
export type Transport = 'header' | 'cookie'

/** The one kind of credential a request is judged by, chosen before anything is verified. */
export interface Presented {
  readonly kind: 'access' | 'session'
  readonly transport: Transport
  /** What stands there; more than one only when cookies of one name were sent. */
  readonly texts: readonly string[]
}

/** Which kinds a guard takes. */
export type Accepts = 'access' | 'session' | 'both'

const MAX_DUPLICATES = 4

/**
 * Chooses the transport: `Authorization` alone if it is there, never falling back to a cookie (a
 * junk header would otherwise switch the cross-origin check off); else the access cookie; else the
 * session cookie. Query strings are never read (RFC 6750 §5.3, RFC 9700 §4.3.2).
 *
 * @returns null when the request carries nothing this guard takes
 * @throws {AuthError} `credentials_ambiguous` for two `Authorization` headers, `token_invalid` for a
 *   scheme this guard does not take
 */
export function choosePresented<Claims extends object>(
  context: Context<Claims>,
  req: Request,
  accepts: Accepts,
): Presented | null {
  const header = readAuthorization(req)
  if (header !== null) {
    const kind = SCHEMES.get(header.scheme)
    if (header.scheme === '') {
      throw new AuthError('token_invalid', 'the Authorization header is no scheme and a token')
    }
    if (kind === undefined || (accepts !== 'both' && accepts !== kind)) {
      throw new AuthError('token_invalid', 'the Authorization scheme is not taken here')
    }
    return { kind, transport: 'header', texts: [header.text] }
  }
  if (accepts !== 'session' && context.core.settings.accessToken === 'cookie') {
    const texts = cookieTexts(context, req, 'access')
    if (texts.length > 0) return { kind: 'access', transport: 'cookie', texts }
  }
  if (accepts !== 'access') {
    const texts = cookieTexts(context, req, 'session')
    if (texts.length > 0) return { kind: 'session', transport: 'cookie', texts }
  }
  return null
}

const SCHEMES: ReadonlyMap<string, 'access' | 'session'> = new Map([
  ['bearer', 'access'],
  ['session', 'session'],
])

/** The distinct values of one of our cookies. */
export function cookieTexts<Claims extends object>(
  context: Context<Claims>,
  req: Request,
  role: CookieRole,
): readonly string[] {
  const { name } = context.core.settings.cookies[role]
  const texts = readCookie(req.headers.cookie, name)
  if (texts.length === 0) return texts
  const distinct = texts.length === 1 ? texts : [...new Set(texts)]
  context.cookieWatch.came(name, distinct.length)
  if (distinct.length > MAX_DUPLICATES) throw ambiguous()
  return distinct
}

/**
 * The one session token among the presented ones whose MAC verifies. A cookie that somebody else
 * planted does not verify, and does not count.
 *
 * @returns null when none verifies
 * @throws {AuthError} `credentials_ambiguous` when two verify and differ
 */
export function oneSessionToken<Claims extends object>(
  context: Context<Claims>,
  texts: readonly string[],
): PresentedSession | null {
  let found: PresentedSession | null = null
  for (const text of texts) {
    const token = context.core.readSessionToken(text)
    if (token === null) continue
    if (found !== null && found.sid !== token.sid) throw ambiguous()
    found ??= token
  }
  return found
}

/** Two credentials that are both good and differ: nobody can say which one is meant. */
export function ambiguous(): AuthError {
  return new AuthError('credentials_ambiguous', 'two good credentials that differ were sent')
}
