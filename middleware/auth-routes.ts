import cookieParser from 'cookie-parser'
import type { NextFunction, Request, RequestHandler, Response, Router } from 'express'
import express from 'express'
import helmet from 'helmet'
import { AuthError, methodNotAllowed } from '../lib/errors.ts'
import { JWKS_MAX_AGE_MS } from '../lib/managed-keys-options.ts'
import { createAuditRoute } from './audit-route.ts'
import type { Context } from './context.ts'
import { createCors } from './cors.ts'
import { createAddressWatch } from './doctor-addresses.ts'
import { answerFailure } from './failure.ts'
import { createHybridGuard } from './hybrid-guard.ts'
import { isInPerson } from './in-person.ts'
import { createLogin, createStepUp } from './login-routes.ts'
import { watchAuthPath } from './metadata.ts'
import { createRefreshRoute } from './refresh-route.ts'
import { createRevocationStream } from './revocation-stream.ts'
import { answering } from './route.ts'
import { createServiceRoutes } from './service-routes.ts'
import { createSessionRoutes } from './session-routes.ts'
import { createTokenRoute } from './token-route.ts'

const JWKS_PATH = '/.well-known/jwks.json'

/**
 * Makes `authRoutes`: a router with everything a login needs, to be mounted where the app likes.
 * Without `authenticate` it has no login and no step-up: the app then calls `signIn` itself.
 */
export function createAuthRoutes<Claims extends object>(context: Context<Claims>): () => Router {
  const { options } = context

  return function authRoutes() {
    // Exact paths only, so that whatever looks at paths in front of us sees the same routes.
    const router = express.Router({ caseSensitive: true, strict: true })
    const inPerson = { sensitive: true, check: isInPerson }
    const checked = createHybridGuard(context)(inPerson)
    // Stepping up is how a half logged in session becomes a whole one.
    const checkedOrPartial = createHybridGuard(context, true)(inPerson)
    const sessions = createSessionRoutes(context)
    const watchAddress = createAddressWatch(context.core)
    const { authenticate } = options

    router.use(
      helmet({
        contentSecurityPolicy: {
          useDefaults: false,
          directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
        },
        // Whether the whole host is https only is the app's to say.
        strictTransportSecurity: false,
      }),
      // For the app's hooks; latchkey reads its own cookies from the header, duplicates and all.
      cookieParser(),
    )

    router.use((req, _res, next) => {
      watchAddress(req)
      watchAuthPath(context.core, context.authPath, req.baseUrl)
      next()
    })

    const cors = createCors(context, JWKS_PATH)
    if (cors !== null) router.use(cors)

    const routes: Record<string, Record<string, RequestHandler[]>> = {
      '/refresh': { post: [createRefreshRoute(context)()] },
      '/logout': { post: [answering(context, sessions.logout)] },
      '/logout-all': { post: [checked, answering(context, sessions.logoutAll)] },
      '/session': { get: [checked, answering(context, sessions.current)] },
      '/sessions': {
        get: [checked, answering(context, sessions.list)],
        delete: [checked, answering(context, sessions.endMany)],
      },
      '/audit': { get: [checked, answering(context, createAuditRoute(context))] },
      '/sessions/:id': { delete: [checked, answering(context, sessions.endOne)] },
      [JWKS_PATH]: { get: [createJwks(context)] },
    }
    const { services } = context
    if (services.length > 0) {
      const { introspect, revoke } = createServiceRoutes(context)
      routes['/revocations'] = { get: [answering(context, createRevocationStream(context))] }
      routes['/introspect'] = { post: [answering(context, introspect, 'oauth')] }
      routes['/revoke'] = { post: [answering(context, revoke, 'oauth')] }
    }
    if (services.length > 0 || context.core.settings.audiences.size > 0) {
      routes['/token'] = { post: [answering(context, createTokenRoute(context), 'oauth')] }
    }
    if (authenticate !== undefined) {
      routes['/login'] = { post: [answering(context, createLogin(context, authenticate), 'token')] }
      routes['/step-up'] = {
        post: [checkedOrPartial, answering(context, createStepUp(context, authenticate), 'token')],
      }
    }

    for (const [path, methods] of Object.entries(routes)) {
      const route = router.route(path)
      const { get, post, delete: del } = methods
      if (get !== undefined) route.get(...get)
      if (post !== undefined) route.post(...post)
      if (del !== undefined) route.delete(...del)
      route.all(onOtherMethod(context, Object.keys(methods)))
    }

    router.use(
      answering(context, () => {
        throw new AuthError('not_found', 'there is no such route')
      }),
    )
    router.use((error: unknown, req: Request, res: Response, next: NextFunction) => {
      // A path that cannot be decoded names nothing.
      const failure =
        error instanceof URIError ? new AuthError('not_found', 'there is no such route') : error
      answerFailure(context, failure, 'Session', req, res, next)
    })
    return router
  }
}

function createJwks<Claims extends object>(context: Context<Claims>): RequestHandler {
  return answering(context, async (_req, res) => {
    const { signingKeys } = context.core
    if (context.core.managedKeys !== null) await signingKeys.ready()
    res
      .set('Cache-Control', `public, max-age=${JWKS_MAX_AGE_MS / 1000}`)
      .set('Content-Type', 'application/jwk-set+json')
      .send(JSON.stringify(signingKeys.jwks))
  })
}

function onOtherMethod<Claims extends object>(
  context: Context<Claims>,
  methods: readonly string[],
): RequestHandler {
  const allowed = methods.flatMap((method) => (method === 'get' ? ['GET', 'HEAD'] : [method]))
  const upper = allowed.map((method) => method.toUpperCase())
  return answering(context, (req, res) => {
    if (req.method !== 'OPTIONS') throw methodNotAllowed(upper)
    res
      .set('Allow', [...upper, 'OPTIONS'].join(', '))
      .status(204)
      .end()
  })
}
