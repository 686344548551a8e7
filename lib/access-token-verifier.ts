import { compactVerify } from 'jose'
import type { AccessClaims, ClaimsPolicy } from './access-token-claims.ts'
import { isExpired, readClaims } from './access-token-claims.ts'
import type { VerificationKey } from './access-token-format.ts'
import { readTokenHeader, tokenRefused } from './access-token-format.ts'
import { AuthError, StoreUnavailable } from './errors.ts'
import type { JsonObject } from './session.ts'
import { createTokenCache } from './token-cache.ts'

/** Where a verifier finds its keys. A key is found by its id alone. */
export interface VerificationKeys {
  find(kid: string): VerificationKey | undefined
  /**
   * Looks elsewhere for a key that `find` does not have; what it finds, `find` has then. Keys that
   * come from nowhere else have no such thing.
   *
   * @throws {AuthError} `keys_unavailable` when there is no key at all
   * @throws {StoreUnavailable} when the store that keeps them cannot say
   */
  seek?(kid: string): Promise<void>
}

/** What a verifier is made of. */
export interface AccessTokenVerifierOptions extends ClaimsPolicy {
  readonly keys: VerificationKeys
  /** Epoch milliseconds. */
  readonly clock: () => number
  /** How much memory remembered tokens may take; 0 remembers none. @defaultValue 8 MiB */
  readonly cacheBytes?: number | undefined
}

/**
 * Says of access tokens whether they are valid.
 *
 * @typeParam Claims - the app's own claims
 */
export interface AccessTokenVerifier<Claims extends object = JsonObject> {
  /**
   * The claims of a token that was verified before, if its key is still there and it is still of
   * the present. Undefined otherwise, and then `verify` decides.
   */
  remembered(token: string): AccessClaims<Claims> | undefined

  /**
   * Verifies a token: its form, its signature, its claims, its time, in this order.
   *
   * @throws {AuthError} `token_expired` when all is right but its time is over, `keys_unavailable`
   *   when there is no key to judge it by, `token_invalid` for everything else
   * @throws {StoreUnavailable} when its key is not known and cannot be looked up now
   */
  verify(token: string): Promise<AccessClaims<Claims>>

  /** Forgets all tokens; for when a key was taken away. */
  forget(): void
}

// RFC 7519 §7.2: a payload is UTF-8. A byte order mark stays, so that it is no JSON.
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * Makes a verifier. jose checks the signature, under the algorithm the key names; form and claims
 * are checked here, for jose is more lenient than RFC 8725 and RFC 9068 allow.
 */
export function createAccessTokenVerifier<Claims extends object = JsonObject>(
  options: AccessTokenVerifierOptions,
): AccessTokenVerifier<Claims> {
  const { keys, clock, clockSkewMs } = options
  const cache = createTokenCache<Claims>(options.cacheBytes)

  function findKey(kid: string): VerificationKey {
    const key = keys.find(kid)
    if (key === undefined) throw tokenRefused('no key has its kid')
    return key
  }

  async function decide(token: string): Promise<AccessClaims<Claims>> {
    const header = readTokenHeader(token)
    if (keys.seek !== undefined && keys.find(header.kid) === undefined) await keys.seek(header.kid)
    const { kid, alg, key } = findKey(header.kid)
    if (header.alg !== alg) throw tokenRefused('alg is not that of the key')
    const { payload } = await compactVerify(token, key, { algorithms: [alg] })
    // The key may have been taken away meanwhile, or another one may have its name.
    if (findKey(kid).key !== key) throw tokenRefused('its key was exchanged')
    const now = clock()
    const claims = readClaims<Claims>(UTF8.decode(payload), options, now)
    if (isExpired(claims, clockSkewMs, now)) {
      throw new AuthError('token_expired', 'the access token has expired')
    }
    cache.set(token, kid, claims)
    return claims
  }

  return {
    remembered(token) {
      const entry = cache.get(token)
      if (entry === undefined || keys.find(entry.kid) === undefined) return undefined
      const now = clock()
      const isPresent =
        !isExpired(entry.claims, clockSkewMs, now) && entry.claims.issuedAtMs <= now + clockSkewMs
      return isPresent ? entry.claims : undefined
    },
    async verify(token) {
      try {
        return await decide(token)
      } catch (err) {
        // Whatever else went wrong, it was not a valid token: never a 500, never a pass.
        throw err instanceof AuthError || err instanceof StoreUnavailable ? err : tokenRefused(err)
      }
    },
    forget() {
      cache.clear()
    },
  }
}
