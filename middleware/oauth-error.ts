import type { ErrorCode } from '../lib/errors.ts'
import type { AnswerableError } from './problem.ts'

const OWN_WORDS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'invalid_client',
  'unauthorized_client',
  'unsupported_grant_type',
  'invalid_scope',
  'invalid_target', // RFC 8693 §2.2.2
])

/** The OAuth 2.0 word for a failure of a token endpoint (RFC 6749 §5.2, §4.1.2.1). */
export function oauthError(error: AnswerableError): string {
  if (OWN_WORDS.has(error.code)) return error.code
  switch (error.status) {
    case 401:
      return 'invalid_grant'
    case 403:
      return 'access_denied'
    case 500:
      return 'server_error'
    case 429:
    case 503:
      return 'temporarily_unavailable'
    default:
      return 'invalid_request'
  }
}
