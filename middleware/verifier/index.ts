import '../express.ts'

export { createVerifier } from './create-verifier.ts'
export type { Verifier, VerifierOptions } from './create-verifier.ts'
export type { VerifierHealth } from './health.ts'
export type { VerifierGuardOptions } from './require-jwt.ts'
export type { ErrorHandler } from '../answer.ts'
export type { Guard } from '../as-guard.ts'
export type { GuardOptions, TokenGuardOptions } from '../guard-options.ts'
export { problemOf } from '../problem.ts'
export type { AnswerableError, Problem, Scheme } from '../problem.ts'

export type {
  AccessClaims,
  Actor,
  ServiceClaims,
  SessionClaims,
} from '../../lib/access-token-claims.ts'
export type { Auth, Register, RegisteredClaims, Session } from '../../lib/auth.ts'
export type { Duration } from '../../lib/duration.ts'
export { AuthError, ConfigError, InternalError, LatchkeyError } from '../../lib/errors.ts'
export type { AnyLatchkeyError, AuthErrorCode, ErrorCode } from '../../lib/errors.ts'
export type { BlindCause } from '../../lib/feed.ts'
export type { OnStoreFailure } from '../../lib/option-values.ts'
export { remoteFeed } from '../../lib/remote-feed.ts'
export type { FeedReader, RemoteFeed, RemoteFeedOptions } from '../../lib/remote-feed.ts'
export type {
  PublicKeySet,
  VerifierCoreOptions,
  VerifierEvent,
  VerifierEventType,
} from '../../lib/verifier-options.ts'
