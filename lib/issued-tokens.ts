import type { AccessClaims } from './access-token-claims.ts'
import { MAX_TOKEN_LENGTH } from './access-token-format.ts'
import { createAccessTokenVerifier } from './access-token-verifier.ts'
import type { Core } from './core.ts'
import { AuthError } from './errors.ts'
import { readRefreshToken } from './refresh-token.ts'
import { hashSeed } from './session-id.ts'
import type { PresentedSession } from './session-token-reader.ts'

/** A token of this kit, by its own proof: MAC or signature. No store was asked. */
export type IssuedToken =
  | { readonly kind: 'access'; readonly claims: AccessClaims }
  | { readonly kind: 'session'; readonly token: PresentedSession }
  | {
      readonly kind: 'refresh'
      readonly token: PresentedSession & { readonly generation: number }
    }

/**
 * Makes what tells of a text which of this kit's tokens it is, access tokens for any of its audiences
 * included. Null for everything else, expired access tokens included.
 */
export function createTokenReader(core: Core): (text: string) => Promise<IssuedToken | null> {
  const { settings, signingKeys, ring } = core
  const verifier = createAccessTokenVerifier({
    issuer: settings.issuer,
    audience: [...settings.audience, ...settings.audiences.keys()],
    keys: signingKeys,
    maxLifetimeMs: settings.accessTokenTtlMs,
    clockSkewMs: settings.clockSkewMs,
    clock: settings.clock,
    // Whoever is asked by others about tokens sees most of them once.
    cacheBytes: 0,
  })

  return async function readIssuedToken(text) {
    // Before anything that costs time in proportion to the length.
    if (text.length > MAX_TOKEN_LENGTH) return null
    const session = core.readSessionToken(text)
    if (session !== null) return { kind: 'session', token: session }
    const refresh = readRefreshToken(ring, text)
    if (refresh !== null) {
      const { sid, generation, seed } = refresh
      return { kind: 'refresh', token: { sid, generation, seedHash: hashSeed(seed) } }
    }
    try {
      return { kind: 'access', claims: await verifier.verify(text) }
    } catch (error) {
      // Whatever is wrong with it, it is none of ours; what is not about the token is not hidden.
      if (error instanceof AuthError && error.status === 401) return null
      throw error
    }
  }
}
