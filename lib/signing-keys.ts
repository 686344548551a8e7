import type { KeyObject } from 'node:crypto'
import { generateKeyPairSync } from 'node:crypto'
import type { Algorithm, VerificationKey } from './access-token-format.ts'
import { ConfigError } from './errors.ts'
import { localSigner } from './local-signer.ts'
import type { SigningKey } from './sign-jwt.ts'
import type { PublicMembers, SigningJwk, SigningKeyInput } from './signing-key.ts'
import { parseSigningKey, publicMembers, thumbprintOf } from './signing-key.ts'

export type { Algorithm, VerificationKey } from './access-token-format.ts'
export type { SigningKey } from './sign-jwt.ts'
export type { SigningJwk, SigningKeyInput, SigningPem } from './signing-key.ts'

/** A public key as `jwks.json` shows it. It has public members only. */
export interface PublicJwk extends PublicMembers {
  readonly kid: string
  readonly alg: Algorithm
  readonly use: 'sig'
}

/** The keys of one issuer: one signs, all verify. */
export interface SigningKeys {
  readonly active: SigningKey
  find(kid: string): VerificationKey | undefined
  /** The public keys (RFC 7517 §5). */
  readonly jwks: { readonly keys: readonly PublicJwk[] }
}

/**
 * Reads the signing keys. Position 0 signs, all verify.
 *
 * @throws {ConfigError} `invalid_option` when there is none, when one is weak, inconsistent, not for
 *   its algorithm or not for signing, when position 0 is not private, or when two are alike
 *
 * @remarks OWASP ASVS 5.0 9.1.2 and 11.2.3, RFC 8725 §3.1 and §3.5.
 */
export function parseSigningKeys(inputs: readonly SigningKeyInput[]): SigningKeys {
  const byKid = new Map<string, VerificationKey>()
  const thumbprints = new Set<string>()
  const jwks: PublicJwk[] = []
  let active: SigningKey | undefined

  for (const [position, input] of inputs.entries()) {
    const option = `signingKeys[${position}]`
    const { kid, alg, privateKey, publicKey, thumbprint, members } = parseSigningKey(input, option)
    if (byKid.has(kid)) throw new ConfigError(option, 'has the kid of a key before it')
    // A key has one algorithm (RFC 8725 §3.1), so it has one entry.
    if (thumbprints.has(thumbprint)) throw new ConfigError(option, 'is a key listed before it')
    if (position === 0) {
      if (privateKey === undefined) throw new ConfigError(option, 'signs, so it must be private')
      active = localSigner(kid, alg, privateKey)
    }
    byKid.set(kid, Object.freeze({ kid, alg, key: publicKey }))
    thumbprints.add(thumbprint)
    jwks.push(Object.freeze({ ...members, kid, alg, use: 'sig' }))
  }
  if (active === undefined) throw new ConfigError('signingKeys', 'must hold at least one key')
  return { active, find: (kid) => byKid.get(kid), jwks: { keys: Object.freeze(jwks) } }
}

/**
 * Draws a new signing key.
 *
 * @param alg - its algorithm, ES256 by default; RSA keys have 3072 bits
 * @returns a private JWK with `kid` and `alg`; keep it secret
 */
export function generateSigningKey(
  alg: Algorithm = 'ES256',
): SigningJwk & { readonly kid: string } {
  const { publicKey, privateKey } = generatePair(alg)
  const { kty = '', ...members } = privateKey.export({ format: 'jwk' })
  return { kty, ...members, alg, kid: thumbprintOf(publicMembers(publicKey)), use: 'sig' }
}

function generatePair(alg: Algorithm): { publicKey: KeyObject; privateKey: KeyObject } {
  if (alg === 'ES256') return generateKeyPairSync('ec', { namedCurve: 'P-256' })
  if (alg === 'EdDSA') return generateKeyPairSync('ed25519')
  return generateKeyPairSync('rsa', { modulusLength: 3072 })
}
