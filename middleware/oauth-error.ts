import type { AnswerableError } from './problem.ts'

/** The OAuth 2.0 word for a failure of a token endpoint (RFC 6749 §5.2, §4.1.2.1). */
export function oauthError(error: AnswerableError): string {
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
