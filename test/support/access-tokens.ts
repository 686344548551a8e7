import type { AccessTokenIssuer } from '../../lib/access-token-issuer.ts'
import { createAccessTokenIssuer } from '../../lib/access-token-issuer.ts'
import type { AccessTokenVerifier } from '../../lib/access-token-verifier.ts'
import { createAccessTokenVerifier } from '../../lib/access-token-verifier.ts'
import type { SessionRecord } from '../../lib/session.ts'
import type { Algorithm, SigningJwk, SigningKeys } from '../../lib/signing-keys.ts'
import { generateSigningKey, parseSigningKeys } from '../../lib/signing-keys.ts'
import { drawKeyPair } from './key-pair.ts'

export const ISSUER = 'https://app.example'
export const AUDIENCE = ['https://api.example', 'https://app.example'] as const
export const NOW = Date.UTC(2026, 5, 1)
export const TTL_MS = 15 * 60_000
export const SKEW_MS = 30_000

/** A private JWK; RSA of 2048 bits, which is quicker to make. */
export function testKey(alg: Algorithm): SigningJwk {
  if (alg === 'ES256' || alg === 'EdDSA') return generateSigningKey(alg)
  const { privateKey } = drawKeyPair('rsa', { modulusLength: 2048 })
  return { kty: 'RSA', ...privateKey.export({ format: 'jwk' }), alg }
}

/** A live session of alice. */
export function testSession(changes: Partial<SessionRecord> = {}): SessionRecord {
  return {
    sid: 'abcdefghijklmnopqrstuvwx',
    user: { tenant: '', id: 'alice' },
    ver: 0,
    attributes: { roles: [], scope: [], level: null, amr: [], claims: {} },
    dataVer: 0,
    data: null,
    bindingHash: null,
    device: { label: null, ip: null },
    remember: true,
    createdAt: NOW,
    authTime: NOW - 5500,
    lastSeenAt: NOW,
    seedHash: 'c2VlZA',
    generation: 0,
    rotatedAt: NOW,
    attemptHash: null,
    rotatedBy: null,
    confirmed: false,
    idleDeadline: NOW + 7 * 86_400_000,
    absoluteDeadline: NOW + 30 * 86_400_000,
    ...changes,
  }
}

/** What a good token of alice says at {@link NOW}, as JSON. */
export function testClaims(changes: Readonly<Record<string, unknown>> = {}): object {
  const claims: Record<string, unknown> = {
    iss: ISSUER,
    aud: AUDIENCE[0],
    sub: 'alice',
    exp: NOW / 1000 + 900,
    iat: NOW / 1000,
    jti: 'a-jti',
    sid: 'a-sid',
    gen: 0,
    ver: 0,
    auth_time: NOW / 1000,
    ...changes,
  }
  return claims
}

/** An issuer and a verifier that share keys and a clock the test sets. */
export interface TestParty {
  now: number
  keys: SigningKeys
  readonly warnings: string[]
  readonly issuer: AccessTokenIssuer
  readonly verifier: AccessTokenVerifier
}

/** Opens a {@link TestParty}. */
export function openParty(
  keys: SigningKeys = parseSigningKeys([generateSigningKey()]),
  options: {
    readonly random?: () => number
    readonly cacheBytes?: number
    readonly audience?: readonly string[]
  } = {},
): TestParty {
  const { random = () => 0, cacheBytes, audience = AUDIENCE } = options
  const warnings: string[] = []
  const clock = (): number => party.now
  const current = {
    get active() {
      return party.keys.active
    },
    find: (kid: string) => party.keys.find(kid),
  }
  const party: TestParty = {
    now: NOW,
    keys,
    warnings,
    issuer: createAccessTokenIssuer({
      issuer: ISSUER,
      audience,
      keys: current,
      ttlMs: TTL_MS,
      clock,
      random,
      onWarning: (code, message) => warnings.push(`${code}: ${message}`),
    }),
    verifier: createAccessTokenVerifier({
      issuer: ISSUER,
      audience,
      keys: current,
      maxLifetimeMs: TTL_MS,
      clockSkewMs: SKEW_MS,
      clock,
      cacheBytes,
    }),
  }
  return party
}
