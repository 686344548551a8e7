import './express.ts'

export { createLatchkey } from './create-latchkey.ts'
export type { Latchkey } from './create-latchkey.ts'
export type { ErrorHandler } from './answer.ts'
export type { LatchkeyOptions } from './context.ts'
export type { CredentialsJson, SessionJson } from './deliver.ts'
export type { AuditEventJson } from './audit-route.ts'
export type { AuthRequestOptions } from './auth-request.ts'
export type { Guard } from './as-guard.ts'
export type {
  GuardOptions,
  HybridGuardOptions,
  SessionGuardOptions,
  TokenGuardOptions,
} from './guard-options.ts'
export type { Health } from './health.ts'
export type {
  IdentityHeadersOptions,
  IdentityOptions,
  IdentityTokenOptions,
  StripOptions,
} from './identity-options.ts'
export type { MetadataOptions } from './metadata.ts'
export type { AnswerableError } from './problem.ts'
export { privateKeyJwt } from './private-key-jwt.ts'
export { serviceSecrets } from './service-secrets.ts'
export type { SignedIn, SignInOptions } from './sign-in.ts'

export type { AppClaims, AttributesPatch, User } from '../lib/attributes.ts'
export type { Actor } from '../lib/access-token-claims.ts'
export type { Auth, Register, RegisteredClaims, Session } from '../lib/auth.ts'
export type { DeviceBindingOptions, OnDeviceChange } from '../lib/device-options.ts'
export type { Duration } from '../lib/duration.ts'
export {
  AuthError,
  ConfigError,
  InternalError,
  LatchkeyError,
  StoreUnavailable,
  VersionConflict,
} from '../lib/errors.ts'
export type {
  AnyLatchkeyError,
  AuthErrorCode,
  AuthErrorDetails,
  ErrorCode,
  RefreshOutcome,
} from '../lib/errors.ts'
export type { LatchkeyEvent, OperationalEventType, SecurityEventType } from '../lib/events.ts'
export type { BlindCause } from '../lib/feed.ts'
export type { Finding, FindingCode, Severity } from '../lib/findings.ts'
export type { IdentityValue } from '../lib/identity-header.ts'
export type { CookieRole } from '../lib/cookies.ts'
export type { CorsOptions } from '../lib/cors-options.ts'
export type { SiteData } from '../lib/clear-site-data.ts'
export type { RateLimit, RateLimitName, RateLimitOptions } from '../lib/rate-limit-options.ts'
export type { OnStoreFailure } from '../lib/option-values.ts'
export type { CookieOptions, CoreOptions, Delivery, MaybePromise } from '../lib/options.ts'
export type { Attributes, Device, JsonObject, JsonValue } from '../lib/session.ts'
export type {
  OpenedSession,
  RevokeOptions,
  SessionPatch,
  Sessions,
  UserName,
} from '../lib/sessions.ts'
export type { AudienceOptions } from '../lib/audiences.ts'
export type { AssertionOptions, KeyedService } from '../lib/client-assertion.ts'
export { generateServiceSecret } from '../lib/service-secrets.ts'
export type { ServiceEntry, ServiceSecrets } from '../lib/service-secrets.ts'
export type { Service, ServiceAuthenticator, ServiceKit, ServiceMethod } from '../lib/service.ts'
export { generateSigningKey } from '../lib/signing-keys.ts'
export type {
  Algorithm,
  PublicJwk,
  SigningCallback,
  SigningJwk,
  SigningKeyInput,
  SigningKeyStatus,
  SigningPem,
} from '../lib/signing-keys.ts'
export type { KeyControl } from '../lib/key-control.ts'
export { managedKeys } from '../lib/managed-keys-options.ts'
export type { ManagedKeys, ManagedKeysOptions } from '../lib/managed-keys-options.ts'
export type * from '../lib/store.ts'
export type { UserRef } from '../lib/user.ts'

// For authors of stores: the decisions every store must make alike.
export { decideRotation, isOver } from '../lib/rotation.ts'
export type {
  ReplayCause,
  RotationDecision,
  RotationPolicy,
  RotationRequest,
  RotationState,
} from '../lib/rotation.ts'
export { isFeedName } from '../lib/session-id.ts'
export { dueWrite, isStaleLogin, openRecord, rotatedFields } from '../lib/session.ts'
export type { Lifetimes, NewSession, SessionRecord } from '../lib/session.ts'
export { memoryStore } from '../stores/memory.ts'
export type { MemoryStoreOptions } from '../stores/memory.ts'
