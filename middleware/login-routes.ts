import type { Request, Response } from 'express'
import type { User } from '../lib/attributes.ts'
import { parseUser } from '../lib/attributes.ts'
import { AuthError } from '../lib/errors.ts'
import { stepUpSession } from '../lib/open-session.ts'
import type { JsonObject } from '../lib/session.ts'
import { isSameUser } from '../lib/user.ts'
import { readJsonBody } from './body.ts'
import type { Context } from './context.ts'
import { hookFailure, readBinding, readDelivery, requestFacts } from './context.ts'
import { refuseCrossOrigin } from './csrf.ts'
import { deliver } from './deliver.ts'
import type { RouteHandler } from './route.ts'
import { requireAuth } from './route.ts'
import { openForRequest } from './sign-in.ts'

/** The app's `authenticate`. */
type AuthenticateHook<Claims extends object> = (
  credentials: JsonObject,
  req: Request,
) => User<Claims> | null | Promise<User<Claims> | null>

/** `POST /login`: the app checks the credentials, latchkey opens the session. */
export function createLogin<Claims extends object>(
  context: Context<Claims>,
  authenticate: AuthenticateHook<Claims>,
): RouteHandler {
  return async (req, res) => {
    const delivery = readDelivery(context, req)
    // Signing a victim in under the attacker's name is worth an attack too (OWASP: login CSRF).
    if (delivery === 'cookie') refuseCrossOrigin(context, req)
    const beganAt = performance.now()
    const user = await askApp(context, authenticate, req, res)
    if (user === null) throw refused(context, req, 'authn_login_fail')
    const credentials = await openForRequest(context, req, user, { beganAt })
    context.core.events.security('authn_login_success', {
      user: credentials.session.user,
      sessionId: credentials.session.sid,
      request: requestFacts(req),
      result: 'success',
    })
    res.json(deliver(context, res, credentials, delivery))
  }
}

/** `POST /step-up`: the same user proves again who they are, and the session is replaced. */
export function createStepUp<Claims extends object>(
  context: Context<Claims>,
  authenticate: AuthenticateHook<Claims>,
): RouteHandler {
  return async (req, res) => {
    const auth = requireAuth(context, req)
    const delivery = readDelivery(context, req)
    // A token in the header passed the guard, but what is set here are cookies.
    if (delivery === 'cookie') refuseCrossOrigin(context, req)
    const beganAt = performance.now()
    const user = await askApp(context, authenticate, req, res)
    const parsed = user === null ? null : parseUser(user)
    if (parsed === null || !isSameUser(parsed.ref, { tenant: auth.tenant, id: auth.userId })) {
      throw refused(context, req, 'authn_step_up_fail')
    }
    const credentials = await stepUpSession(
      context.core,
      {
        user: parsed,
        beganAt,
        binding: readBinding(context, req),
        label: undefined,
        request: requestFacts(req),
      },
      auth.sessionId,
    )
    context.core.events.security('authn_step_up_success', {
      user: parsed.ref,
      sessionId: credentials.session.sid,
      request: requestFacts(req),
      result: 'success',
    })
    res.json(deliver(context, res, credentials, delivery))
  }
}

async function askApp<Claims extends object>(
  context: Context<Claims>,
  authenticate: AuthenticateHook<Claims>,
  req: Request,
  res: Response,
): Promise<User<Claims> | null> {
  const credentials = await readJsonBody(req, res)
  try {
    return (await authenticate(credentials, req)) ?? null
  } catch (error) {
    throw hookFailure(context, 'authenticate', error)
  }
}

function refused<Claims extends object>(
  context: Context<Claims>,
  req: Request,
  type: 'authn_login_fail' | 'authn_step_up_fail',
): AuthError {
  context.core.events.security(type, {
    request: requestFacts(req),
    result: 'failure',
    cause: 'invalid_credentials',
  })
  return new AuthError('invalid_credentials', 'the credentials are not good')
}
