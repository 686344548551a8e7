import type { Request } from 'express'
import { CookieReturns } from '../lib/cookie-returns.ts'
import type { Core } from '../lib/core.ts'
import { readCookie } from '../lib/cookies.ts'
import { capText } from '../lib/events.ts'
import { finding } from '../lib/findings.ts'
import type { SessionRecord } from '../lib/session.ts'

/** Watches requests for cookies that get lost on their way. A flag once that is settled. */
export interface CookieWatch {
  /** A request has cookies of ours by this name. */
  readonly came: (name: string, distinct: number) => void
  /** Cookies were set for a session. */
  readonly set: (req: Request, session: SessionRecord) => void
  /** A request has a good access token in its header. */
  readonly bearer: (req: Request, sid: string) => void
}

/** Makes the watch of one kit. */
export function createCookieWatch({ settings, doctor }: Core): CookieWatch {
  const returns = new CookieReturns()
  const names = Object.values(settings.cookies).map(({ name }) => name)

  /** Whether the request has any cookie of ours, which settles it. */
  function hasOurs(req: Request): boolean {
    const has = names.some((name) => readCookie(req.headers.cookie, name).length > 0)
    if (has) returns.seen()
    return has
  }

  return {
    came(name, distinct) {
      if (returns.watching) returns.seen()
      if (distinct < 2) return
      doctor.noteOnce(
        finding(
          'cookie_shadowed',
          `a request carried ${distinct} cookies named ${name} that differ: one was set with another ` +
            'Domain or Path, after a change of cookies.domain or by a sibling domain or another ' +
            'app; change cookies.names, and use __Host- names',
        ),
      )
    },
    set(req, session) {
      // A refresh by cookie has been counted as one that came.
      if (!returns.watching || session.generation > 0 || hasOurs(req)) return
      if (!isBrowser(req) || isForeignForm(req)) return
      const { ip, headers } = req
      const { tenant, id } = session.user
      const who = JSON.stringify([tenant, id, ip, capText(headers['user-agent'] ?? '')])
      if (returns.login({ sid: session.sid, who, at: settings.clock() })) doctor.note(NOT_RETURNED)
    },
    bearer(req, sid) {
      if (!returns.watching || !returns.waiting || hasOurs(req)) return
      // To its own origin a browser adds cookies by itself; elsewhere the page may have left them out.
      if (req.headers['sec-fetch-site'] !== 'same-origin') return
      if (returns.withoutCookie(sid)) doctor.note(NOT_RETURNED)
    },
  }
}

/** Browsers say one or the other when they log in; over plain http `Origin` alone. */
function isBrowser({ headers }: Request): boolean {
  return headers['sec-fetch-site'] !== undefined || headers.origin !== undefined
}

/** A form on another site, such as an identity provider's: SameSite keeps our cookies back. */
function isForeignForm({ method, headers }: Request): boolean {
  const isForeign = headers['sec-fetch-site'] === 'cross-site'
  return isForeign && headers['sec-fetch-mode'] === 'navigate' && method !== 'GET'
}

const NOT_RETURNED = finding(
  'cookie_not_returned',
  'browsers log in and come back without the cookie: they reach the app by plain http in front of ' +
    'a proxy, cookies.domain is not of their host, or the app is embedded in or called from ' +
    'another site (SameSite, credentials)',
)
