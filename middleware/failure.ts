import { types } from 'node:util'
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
  report(context, error, thrown, req)
  const { onError } = context.options
  if (onError !== undefined) {
    // To Express, throwing undefined is no error: what was refused would go on to the next handler.
    const fail = (cause: unknown) => next(new InternalError('onError failed', { cause }))
    try {
      const returned: unknown = onError(error, req, res, next)
      // An async handler that fails must neither hang the request nor end the process.
      if (types.isPromise(returned)) returned.catch(fail)
    } catch (cause) {
      fail(cause)
    }
  } else if (res.headersSent) next(error)
  else sendProblem(res, error, scheme, extra(error))
}

function report<Claims extends object>(
  { core, reported }: Context<Claims>,
  error: AnswerableError,
  thrown: unknown,
  req: Request,
): void {
  const about = { request: requestFacts(req), result: 'failure' } as const
  if (error instanceof StoreUnavailable) {
    core.events.operational('store_failure', { ...about, cause: 'request', error })
  } else if (error.code === 'internal_error' && !reported.has(error)) {
    core.events.operational('hook_failure', { ...about, cause: 'unexpected', error: thrown })
  } else if (error.code === 'credentials_ambiguous') {
    core.events.security('malicious_cookie', { ...about, cause: error.code })
  }
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
