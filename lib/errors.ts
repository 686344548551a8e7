/**
 * Every stable code an answer or a thrown error can carry. `docs/errors.md` gives cause and remedy
 * of each. Codes are the wire's words: they are never renamed within a major version.
 */
export type ErrorCode =
  | 'invalid_option'
  | 'invalid_request'
  | 'unsupported_media_type'
  | 'body_too_large'
  | 'not_found'
  | 'method_not_allowed'
  | 'credentials_missing'
  | 'credentials_ambiguous'
  | 'token_invalid'
  | 'token_expired'
  | 'token_stale'
  | 'token_revoked'
  | 'session_ended'
  | 'session_revoked'
  | 'device_mismatch'
  | 'step_up_required'
  | 'insufficient_scope'
  | 'forbidden'
  | 'cross_origin'
  | 'invalid_credentials'
  | 'invalid_client'
  | 'unauthorized_client'
  | 'unsupported_grant_type'
  | 'invalid_scope'
  | 'invalid_target'
  | 'subject_token_invalid'
  | 'stale_login'
  | 'session_limit'
  | 'rate_limited'
  | 'refresh_invalid'
  | 'refresh_reused'
  | 'user_invalid'
  | 'user_lookup_failed'
  | 'signing_unavailable'
  | 'keys_unavailable'
  | 'feed_unavailable'
  | 'version_conflict'
  | 'store_unavailable'
  | 'revocation_unconfirmed'
  | 'internal_error'

/** What a failed refresh means for the client: end the session, or keep it and try again. */
export type RefreshOutcome = 'terminal' | 'retryable'

/** Extra facts of an {@link AuthError}, all of them safe to show to the client. */
export interface AuthErrorDetails {
  /** The underlying failure. Never printed. */
  readonly cause?: unknown
  /** Response headers that belong to this failure, such as `Allow`. */
  readonly headers?: Readonly<Record<string, string>>
  /** Parameters of the `WWW-Authenticate` challenge (RFC 6750 §3, RFC 9470 §3). */
  readonly challenge?: Readonly<Record<string, string>>
  /** The session whose credential was presented after its end; for the audit trail, never printed. */
  readonly endedSession?: string
}

/** Base of everything latchkey throws on purpose. `code` is stable, `message` is not. */
export abstract class LatchkeyError extends Error {
  /** The stable code: switch over this, never over `message`. */
  abstract readonly code: ErrorCode
}

/** A wrong option, found at start. The message names the option and the fix. */
export class ConfigError extends LatchkeyError {
  override readonly name = 'ConfigError'
  readonly code = 'invalid_option'
  /** Which option, as a path: `maxSessions.perUser`. */
  readonly option: string

  constructor(option: string, problem: string, details: { readonly cause?: unknown } = {}) {
    super(`latchkey: ${option} ${problem}`, details)
    this.option = option
  }
}

/** The codes an {@link AuthError} can have. */
export type AuthErrorCode = Exclude<
  ErrorCode,
  | 'invalid_option'
  | 'store_unavailable'
  | 'revocation_unconfirmed'
  | 'internal_error'
  | 'version_conflict'
>

/** The status of each {@link AuthErrorCode} (RFC 9110, RFC 6750 §3.1). */
const AUTH_STATUS: Readonly<Record<AuthErrorCode, number>> = {
  invalid_request: 400,
  unsupported_media_type: 415,
  body_too_large: 413,
  not_found: 404,
  method_not_allowed: 405,
  credentials_missing: 401,
  credentials_ambiguous: 400,
  token_invalid: 401,
  token_expired: 401,
  token_stale: 401,
  token_revoked: 401,
  session_ended: 401,
  session_revoked: 401,
  device_mismatch: 401,
  step_up_required: 401,
  insufficient_scope: 403,
  forbidden: 403,
  cross_origin: 403,
  invalid_credentials: 401,
  invalid_client: 401,
  unauthorized_client: 400,
  unsupported_grant_type: 400,
  invalid_scope: 400,
  invalid_target: 400,
  subject_token_invalid: 400,
  stale_login: 401,
  session_limit: 403,
  rate_limited: 429,
  refresh_invalid: 401,
  refresh_reused: 401,
  user_invalid: 400,
  user_lookup_failed: 503,
  signing_unavailable: 503,
  keys_unavailable: 503,
  feed_unavailable: 503,
}

/** A request that is refused. `message` is public text; what is private is in `cause` only. */
export class AuthError extends LatchkeyError {
  override readonly name = 'AuthError'
  readonly code: AuthErrorCode
  /** HTTP status of the answer. */
  readonly status: number
  /** Response headers that belong to the failure. */
  readonly headers: Readonly<Record<string, string>>
  /** Parameters of the `WWW-Authenticate` challenge. */
  readonly challenge: Readonly<Record<string, string>>
  /** The session whose credential was presented after its end. Not part of the answer. */
  readonly endedSession: string | undefined

  constructor(code: AuthErrorCode, message: string, details: AuthErrorDetails = {}) {
    super(message, 'cause' in details ? { cause: details.cause } : {})
    this.code = code
    this.status = AUTH_STATUS[code]
    this.headers = { ...(this.status === 503 ? RETRY_AFTER : {}), ...details.headers }
    this.challenge = details.challenge ?? {}
    this.endedSession = details.endedSession
  }
}

/** 405 with the methods that exist (RFC 9110 §15.5.6). */
export function methodNotAllowed(allowed: readonly string[]): AuthError {
  return new AuthError('method_not_allowed', 'this route takes other methods', {
    headers: { Allow: allowed.join(', ') },
  })
}

/** How long a client waits after a 503, in seconds. */
const RETRY_AFTER = { 'Retry-After': '1' } as const

/** How a store may fail. */
export type StoreFailureCode = 'store_unavailable' | 'revocation_unconfirmed'

/**
 * The store failed, was late, or did not acknowledge. Always 503, never a 401.
 *
 * `revocation_unconfirmed`: the store took a revocation, but not as many replicas as the app asked
 * for have said that they have it. Call again.
 */
export class StoreUnavailable extends LatchkeyError {
  override readonly name = 'StoreUnavailable'
  readonly code: StoreFailureCode
  readonly status = 503
  readonly headers: Readonly<Record<string, string>> = RETRY_AFTER

  constructor(
    operation: string,
    details: { readonly cause?: unknown; readonly code?: StoreFailureCode } = {},
  ) {
    const { code = 'store_unavailable', ...rest } = details
    super(
      code === 'store_unavailable'
        ? `the session store did not answer "${operation}"`
        : 'the revocation has not reached enough replicas yet',
      rest,
    )
    this.code = code
  }
}

/** Somebody else changed the session in between; read it again and repeat. */
export class VersionConflict extends LatchkeyError {
  override readonly name = 'VersionConflict'
  readonly code = 'version_conflict'
  readonly status = 409
  readonly headers: Readonly<Record<string, string>> = {}

  constructor() {
    super('the session was changed by somebody else in between')
  }
}

/** A hook of the app threw, or latchkey itself is at fault. The answer says nothing about it. */
export class InternalError extends LatchkeyError {
  override readonly name = 'InternalError'
  readonly code = 'internal_error'
  readonly status = 500
  readonly headers: Readonly<Record<string, string>> = {}

  constructor(message: string, details: { readonly cause?: unknown } = {}) {
    super(message, details)
  }
}

/** Every error latchkey throws, as one union to `switch` over by `code`. */
export type AnyLatchkeyError =
  | ConfigError
  | AuthError
  | StoreUnavailable
  | VersionConflict
  | InternalError
