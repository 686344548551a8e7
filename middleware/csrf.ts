import type { Request } from 'express'
import { isOwnOrigin } from '../lib/cross-origin.ts'
import { AuthError } from '../lib/errors.ts'
import type { Context } from './context.ts'
import { requestFacts } from './context.ts'

/** Whether the request comes from one of our own pages, or changes nothing. */
export function fromOwnOrigin<Claims extends object>(
  context: Context<Claims>,
  req: Request,
): boolean {
  const { origin, host } = req.headers
  const site = req.headers['sec-fetch-site']
  return isOwnOrigin(
    {
      method: context.memo(req).original?.method ?? req.method,
      secFetchSite: typeof site === 'string' ? site : undefined,
      origin,
      host,
    },
    context.core.settings.origins,
  )
}

/**
 * The cross-origin check of everything a cookie lets a request do.
 *
 * @throws {AuthError} `cross_origin` (403)
 */
export function refuseCrossOrigin<Claims extends object>(
  context: Context<Claims>,
  req: Request,
): void {
  if (fromOwnOrigin(context, req)) return
  context.core.events.security('malicious_csrf', {
    request: requestFacts(req),
    result: 'failure',
    cause: 'cross_origin',
  })
  throw new AuthError(
    'cross_origin',
    'cookies are taken only from pages of this origin and of allowed ones',
  )
}
