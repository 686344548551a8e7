import type { NextFunction, Request, Response } from 'express'
import { AuthError, StoreUnavailable } from '../lib/errors.ts'
import { answer, toAnswerable } from './answer.ts'
import type { Context } from './context.ts'
import { requestFacts } from './context.ts'
import type { AnswerableError, Scheme } from './problem.ts'

/**
 * Answers a request that failed and reports what somebody should hear of.
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
  extra?: (error: AnswerableError) => Readonly<Record<string, string>>,
  mediaType?: string,
): void {
  const error = toAnswerable(thrown)
  report(context, error, thrown, req)
  // The proxy that asked sees the status and headers only.
  if (context.memo(req).original !== undefined && !res.headersSent) {
    res.set('Latchkey-Code', error.code)
  }
  answer(context.options.onError, error, scheme, req, res, next, extra, mediaType)
}

function report<Claims extends object>(
  { core, reported, isEndedNews }: Context<Claims>,
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
  } else if (error instanceof AuthError && error.endedSession !== undefined) {
    const { endedSession: sessionId, code } = error
    if (!isEndedNews(sessionId)) return
    // Who comes back late is nobody's thief; who comes back after a logout may be.
    const type = code === 'session_ended' ? 'session_expired' : 'session_use_after_expire'
    core.events.security(type, { ...about, sessionId, cause: code })
  }
}
