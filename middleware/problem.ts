import type { Response } from 'express'
import type { AnyLatchkeyError, ErrorCode } from '../lib/errors.ts'
import { AuthError } from '../lib/errors.ts'

/** The scheme of the challenge in a 401: whichever credential the route takes. */
export type Scheme = 'Bearer' | 'Session'

/** Everything that can be answered; a wrong option never gets as far as a request. */
export type AnswerableError = Exclude<AnyLatchkeyError, { readonly code: 'invalid_option' }>

/** An answer to a request that was refused or failed, whatever the framework. */
export interface Problem {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  /** problem+json (RFC 9457). */
  readonly body: string
}

/** RFC 9110 §15, RFC 6585 §4. */
const TITLES: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  409: 'Conflict',
  413: 'Content Too Large',
  415: 'Unsupported Media Type',
  429: 'Too Many Requests',
  500: 'Internal Server Error',
  503: 'Service Unavailable',
}

/**
 * The problem+json (RFC 9457) of an error and the challenge that belongs to it. Says nothing that is
 * not in the error's public part.
 *
 * @param extra - further members of the body
 * @param mediaType - what the body calls itself, where a protocol wants another name
 */
export function problemOf(
  error: AnswerableError,
  scheme: Scheme,
  extra: Readonly<Record<string, string>> = {},
  mediaType: string = 'application/problem+json',
): Problem {
  const { status, code } = error
  const challenge = challengeOf(error, scheme)
  const detail = status === 500 ? 'the server failed to handle the request' : error.message
  return {
    status,
    headers: {
      ...error.headers,
      'Cache-Control': 'no-store',
      'Content-Type': `${mediaType}; charset=utf-8`,
      ...(challenge === null ? {} : { 'WWW-Authenticate': challenge }),
    },
    body: JSON.stringify({
      type: 'about:blank',
      title: TITLES[status],
      status,
      code,
      detail,
      ...extra,
    }),
  }
}

/** Answers with {@link problemOf}. */
export function sendProblem(
  res: Response,
  error: AnswerableError,
  scheme: Scheme,
  extra?: Readonly<Record<string, string>>,
  mediaType?: string,
): void {
  const { status, headers, body } = problemOf(error, scheme, extra, mediaType)
  res.status(status).set(headers).send(body)
}

/** The `WWW-Authenticate` of an error, null when it needs none. */
export function challengeOf(error: AnswerableError, scheme: Scheme): string | null {
  if (!(error instanceof AuthError)) return null
  // RFC 6749 §5.2, RFC 7617 §2: whichever way the service tried.
  if (error.code === 'invalid_client') return 'Basic realm="services", charset="UTF-8"'
  const name = challengeError(error)
  // RFC 6750 §3: no error attribute when the request carried no credentials.
  if (name === null) return error.status === 401 ? scheme : null
  const attributes = { error: name, error_description: error.message, ...error.challenge }
  const list = Object.entries(attributes).map(([key, value]) => `${key}="${quotable(value)}"`)
  return `${scheme} ${list.join(', ')}`
}

const CHALLENGE_ERRORS: Partial<Record<ErrorCode, string | null>> = {
  step_up_required: 'insufficient_user_authentication', // RFC 9470 §3
  insufficient_scope: 'insufficient_scope',
  credentials_ambiguous: 'invalid_request', // RFC 6750 §3.1: more than one credential
  credentials_missing: null,
  invalid_credentials: null,
  stale_login: null,
}

function challengeError({ code, status }: AuthError): string | null {
  const named = CHALLENGE_ERRORS[code]
  if (named !== undefined) return named
  return status === 401 ? 'invalid_token' : null
}

/** RFC 6750 §3: neither quote nor backslash, printable ASCII only. */
function quotable(text: string): string {
  return text.replaceAll(/[^\x20-\x21\x23-\x5b\x5d-\x7e]/g, ' ')
}
