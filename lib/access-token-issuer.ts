import { randomBytes } from 'node:crypto'
import type { Actor } from './access-token-claims.ts'
import { isReservedClaim } from './access-token-claims.ts'
import { AuthError, InternalError } from './errors.ts'
import { MAX_GENERATION } from './rotation.ts'
import type { Attributes, JsonObject, SessionRecord } from './session.ts'
import type { SigningKey } from './sign-jwt.ts'
import { signedLength, signJwt } from './sign-jwt.ts'
import type { UserRef } from './user.ts'

/** What an issuer is made of. */
export interface AccessTokenIssuerOptions {
  readonly issuer: string
  /** At least one. */
  readonly audience: readonly string[]
  /** The key that signs; asked for each token. */
  readonly keys: { readonly active: SigningKey }
  /** Longest life of a token, milliseconds. */
  readonly ttlMs: number
  /** Epoch milliseconds. */
  readonly clock: () => number
  /** At least 0 and below 1; spreads the ends of tokens. @defaultValue `Math.random` */
  readonly random?: (() => number) | undefined
  /** Hears of what is wrong but works: `reserved_claim`, `large_access_token`. Each once. */
  readonly onWarning: (code: 'reserved_claim' | 'large_access_token', message: string) => void
}

/** A signed access token and what the client is told of it. */
export interface IssuedAccessToken {
  readonly token: string
  readonly jti: string
  /** Epoch milliseconds. */
  readonly expiresAt: number
  /** Seconds from its issue to its end. */
  readonly expiresInS: number
}

/** Makes access tokens. */
export interface AccessTokenIssuer {
  /**
   * Signs an access token for a session as it is now. It ends before the session does.
   *
   * @throws {AuthError} `session_ended` when the session has less than a second to live,
   *   `signing_unavailable` when the key cannot be used now
   * @throws {InternalError} `internal_error` when the token would be too long
   */
  issue(session: TokenSubject): Promise<IssuedAccessToken>

  /**
   * Makes sure that a token for this user fits, whatever the session's later state; to be called
   * before a session is opened or its attributes change.
   *
   * @throws {InternalError} `internal_error` when the token would be too long
   */
  assertFits(attributes: Attributes, user: UserRef): void
}

/** An access token longer than this is worth a warning, in characters: it is in every request. */
export const LARGE_TOKEN_LENGTH = 1024

/** The longest access token that is issued, in characters; a cookie holds 4096 with its attributes. */
export const MAX_ISSUED_LENGTH = 3584

/** `typ` of an access token (RFC 9068 §2.1). */
export const ACCESS_TOKEN_TYP = 'at+jwt'

/** By how much a token may live shorter, so that the tabs of a browser do not refresh in step. */
const JITTER = 0.05

/** The parts of a payload that differ from token to token, at their longest. */
const LONGEST = {
  sid: '-'.repeat(24),
  jti: '-'.repeat(22),
  generation: MAX_GENERATION,
  ver: MAX_GENERATION,
  authTime: Date.UTC(9999),
  iat: Date.UTC(9999) / 1000,
  exp: Date.UTC(9999) / 1000,
}

/** What is in a token, of a session as it is or as an access token has it. */
export type TokenSubject = Pick<
  SessionRecord,
  | 'sid'
  | 'user'
  | 'generation'
  | 'ver'
  | 'authTime'
  | 'attributes'
  | 'idleDeadline'
  | 'absoluteDeadline'
> & {
  /** The service that asked for the token; null or absent when none did. */
  readonly clientId?: string | null
  /** Who acts for the user; null or absent when nobody does. */
  readonly actor?: Actor | null
}

type PayloadSource = Omit<TokenSubject, 'idleDeadline' | 'absoluteDeadline'> & {
  readonly jti: string
  readonly iat: number
  readonly exp: number
}

/** Makes an issuer of access tokens (RFC 9068 §2, with `sid`, `gen` and `ver` of its own). */
export function createAccessTokenIssuer(options: AccessTokenIssuerOptions): AccessTokenIssuer {
  const { issuer, audience, keys, ttlMs, clock, random = Math.random, onWarning } = options
  const warned = new Set<string>()

  function warnOnce(topic: string, code: Parameters<typeof onWarning>[0], message: string): void {
    if (warned.has(topic)) return
    warned.add(topic)
    onWarning(code, message)
  }

  function payloadOf(source: PayloadSource): JsonObject {
    const { user, attributes } = source
    const { roles, scope, amr, level } = attributes
    return {
      iss: issuer,
      aud: audience.length === 1 ? (audience[0] ?? '') : audience,
      sub: user.id,
      exp: source.exp,
      iat: source.iat,
      jti: source.jti,
      sid: source.sid,
      gen: source.generation,
      ver: source.ver,
      auth_time: Math.floor(source.authTime / 1000),
      ...(user.tenant === '' ? {} : { tenant: user.tenant }),
      ...(roles.length === 0 ? {} : { roles }),
      ...(scope.length === 0 ? {} : { scope: scope.join(' ') }),
      ...(amr.length === 0 ? {} : { amr }),
      ...(level === null ? {} : { acr: level }),
      ...(typeof source.clientId === 'string' ? { client_id: source.clientId } : {}),
      ...(source.actor ? { act: actorJson(source.actor) } : {}),
      ...ownClaims(attributes.claims),
    }
  }

  function ownClaims(claims: JsonObject): JsonObject {
    const own = Object.entries(claims).filter(([name]) => !isReservedClaim(name))
    for (const name of Object.keys(claims).filter(isReservedClaim)) {
      const message = `the claim "${name}" is reserved and was left out of the access token`
      warnOnce(`reserved_claim ${name}`, 'reserved_claim', message)
    }
    return Object.fromEntries(own)
  }

  return {
    async issue(session) {
      const iat = Math.floor(clock() / 1000)
      const lifetimeS = Math.max(1, Math.floor((ttlMs * (1 - JITTER * random())) / 1000))
      const deadline = Math.min(session.idleDeadline, session.absoluteDeadline)
      const exp = Math.min(iat + lifetimeS, Math.floor(deadline / 1000))
      if (exp <= iat) throw new AuthError('session_ended', 'the session has ended')
      const jti = randomBytes(16).toString('base64url')
      const payload = payloadOf({ ...session, jti, iat, exp })
      const token = await signJwt(keys.active, payload, ACCESS_TOKEN_TYP)
      refuseTooLong(token.length)
      if (token.length > LARGE_TOKEN_LENGTH) {
        const message = `an access token has ${token.length} characters, and every request carries it`
        warnOnce('large_access_token', 'large_access_token', message)
      }
      return { token, jti, expiresAt: exp * 1000, expiresInS: exp - iat }
    },
    assertFits(attributes, user) {
      refuseTooLong(
        signedLength(keys.active, payloadOf({ ...LONGEST, user, attributes }), ACCESS_TOKEN_TYP),
      )
    },
  }
}

/** `act` as a token carries it (RFC 8693 §4.1). */
export function actorJson({ sub, act }: Actor): JsonObject {
  return act === undefined ? { sub } : { sub, act: actorJson(act) }
}

/** @throws {InternalError} when no client would send it back */
export function refuseTooLong(length: number): void {
  if (length <= MAX_ISSUED_LENGTH) return
  throw new InternalError(
    `an access token of ${length} characters is over the limit of ${MAX_ISSUED_LENGTH}: ` +
      'give the user fewer roles, less scope or fewer claims',
  )
}
