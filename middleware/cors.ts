import type { NextFunction, Request, RequestHandler, Response } from 'express'
import cors from 'cors'
import type { Context } from './context.ts'

/** How long a browser may keep the answer to a preflight, in seconds. */
const PREFLIGHT_MAX_AGE_S = 600

/**
 * Lets scripts of the origins in `cors` read what the routes answer (Fetch, HTTP-CORS protocol). An
 * origin is compared byte for byte, so `null`, look-alikes and the http twin are strangers; they hear
 * nothing of CORS at all. The public keys are everybody's, without credentials.
 *
 * Null when the app asked for none.
 */
export function createCors<Claims extends object>(
  { core }: Context<Claims>,
  jwksPath: string,
): RequestHandler | null {
  const { corsOrigins } = core.settings
  if (corsOrigins === null) return null
  const open = cors({ origin: '*', methods: ['GET', 'HEAD'], maxAge: PREFLIGHT_MAX_AGE_S })
  const listed = cors((req, give) => {
    const { origin } = req.headers
    give(null, {
      // As a text: the package would answer a stranger some of the headers if it got the list.
      origin: origin !== undefined && corsOrigins.has(origin) ? origin : false,
      credentials: true,
      methods: ['GET', 'POST', 'DELETE'],
      allowedHeaders: ['Authorization', 'Content-Type', 'Idempotency-Key'],
      exposedHeaders: ['Retry-After', 'WWW-Authenticate'],
      maxAge: PREFLIGHT_MAX_AGE_S,
    })
  })
  return function corsMiddleware(req: Request, res: Response, next: NextFunction) {
    if (req.path === jwksPath) {
      open(req, res, next)
      return
    }
    // Also for strangers and for who sends no origin: a cache must not give them another's answer.
    res.vary('Origin')
    listed(req, res, next)
  }
}
