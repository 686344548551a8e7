import type { AccessClaims } from '../lib/access-token-claims.ts'
import type { AccessTokenVerifier } from '../lib/access-token-verifier.ts'
import { AuthError } from '../lib/errors.ts'

/** The claims of an access token, null when it is not good. */
export async function verifyOrNull(
  verifier: AccessTokenVerifier,
  text: string,
): Promise<AccessClaims | null> {
  try {
    return await verifier.verify(text)
  } catch (error) {
    if (error instanceof AuthError) return null
    throw error
  }
}
