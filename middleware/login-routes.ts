import type { Request } from 'express'
import type { User } from '../lib/attributes.ts'
import { parseUser } from '../lib/attributes.ts'
import type { Auth } from '../lib/auth.ts'
import { AuthError } from '../lib/errors.ts'
import { refuseOddLogin } from '../lib/login-body.ts'
import { stepUpSession } from '../lib/open-session.ts'
import type { JsonObject } from '../lib/session.ts'
import { isSameUser } from '../lib/user.ts'
import { readJsonBody } from './body.ts'
import type { Context } from './context.ts'
import { hookFailure, readDelivery, requestFacts } from './context.ts'
import { refuseCrossOrigin } from './csrf.ts'
import { deliver } from './deliver.ts'
import { bindLogin } from './device.ts'
import { countLogin, countStepUp } from './rate-limits.ts'
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
    const body = await readJsonBody(req, res)
    refuseOddLogin(body, context.core.settings.credentials)
    const attempt = await countLogin(context, req, body)
    const user = await askApp(context, authenticate, body, req)
    if (user === null) throw refused(context, req, 'authn_login_fail')
    attempt.succeeded()
    const credentials = await openForRequest(context, req, user, delivery, { beganAt })
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
    const body = await readJsonBody(req, res)
    refuseOddLogin(body, context.core.settings.credentials)
    const attempt = await countStepUp(context, req, auth)
    const user = await askApp(context, authenticate, body, req)
    const parsed = user === null ? null : parseUser(user)
    if (parsed === null || !isSameUser(parsed.ref, { tenant: auth.tenant, id: auth.userId })) {
      throw refused(context, req, 'authn_step_up_fail', auth)
    }
    attempt.succeeded()
    const credentials = await stepUpSession(
      context.core,
      {
        user: parsed,
        beganAt,
        binding: bindLogin(context, req, delivery),
        label: undefined,
        request: requestFacts(req),
        success: { type: 'authn_step_up_success' },
      },
      auth.sessionId,
    )
    res.json(deliver(context, res, credentials, delivery))
  }
}

async function askApp<Claims extends object>(
  context: Context<Claims>,
  authenticate: AuthenticateHook<Claims>,
  credentials: JsonObject,
  req: Request,
): Promise<User<Claims> | null> {
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
  auth?: Auth<Claims>,
): AuthError {
  context.core.events.security(type, {
    ...(auth && {
      user: { tenant: auth.tenant, id: auth.userId },
      sessionId: auth.sessionId,
    }),
    request: requestFacts(req),
    result: 'failure',
    cause: 'invalid_credentials',
  })
  return new AuthError('invalid_credentials', 'the credentials are not good')
}
