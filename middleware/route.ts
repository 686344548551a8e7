import type { NextFunction, Request, RequestHandler, Response } from 'express'
import type { Auth } from '../lib/auth.ts'
import type { Context } from './context.ts'
import { answerFailure } from './failure.ts'
import { oauthError } from './oauth-error.ts'
import type { AnswerableError } from './problem.ts'
import { readAuth } from './request-auth.ts'

/** A route's work; what it throws is answered as problem+json. */
export type RouteHandler = (req: Request, res: Response) => Promise<void> | void

/**
 * How a route's failures look: `'plain'` problem+json, `'token'` with OAuth's word in it, `'oauth'` as
 * RFC 6749 §5.2 has them, whose media type clients insist on.
 */
export type FailureKind = 'plain' | 'token' | 'oauth'

/** Turns a route's work into a handler that answers its own failures. */
export function answering<Claims extends object>(
  context: Context<Claims>,
  handler: RouteHandler,
  kind: FailureKind = 'plain',
): RequestHandler {
  const extra = EXTRA[kind]
  const mediaType = kind === 'oauth' ? 'application/json' : undefined
  return async (req: Request, res: Response, next: NextFunction) => {
    try {
      await handler(req, res)
    } catch (error) {
      answerFailure(context, error, 'Session', req, res, next, extra, mediaType)
    }
  }
}

const EXTRA: Readonly<
  Record<FailureKind, ((error: AnswerableError) => Record<string, string>) | undefined>
> = {
  plain: undefined,
  token: (error) => ({ error: oauthError(error) }),
  oauth: (error) => ({
    error: oauthError(error),
    error_description: error.status === 500 ? 'the server failed' : error.message,
  }),
}

/**
 * Who is asking, after a guard of this kit.
 *
 * @throws {InternalError} when no guard of this kit let the request pass
 */
export function requireAuth<Claims extends object>(
  context: Context<Claims>,
  req: Request,
): Auth<Claims> {
  return readAuth<Claims>(context.memo(req))
}
