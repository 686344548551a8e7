import type { NextFunction, Request, Response } from 'express'
import { AuthError, InternalError, StoreUnavailable, VersionConflict } from '../lib/errors.ts'
import type { Context } from './context.ts'
import { requestFacts } from './context.ts'
import type { AnswerableError, Scheme } from './problem.ts'
import { sendProblem } from './problem.ts'

/**
 * Answers a request that failed: as problem+json, or by the app's `onError`. Whatever was thrown is
 * an answer here, never a pass.
 *
 * @param extra - further members of the body
 */
export function answerFailure<Claims extends object>(
  context: Context<Claims>,
  thrown: unknown,
  scheme: Scheme,
  req: Request,
  res: Response,
  next: NextFunction,
  extra: (error: AnswerableError) => Readonly<Record<string, string>> = () => ({}),
): void {
  const error = toAnswerable(thrown)
  const { events } = context.core
  if (error.code === 'store_unavailable') {
    events.operational('store_failure', {
      request: requestFacts(req),
      result: 'failure',
      cause: 'request',
      error,
    })
  } else if (error.code === 'internal_error' && error !== thrown) {
    events.operational('hook_failure', { result: 'failure', cause: 'unexpected', error: thrown })
  }
  if (context.options.onError !== undefined) context.options.onError(error, req, res, next)
  else if (res.headersSent) next(error)
  else sendProblem(res, error, scheme, extra(error))
}

/** What can be answered; anything unexpected is a 500 that keeps its cause to itself. */
export function toAnswerable(thrown: unknown): AnswerableError {
  if (
    thrown instanceof AuthError ||
    thrown instanceof StoreUnavailable ||
    thrown instanceof VersionConflict ||
    thrown instanceof InternalError
  ) {
    return thrown
  }
  return new InternalError('unexpected failure', { cause: thrown })
}
