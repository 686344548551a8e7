import type { NextFunction, Request, Response } from 'express'
import type { AnyLatchkeyError } from '../lib/errors.ts'
import { AuthError, InternalError, StoreUnavailable, VersionConflict } from '../lib/errors.ts'
import type { AnswerableError, Scheme } from './problem.ts'
import { sendProblem } from './problem.ts'

/** Answers what a guard or route refused, in the place of latchkey's problem+json. */
export type ErrorHandler = (
  error: AnyLatchkeyError,
  req: Request,
  res: Response,
  next: NextFunction,
) => void

/**
 * Answers a request that failed: as problem+json, or by the app's `onError`. Whatever was thrown is
 * an answer here, never a pass.
 *
 * @param extra - further members of the body
 */
export function answer(
  onError: ErrorHandler | undefined,
  error: AnswerableError,
  scheme: Scheme,
  req: Request,
  res: Response,
  next: NextFunction,
  extra: (error: AnswerableError) => Readonly<Record<string, string>> = () => ({}),
  mediaType?: string,
): void {
  if (onError !== undefined) {
    // To Express, throwing undefined is no error: what was refused would go on to the next handler.
    const fail = (cause: unknown) => next(new InternalError('onError failed', { cause }))
    // Nor are falsy values, and `'route'` skips no more than the layer that refused.
    const goOn = (said?: unknown) => next(typeof said === 'object' && said !== null ? said : error)
    try {
      const returned: unknown = onError(error, req, res, goOn)
      // An async handler that fails must neither hang the request nor end the process.
      Promise.resolve(returned).catch(fail)
    } catch (cause) {
      fail(cause)
    }
  } else if (res.headersSent) next(error)
  else sendProblem(res, error, scheme, extra(error), mediaType)
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
