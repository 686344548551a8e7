import type { Request } from 'express'
import { AuthError, methodNotAllowed } from '../lib/errors.ts'
import { refreshOutcome, refreshSession } from '../lib/refresh.ts'
import { refuseUnknownMembers, readJsonBody } from './body.ts'
import type { Context } from './context.ts'
import { requestFacts } from './context.ts'
import { ambiguous, cookieTexts } from './credentials.ts'
import { refuseCrossOrigin } from './csrf.ts'
import { deliver } from './deliver.ts'
import { readBindings } from './device.ts'
import { toAnswerable } from './answer.ts'
import { answerFailure } from './failure.ts'
import type { Guard } from './as-guard.ts'
import { asGuard } from './as-guard.ts'
import { readRefreshToken } from '../lib/refresh-token.ts'
import type { AnswerableError } from './problem.ts'
import { oauthError } from './oauth-error.ts'
import { countBadToken } from './rate-limits.ts'

/** When a client that may try again does so, in seconds. */
const RETRY_AFTER_S = '1'

const ATTEMPT = /^[A-Za-z0-9_-]{16,64}$/

/**
 * Makes `refreshRoute`: `POST`, the refresh token by cookie or as `refresh_token` in a JSON body.
 * The answer comes the way the token came. Every failure says `terminal` or `retryable`, and none
 * touches a cookie.
 */
export function createRefreshRoute<Claims extends object>(context: Context<Claims>): () => Guard {
  const { core, checks, options } = context
  return function refreshRoute() {
    return asGuard('refreshRouteMiddleware', async (req, res, next) => {
      try {
        // A link or an image tag sends GET with the cookie: safe methods change nothing.
        if (req.method !== 'POST') throw methodNotAllowed(['POST'])
        const body = await readJsonBody(req, res)
        const { text, delivery } = readPresented(context, req, body)
        const [binding, ...otherBindings] = readBindings(context, req)
        const credentials = await refreshSession(core, checks, options.loadUser, {
          token: text,
          attempt: readAttempt(req),
          binding,
          otherBindings,
          request: requestFacts(req),
        })
        res.json(deliver(context, res, credentials, delivery))
      } catch (thrown) {
        const error = await countBadToken(context, req, thrown)
        const { code, headers } = toAnswerable(error)
        if (!res.headersSent && refreshOutcome(code) === 'retryable') {
          res.set('Retry-After', headers['Retry-After'] ?? RETRY_AFTER_S)
        }
        answerFailure(context, error, 'Session', req, res, next, refreshProblem)
      }
    })
  }
}

function refreshProblem(error: AnswerableError): Record<string, string> {
  return { outcome: refreshOutcome(error.code), error: oauthError(error) }
}

function readPresented<Claims extends object>(
  context: Context<Claims>,
  req: Request,
  body: Readonly<Record<string, unknown>>,
): { readonly text: string; readonly delivery: 'cookie' | 'body' } {
  refuseUnknownMembers(body, ['refresh_token'])
  const { refresh_token: fromBody } = body
  const fromCookie = cookieTexts(context, req, 'refresh')
  if (fromBody !== undefined) {
    if (typeof fromBody !== 'string') {
      throw new AuthError('invalid_request', 'refresh_token must be text')
    }
    if (fromCookie.length > 0) {
      throw new AuthError('credentials_ambiguous', 'a refresh token in the body and by cookie')
    }
    return { text: fromBody, delivery: 'body' }
  }
  if (fromCookie.length === 0) {
    throw new AuthError('credentials_missing', 'no refresh token was sent')
  }
  refuseCrossOrigin(context, req)
  return { text: oneRefreshToken(context, fromCookie), delivery: 'cookie' }
}

/** Of duplicate cookies the one that verifies counts; two that verify are nobody's. */
function oneRefreshToken<Claims extends object>(
  context: Context<Claims>,
  texts: readonly string[],
): string {
  const [first = ''] = texts
  if (texts.length < 2) return first
  const good = texts.filter((text) => readRefreshToken(context.core.ring, text) !== null)
  if (good.length > 1) {
    throw ambiguous()
  }
  return good[0] ?? first
}

/** The client's own attempt id makes its retry answerable whatever the grace. */
function readAttempt(req: Request): string | undefined {
  const attempt = req.headers['idempotency-key']
  if (attempt === undefined) return undefined
  if (typeof attempt !== 'string' || !ATTEMPT.test(attempt)) {
    throw new AuthError(
      'invalid_request',
      'Idempotency-Key must be 16 to 64 characters of A-Z, a-z, 0-9, - and _',
    )
  }
  return attempt
}
