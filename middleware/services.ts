import type { Request } from 'express'
import { AuthError, StoreUnavailable } from '../lib/errors.ts'
import { limitName } from '../lib/rate-limit.ts'
import type { Service, ServiceAuthenticator, ServiceKit } from '../lib/service.ts'
import { isService } from '../lib/service.ts'
import type { Context } from './context.ts'
import { hookFailure, requestFacts } from './context.ts'
import { readAuthorization } from './authorization.ts'
import { countBadToken } from './rate-limits.ts'

/**
 * Which service sent the request. To be called before anything else of the request is looked at; a
 * form must have been read into `req.body` for the methods that use one.
 *
 * @throws {AuthError} `invalid_client` (401) when no authenticator knows it, `rate_limited` (429) when
 *   that came too often from its network, `invalid_request` (400) for two methods at once
 * @throws {StoreUnavailable}
 */
export async function authenticateService<Claims extends object>(
  context: Context<Claims>,
  req: Request,
): Promise<Service> {
  refuseTwoMethods(req)
  for (const authenticate of context.services) {
    const service = await ask(context, authenticate, req)
    if (service !== null && isNamed(req, service)) return service
  }
  const refusal = new AuthError('invalid_client', 'the service did not prove who it is')
  const failure = await countBadToken(context, req, refusal)
  // Beyond the limit one event has said so, and the trail is not flooded.
  if (failure === refusal) {
    context.core.events.security('authn_login_fail', {
      request: requestFacts(req),
      result: 'failure',
      cause: refusal.code,
    })
  }
  throw failure
}

/** Whether a request tries to prove which service sent it. */
export function presentsService(req: Request): boolean {
  return methodsOf(req).length > 0
}

// RFC 6749 §2.3: never more than one method, so that nobody can say who is asking.
function refuseTwoMethods(req: Request): void {
  if (methodsOf(req).length > 1) {
    throw new AuthError('invalid_request', 'more than one way to authenticate a service')
  }
}

function methodsOf(req: Request): readonly string[] {
  const basic = readAuthorization(req)?.scheme === 'basic' ? ['basic'] : []
  return [...basic, ...['client_secret', 'client_assertion'].filter((name) => name in formOf(req))]
}

/** RFC 6749 §3.2.1: `client_id` may stand in the form too, and must then be the same. */
function isNamed(req: Request, { id }: Service): boolean {
  const { client_id: named } = formOf(req)
  return named === undefined || named === id
}

function formOf(req: Request): Readonly<Record<string, unknown>> {
  const body: unknown = req.body
  return typeof body === 'object' && body !== null ? { ...body } : {}
}

async function ask<Claims extends object>(
  context: Context<Claims>,
  authenticate: ServiceAuthenticator<Request>,
  req: Request,
): Promise<Service | null> {
  let answer: unknown
  try {
    answer = await authenticate(req, serviceKit(context))
  } catch (error) {
    if (error instanceof AuthError || error instanceof StoreUnavailable) throw error
    throw hookFailure(context, 'services', error)
  }
  if (answer === null || answer === undefined) return null
  if (isService(answer)) return answer
  throw hookFailure(context, 'services', new TypeError('must return a service or null'))
}

function serviceKit<Claims extends object>({ core }: Context<Claims>): ServiceKit {
  return {
    issuer: core.settings.issuer,
    now: core.settings.clock,
    async once(key, forMs) {
      const name = limitName('once', [key])
      return (await core.store.limit.take(name, 1, Math.max(1, Math.ceil(forMs)))).used === 1
    },
  }
}
