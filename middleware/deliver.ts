import type { Request, Response } from 'express'
import type { CookieRole } from '../lib/cookies.ts'
import { buildCookie, clearCookie } from '../lib/cookies.ts'
import { DEVICE_COOKIE_MAX_AGE_S } from '../lib/device.ts'
import { finding } from '../lib/findings.ts'
import type { Credentials } from '../lib/mint.ts'
import type { Delivery } from '../lib/options.ts'
import type { SessionRecord } from '../lib/session.ts'
import type { Context } from './context.ts'
import { fromOwnOrigin } from './csrf.ts'

/** A session in answers. Times are ISO 8601. */
export interface SessionJson {
  readonly id: string
  readonly user_id: string
  readonly created_at: string
  readonly last_seen_at: string
  readonly expires_at: string
  readonly idle_expires_at: string
  readonly auth_time: string
  readonly level: string | null
  readonly device: { readonly label: string | null; readonly ip: string | null }
  readonly current: boolean
}

/** What login, refresh and step-up answer. The tokens stand in it only when no cookie carries them. */
export interface CredentialsJson {
  readonly access_token?: string
  readonly token_type?: 'Bearer'
  readonly refresh_token?: string
  readonly session_token?: string
  /** Until the access token ends, in seconds. */
  readonly expires_in: number
  readonly server_time: string
  readonly session: SessionJson
}

/** Tells apart what is an answer's own from what a cache may keep. */
export function noStore(res: Response): Response {
  return res.set('Cache-Control', 'no-store')
}

/**
 * Sets the cookies of a login, or leaves it to the body. What a cookie carries is not in the body,
 * where a script could read it.
 */
export function deliver<Claims extends object>(
  context: Context<Claims>,
  res: Response,
  credentials: Credentials,
  delivery: Delivery,
): CredentialsJson {
  const { settings } = context.core
  const { session, expiresInS } = credentials
  const byCookie = delivery === 'cookie'
  const accessByCookie = byCookie && settings.accessToken === 'cookie'
  if (byCookie) {
    warnOfPlainHttp(context, res.req)
    context.cookieWatch.set(res.req, session)
    const endsInS = Math.max(1, Math.round((session.absoluteDeadline - settings.clock()) / 1000))
    const set = (role: CookieRole, value: string, maxAgeS: number) => {
      const spec = settings.cookies[role]
      res.append('Set-Cookie', buildCookie(spec, value, session.remember ? maxAgeS : null))
    }
    set('session', credentials.sessionToken, endsInS)
    set('refresh', credentials.refreshToken, endsInS)
    if (accessByCookie) set('access', credentials.accessToken, expiresInS)
    setDevice(context, res)
  }
  noStore(res)
  return {
    ...(accessByCookie ? {} : { access_token: credentials.accessToken, token_type: 'Bearer' }),
    expires_in: expiresInS,
    server_time: new Date(settings.clock()).toISOString(),
    ...(byCookie
      ? {}
      : { refresh_token: credentials.refreshToken, session_token: credentials.sessionToken }),
    session: sessionJson(session, session.sid),
  }
}

/** Only a login has drawn one. No logout removes it: the same browser is the same device. */
function setDevice<Claims extends object>(context: Context<Claims>, res: Response): void {
  const { device } = context.memo(res.req)
  const { cookie = null } = context.core.settings.device ?? {}
  if (device === undefined || cookie === null) return
  res.append('Set-Cookie', buildCookie(cookie, device, DEVICE_COOKIE_MAX_AGE_S))
}

const LOOPBACK = /^(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])(?::\d+)?$/

/** A Secure cookie over what looks like plain http never comes back, and nobody is told why. */
function warnOfPlainHttp<Claims extends object>({ core }: Context<Claims>, req: Request): void {
  const plain = core.settings.cookies.session.secure && !req.secure
  if (!plain || LOOPBACK.test(req.headers.host ?? '')) return
  core.doctor.note(
    finding(
      'plain_http',
      'Secure cookies were set over what looks like plain http, and browsers will drop ' +
        "them; behind a proxy that ends TLS, set Express's 'trust proxy'",
    ),
  )
}

/**
 * Removes all our cookies. Only a logout does this: anything else might delete a newer login. A form
 * on a page of another origin carries no SameSite cookie that could be refused, but what the answer
 * says of cookies counts: such a page does not get to remove them (logout CSRF).
 */
export function clearCookies<Claims extends object>(
  context: Context<Claims>,
  req: Request,
  res: Response,
): void {
  if (!fromOwnOrigin(context, req)) return
  const { cookies, accessToken, clearSiteData } = context.core.settings
  const roles: CookieRole[] = ['session', 'refresh']
  if (accessToken === 'cookie') roles.push('access')
  for (const role of roles) res.append('Set-Cookie', clearCookie(cookies[role]))
  if (clearSiteData !== null) res.set('Clear-Site-Data', clearSiteData)
}

/** A session for an answer. `currentSid` is the session of who asks. */
export function sessionJson(session: SessionRecord, currentSid: string | null): SessionJson {
  const iso = (at: number) => new Date(at).toISOString()
  return {
    id: session.sid,
    user_id: session.user.id,
    created_at: iso(session.createdAt),
    last_seen_at: iso(session.lastSeenAt),
    expires_at: iso(session.absoluteDeadline),
    idle_expires_at: iso(session.idleDeadline),
    auth_time: iso(session.authTime),
    level: session.attributes.level,
    device: { label: session.device.label, ip: session.device.ip },
    current: session.sid === currentSid,
  }
}
